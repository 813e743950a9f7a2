"""The program as a whole: shared options, errors, help."""

import subprocess
import sys
from typing import Final

import click
import pytest

from loopkit_cli.main import program
from tests.cli.conftest import Program
from tools.cli_reference import PAGE, render

COMMANDS = sorted(program.commands)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(cli: Program, command: str) -> None:
    """What it does, what each option does, and how it is typed."""
    text = cli.good(command, "--help").stdout
    assert f"loopkit-cli {command}" in text.partition("Examples:")[2]
    for option in ("--database", "LOOPKIT_DATABASE_URL", "--config", "LOOPKIT_CONFIG", "--json"):
        assert option in text
    for param in program.commands[command].params:
        assert not isinstance(param, click.Option) or param.help


def test_the_help_names_every_command(cli: Program) -> None:
    """With the first sentence of each, whole."""
    text = cli.good("--help").stdout
    assert all(f"  {command} " in text for command in COMMANDS)
    assert "..." not in text.partition("Options of every command")[0].partition("Commands:")[2]


def test_the_reference_is_up_to_date() -> None:
    """`python tools/cli_reference.py` was run after the last change; it names every command, option and variable."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == render()
    for name, command in program.commands.items():
        assert f"\n## {name}\n" in page
        for param in command.params:
            assert not isinstance(param, click.Option) or all(
                f"`{opt}" in page or f" {opt}" in page for opt in param.opts
            )
    for variable in ("DATABASE_URL", "CONFIG", "HEARTBEAT", "STALLED_AFTER", "TOKEN"):
        assert f"LOOPKIT_{variable}" in page


def test_the_version_is_told(cli: Program) -> None:
    """For bug reports."""
    assert cli.good("--version").stdout.startswith("loopkit-cli 0.")


def test_without_a_command_the_help_is_shown(cli: Program) -> None:
    """That is bad usage, so nothing is on stdout."""
    assert "Usage: loopkit-cli" in cli.refused(2)
    assert "No such command 'dance'" in cli.refused(2, "dance")


def test_an_error_cannot_steer_the_terminal(cli: Program) -> None:
    """What was typed, or stored, is told without its control characters (the fixture looks for them)."""
    assert "there is no run" in cli.refused(1, "show", "a\x1b[2Jb")


def test_a_database_that_does_not_open_is_told(cli: Program) -> None:
    """Status 2 and the file's name from every command that opens it."""
    (cli.folder / "loopkit.db").write_text("no database at all, but long enough to look at it" * 30)
    for command in (["list"], ["show", "x"], ["verify"], ["worker", "--drain"], ["submit", "loser"], ["run", "loser"]):
        assert "loopkit.db" in cli.refused(2, *command, "--json")


def test_a_folder_that_cannot_be_made_is_told(cli: Program) -> None:
    """What the system refuses is a sentence with the path, and nothing is half written."""
    assert "agents.yaml/below" in cli.refused(1, "init", "agents.yaml/below")


WAITING: Final = """
import sys, threading
import anyio, anyio.to_thread
from loopkit_cli import main

def read(args=None):
    async def read():
        with anyio.move_on_after(0.01):
            await anyio.to_thread.run_sync(threading.Event().wait, abandon_on_cancel=True)
    anyio.run(read)
    print("the result")
    return 7

main.main = read
sys.exit(main.run_as_program())
"""


def test_a_program_does_not_wait_for_a_read_that_was_abandoned() -> None:
    """It ends with its status, and what it has written is there."""
    done = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "the result\n", "")
