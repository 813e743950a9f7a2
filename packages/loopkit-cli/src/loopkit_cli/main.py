"""The program `loopkit-cli`: its commands put together, and whatever goes wrong turned into a message and a status."""

import io
import logging
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Final

import click

from loopkit.errors import InvalidInputs, LoopkitError, UnusableOption
from loopkit_cli import acting, copying, exits, looking, output, starting
from loopkit_cli.options import SHARED, Settings, command, pass_settings, write_shared_options

PROGRAM: Final = "loopkit-cli"


class Program(click.Group):
    """The commands, in the order in which one meets them, and the shared options before them."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        write_shared_options(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Do what was asked; a reader of stdout that has gone away ends it quietly."""
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(exits.PIPE_CLOSED)
        return status


@click.group(
    cls=Program,
    params=list(SHARED),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"\b\nBegin with:\n  {PROGRAM} init && {PROGRAM} run hello --input name=World",
)
@click.version_option(package_name=PROGRAM, message="%(prog)s %(version)s")
def program() -> None:
    """Run, watch and work loops of agents: produce, evaluate, revise, until the score passes."""


@command(
    "serve",
    examples="""
        loopkit-cli serve --worker
        loopkit-cli serve --host 0.0.0.0 --allowed-host loops.example.org --token "$TOKEN"
    """,
)
@click.option("--host", metavar="H", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", metavar="P", type=click.IntRange(0, 65535), default=8700, show_default=True, help="The port; 0 is any."
)
@click.option("--worker", is_flag=True, help="Work runs as well, as the command worker does.")
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=8,
    show_default=True,
    help="Runs worked at once with --worker.",
)
@click.option("--token", metavar="T", envvar="LOOPKIT_TOKEN", show_envvar=True, help="What clients must present.")
@click.option(
    "--allowed-host", "allowed_hosts", metavar="H", multiple=True, help="A host name that clients may use. Repeatable."
)
@click.option("--allow-unauthenticated", is_flag=True, help="Serve other machines without a token.")
@click.option("--root-path", metavar="PATH", default="", help="The prefix that a proxy takes off, e.g. /loops.")
@pass_settings
def serve(settings: Settings, worker: bool, **options: Any) -> None:
    """Serve the API and the dashboard at http://H:P/. Needs the package loopkit-web."""
    for package in ("loopkit_web", "uvicorn"):
        if find_spec(package) is None:
            name = package.replace("_", "-")
            raise UnusableOption(f"serve needs the package {name}, which is not installed: pip install {name}")
    from loopkit_cli import serving

    agents = settings.agents()
    worked = starting.workable(agents.values()) if worker else None
    heartbeat = settings.heartbeat
    settings.in_store(lambda store: serving.serve(store, agents, worked=worked, heartbeat=heartbeat, **options))


for one in (
    *(starting.init, starting.run, starting.submit, starting.worker),
    *(looking.list_, looking.show, looking.events, looking.artifacts),
    *(acting.cancel, acting.retry),
    *(looking.agents, serve),
    *(acting.verify, acting.prune, copying.copy, acting.completion),
):
    program.add_command(one)


def main(args: Sequence[str] | None = None) -> int:
    """Run the program and give its exit status. Whatever is wrong is told in a sentence on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.getLogger("loopkit").handlers[:] = [_ToStderr(logging.WARNING)]
    try:
        status = program.main(args, prog_name=PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return exits.INTERRUPTED
    except (LoopkitError, OSError, ExceptionGroup) as error:
        cause = exits.plain_error(error)
        if not isinstance(cause, LoopkitError | OSError):
            raise
        output.tell_error(_sentence(cause))
        return exits.of_error(cause)
    return status or exits.DONE


def _sentence(error: BaseException) -> str:
    if isinstance(error, InvalidInputs):
        return "\n  ".join(["the inputs do not fit the agent", *map(str, error.faults)])
    return str(error)


class _ToStderr(logging.Handler):
    """What the library has to say while it works goes to stderr, cleaned like all else."""

    def emit(self, record: logging.LogRecord) -> None:
        output.note(f"{record.levelname.capitalize()}: {output.clean_line(record.getMessage())}")
