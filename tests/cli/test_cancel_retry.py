"""The commands cancel and retry."""

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
