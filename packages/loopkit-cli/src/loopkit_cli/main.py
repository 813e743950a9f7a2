"""The program ``loopkit-cli``: its commands, and errors turned into a message and an exit status."""

import io
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import click

import loopkit
from loopkit.errors import InvalidInputs, LoopkitError
from loopkit_cli import exits, output, streams
from loopkit_cli.base_command import write_shared_options
from loopkit_cli.commands import Commands
from loopkit_cli.logs import logging_to_stderr
from loopkit_cli.settings import SHARED

PROGRAM: Final = "loopkit-cli"


class Program(click.Group):
    """Group of the commands, in their own order, with the shared options."""

    def list_commands(self, _: click.Context) -> list[str]:
        return list(self.commands)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        write_shared_options(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader of stdout that has gone away ends it quietly."""
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            streams.discard_stdout()
            ctx.exit(exits.PIPE_CLOSED)
        return status


def _show_version(ctx: click.Context, _: click.Parameter, is_wanted: bool) -> None:
    """Write the version, which is known without the metadata of a package too (frozen programs), and end."""
    if is_wanted and not ctx.resilient_parsing:
        click.echo(f"{PROGRAM} {loopkit.__version__}")
        ctx.exit()


@click.group(
    cls=Program,
    commands=Commands(),
    params=list(SHARED),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=f"\b\nBegin with:\n  {PROGRAM} init && {PROGRAM} run hello --input name=World",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def program() -> None:
    """Run, watch and work loops of agents: produce, evaluate, revise, until the score passes."""


_THREAD_NAME: Final = "AnyIO worker thread"
"""Name of the threads in which stores read; those of stages are daemon threads of loopkit's own."""

_WAIT_SECONDS: Final = 1.0
"""Longest time in which a thread that has nothing to do may end by itself."""


def run_as_program() -> int:
    """Run the program as the whole of this process, and return its exit status."""
    status = main()
    streams.leave_stdout_to_nobody()
    _leave_waiting_threads(status)
    return status


def _leave_waiting_threads(status: int) -> None:
    """End the process with ``status`` now if reads are still under way, whose results nobody waits for any more."""
    until = time.monotonic() + _WAIT_SECONDS
    workers = [thread for thread in threading.enumerate() if thread.name == _THREAD_NAME and not thread.daemon]
    for thread in workers:
        thread.join(max(until - time.monotonic(), 0))
    if any(thread.is_alive() for thread in workers):
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def main(args: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status. Errors are sentences on stderr."""
    with streams.standard_streams():
        return _main(args)


def _main(args: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with logging_to_stderr():
        return _run(args)


def _run(args: Sequence[str] | None) -> int:
    try:
        status = program.main(args, prog_name=PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return exits.INTERRUPTED
    except (LoopkitError, OSError, ExceptionGroup) as error:
        cause = exits.plain_error(error)
        _check_stdout()
        if not isinstance(cause, LoopkitError | OSError):
            raise
        output.write_error(_sentence(cause))
        return exits.of_error(cause)
    return status or exits.DONE


def _check_stdout() -> None:
    """Drop what stdout has not taken: Python would try again to write it as it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        streams.discard_stdout()


def _sentence(error: BaseException) -> str:
    if isinstance(error, InvalidInputs):
        return "\n  ".join(["the inputs do not fit the agent", *map(str, error.faults)])
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)
