"""The command verify."""

import pytest

from tests.cli.conftest import Program


def test_a_sound_database_is_verified(cli: Program) -> None:
    """No violations, status 0; a valid row of another program is none."""
    cli.run()
    cli.sql(
        "insert into workflow_runs (id, agent_name, cycle_id, status, max_attempts, pass_threshold, inputs)"
        " values ('run_x', 'writer', 'c', 'queued', 3, 0.8, '{}')"
    )
    assert cli.good("verify", "--json").json == {"violations": []}
    done = cli.good("verify")
    assert (done.stdout, done.stderr) == ("", "violations: 0\n")


def test_a_violation_is_found(cli: Program) -> None:
    """Status 1, a line for each, with the run."""
    run = cli.run()
    cli.sql("update workflow_runs set final_score = 0.25")
    done = cli("verify")
    assert done.status == 1
    assert any(run["id"] in line for line in done.lines)
    done = cli("verify", "--json")
    assert done.status == 1
    violations = done.json["violations"]
    assert {violation["runId"] for violation in violations} == {run["id"]}
    assert violations[0].keys() == {"rule", "runId", "detail"}


@pytest.mark.parametrize(
    "command", [("verify",), ("prune", "--older-than", "30d"), ("copy", "--to", "sqlite:///to.db")]
)
def test_a_missing_file_is_no_database(cli: Program, command: tuple[str, ...]) -> None:
    """A misspelt name is not found, and neither it nor a target of a copy is created."""
    said = cli.refused(1, *command, "--database", "sqlite:///nope.db")
    assert "there is no database sqlite:///nope.db" in said
    assert cli.refused(1, *command, "--json")
    assert [file.name for file in cli.folder.iterdir()] == ["agents.yaml"]
    cli.refused(2, *command, "--database", "sqlite:///no/folder.db")


def test_an_empty_file_is_a_database_without_runs(cli: Program) -> None:
    """Tables are made on first use."""
    (cli.folder / "loopkit.db").touch()
    assert cli.good("verify", "--json").json == {"violations": []}
    assert cli.good("prune", "--older-than", "30d", "--json").json == {"deleted": []}
