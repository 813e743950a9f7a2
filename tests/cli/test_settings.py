"""Options that every command takes, and their environment variables."""

import pytest

from tests.cli.conftest import Program


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
