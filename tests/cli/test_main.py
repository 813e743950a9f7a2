"""The program as a whole: shared options, errors, help."""

from __future__ import annotations

import sys

import click
import pytest

from loopkit import errors
from loopkit_cli import exits
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


# --- The shared options ----------------------------------------------------------------------------------------------


def test_options_stand_before_or_after_the_command(cli: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """After wins over before, before over the environment, the environment over the default."""

    def database(*args: str) -> str:
        cli.good(*args)
        (made,) = cli.folder.glob("*.db")
        made.unlink()
        return made.stem

    assert database("list") == "loopkit"
    monkeypatch.setenv("LOOPKIT_DATABASE_URL", "sqlite:///environment.db")
    assert database("list") == "environment"
    assert database("--database", "sqlite:///before.db", "list") == "before"
    assert database("--database", "sqlite:///before.db", "list", "--database", "sqlite:///after.db") == "after"
    monkeypatch.setenv("LOOPKIT_DATABASE_URL", "")
    assert database("list") == "loopkit"
    assert cli.good("--json", "list").json == {"runs": [], "nextCursor": None}


def test_the_configuration_can_be_named(cli: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """By option or environment."""
    (cli.folder / "agents.yaml").rename(cli.folder / "others.yaml")
    assert "agents.yaml" in cli.refused(2, "agents")
    cli.good("agents", "--config", "others.yaml")
    monkeypatch.setenv("LOOPKIT_CONFIG", "others.yaml")
    cli.good("agents")


def test_the_stall_time_is_at_least_two_heartbeats(cli: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of them is set, and wherever."""
    assert "(30 s) must be at least twice --heartbeat (30 s)" in cli.refused(2, "worker", "--stalled-after", "30")
    cli.good("worker", "--drain", "--stalled-after", "2", "--heartbeat", "1")
    monkeypatch.setenv("LOOPKIT_HEARTBEAT", "70")
    cli.refused(2, "worker", "--drain")
    monkeypatch.setenv("LOOPKIT_STALLED_AFTER", "140")
    cli.good("worker", "--drain")
    monkeypatch.setenv("LOOPKIT_STALLED_AFTER", "soon")
    assert "'soon' is not a number" in cli.refused(2, "worker", "--drain")
    monkeypatch.delenv("LOOPKIT_STALLED_AFTER")
    for seconds in ("0", "-1", "inf", "nan"):
        assert "not in the range" in cli.refused(2, "worker", "--heartbeat", seconds)


def test_the_commands_to_try_look_at_the_same_database(cli: Program) -> None:
    """A database that was typed is repeated, without its password; one from the environment need not be."""
    done = cli.good("run", "writer", "--input", "topic=a", "--database", "sqlite:///my runs.db")
    assert "--save DIR --database 'sqlite:///my runs.db'" in done.stderr
    told = cli("show", "x", "--database", "postgresql://me:hush@127.0.0.1:1/db").stderr
    assert "hush" not in told


# --- Errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnknownAgent("x"), 2),
        (errors.InvalidConfig("x"), 2),
        (errors.InvalidDatabase("x"), 2),
        (errors.InvalidInputs([]), 2),
        (errors.StorageUnavailable("x"), 2),
        (errors.SchemaTooNew("x"), 2),
        (errors.RunNotFound("x"), 1),
        (errors.RunEnded("x", "passed"), 1),
        (errors.RunNotEnded("x", "queued"), 1),
        (exits.Refused("x"), 1),
        (errors.RunNotClaimable("x", "y"), 3),
        (errors.LeaseLost("x"), 3),
        (BrokenPipeError(), 1),
    ],
)
def test_an_error_has_the_status_of_its_nearest_class(error: Exception, status: int) -> None:
    """One table decides."""
    assert exits.of_error(error) == status


def test_of_a_group_the_first_error_of_ours_counts() -> None:
    """However deep it lies; without one the first."""
    lost = errors.LeaseLost("x")
    assert exits.plain_error(ExceptionGroup("", [ValueError(), ExceptionGroup("", [lost])])) is lost
    other = ValueError()
    assert exits.plain_error(ExceptionGroup("", [other])) is other


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


def test_serve_says_what_is_missing(cli: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without loopkit-web everything else works, and serve names what to install."""
    monkeypatch.setitem(sys.modules, "loopkit_web", None)
    assert "pip install loopkit-web" in cli.refused(2, "serve")
    cli.good("list")
