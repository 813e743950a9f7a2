"""The base class of all commands: shared options, their section of the help, and the settings made of them."""

from collections.abc import Callable
from typing import Any

import click

from loopkit_cli import output
from loopkit_cli.settings import SHARED, T, settings_of


class Command(click.Command):
    """Command with the shared options; its :class:`~.settings.Settings` are ``ctx.obj``."""

    def __init__(self, name: str | None, *, params: list[click.Parameter] | None = None, **attributes: Any) -> None:
        super().__init__(name, params=[*(params or []), *SHARED], **attributes)

    def invoke(self, ctx: click.Context) -> Any:
        ctx.obj = settings_of(ctx)
        with output.stdout_reserved_for_result():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [param for param in self.get_params(ctx) if isinstance(param, click.Option) and param not in SHARED]
        with formatter.section("Options"):
            formatter.write_dl([record for param in own if (record := param.get_help_record(ctx))])
        write_shared_options(ctx, formatter)


def write_shared_options(ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the help section of the options that every command takes."""
    with formatter.section("Options of every command"):
        formatter.write_dl([record for option in SHARED if (record := option.get_help_record(ctx))])


def command(name: str, *, examples: str) -> Callable[[Callable[..., Any]], Command]:
    """Create a command from a function: the docstring is its help, ``examples`` (one a line) follow the options."""
    lines = [f"  {line.strip()}" for line in examples.strip().splitlines()]
    epilog = "\b\nExamples:\n" + "\n".join(lines)
    return click.command(name, cls=Command, epilog=epilog)


def pass_settings(function: Callable[..., T]) -> Callable[..., T]:
    """Pass the :class:`~.settings.Settings` of the command to the function as its first argument."""
    return click.pass_obj(function)
