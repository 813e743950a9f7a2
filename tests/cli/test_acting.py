"""cancel, retry, verify, prune and completion."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Program


def test_cancel_ends_a_queued_run(cli: Program) -> None:
    """At once, and asked again it answers the same."""
    run_id = cli.submit()
    first = cli.good("cancel", run_id, "--json").json
    assert first["status"] == "cancelled"
    assert cli.good("cancel", run_id, "--json").json == first
    assert cli.good("cancel", run_id).lines == [run_id]


def test_cancel_asks_the_runner_of_a_running_one(cli: Program) -> None:
    """The request stands in the row, and the person is told how to watch."""
    run_id = cli.submit()
    cli.sql("update workflow_runs set status='running', claimed_at=datetime('now'), claimed_by='other:1'")
    done = cli.good("cancel", run_id)
    assert f"events {run_id} --follow" in done.stderr
    run = cli.good("show", run_id, "--json").json
    assert run["status"] == "running"
    assert run["cancelRequestedAt"] is not None


def test_an_ended_run_cannot_be_cancelled(cli: Program) -> None:
    """Passed and failed are for good: status 1."""
    assert "has already passed" in cli.refused(1, "cancel", cli.run()["id"], "--json")


def test_retry_queues_another_and_prints_its_id(cli: Program) -> None:
    """The same agent and inputs, linked to the first; agents.yaml is not asked."""
    run = cli.run()
    (cli.folder / "agents.yaml").unlink()
    (new,) = cli.good("retry", run["id"]).lines
    retried = cli.good("retry", run["id"], "--json").json
    assert new not in (run["id"], retried["id"])
    assert (retried["retryOf"], retried["inputs"], retried["status"]) == (run["id"], run["inputs"], "queued")
    assert "only an ended run can be retried" in cli.refused(1, "retry", new)


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


def test_prune_deletes_old_ended_runs(cli: Program) -> None:
    """Whole, by when they ended; nothing that may still go on."""
    old, young, queued = cli.run()["id"], cli.run()["id"], cli.submit()
    cli.sql("update workflow_runs set completed_at = datetime('now', '-31 days') where id = ?", old)
    assert cli.good("prune", "--older-than", "5w", "--json").json == {"deleted": []}
    done = cli.good("prune", "--older-than", "30d")
    assert (done.lines, done.stderr) == ([old], "deleted: 1\n")
    cli.refused(1, "show", old)
    assert cli.sql("select count(*) from workflow_events where run_id = ?", old) == [(0,)]
    assert cli.good("prune", "--older-than", "0s", "--json").json["deleted"] in ([young], [])
    assert cli.good("show", queued, "--json").json["status"] == "queued"


@pytest.mark.parametrize("age", ["30", "d", "1.5d", "-1d", "30 d", "30y", "", "٣d", "99999999w"])
def test_an_age_is_a_number_and_a_unit(cli: Program, age: str) -> None:
    """Anything else is a usage error, and nothing is deleted."""
    run = cli.run()
    cli.refused(2, "prune", "--older-than", age, "--json")
    cli.good("show", run["id"])
    assert "--older-than" in cli.refused(2, "prune")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(cli: Program, shell: str) -> None:
    """Of the shell that was asked for."""
    assert "_LOOPKIT_CLI_COMPLETE" in cli.good("completion", shell).stdout
    assert "'csh' is not one of" in cli.refused(2, "completion", "csh")


def test_agents_are_completed(cli: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names come from agents.yaml; one that does not load completes nothing and says nothing."""
    monkeypatch.setenv("_LOOPKIT_CLI_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "loopkit-cli run wr")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        cli("run")
    assert "writer" in cli._capture.readouterr().out
    (cli.folder / "agents.yaml").write_text("nonsense")
    with pytest.raises(SystemExit):
        cli("run")
    out, err = cli._capture.readouterr()
    assert (out.strip(), err) == ("", "")
