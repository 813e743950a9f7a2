"""The command worker."""

from pathlib import Path
from typing import Any

from tests.cli.conftest import Program


def test_a_worker_drains_the_queue(cli: Program) -> None:
    """Every run that can be claimed is worked; then it exits 0, whatever the runs came to."""
    runs = [cli.submit(), cli.submit(), cli.good("submit", "broken").stdout.strip()]
    done = cli.good("worker", "--drain", "--concurrency", "2", "--json")
    assert (done.json["passed"], done.json["failed"], done.json["busy"]) == (2, 1, 0)
    assert "working runs of writer, loser" in done.stderr
    assert "claimed 3 · passed 2 · failed 1" in done.stderr
    assert {cli.good("show", run, "--json").json["status"] for run in runs} == {"passed", "failed"}


def test_a_worker_of_some_agents_leaves_the_others(cli: Program) -> None:
    """--agent may be repeated; an unknown one is a usage error."""
    mine, other = cli.submit("loser"), cli.submit("writer")
    cli.good("worker", "--drain", "--agent", "loser", "--agent", "broken")
    assert cli.good("show", mine, "--json").json["status"] == "failed"
    assert cli.good("show", other, "--json").json["status"] == "queued"
    assert "no agent 'nobody'" in cli.refused(2, "worker", "--agent", "nobody")
    assert "0 is not in the range" in cli.refused(2, "worker", "--concurrency", "0")


def test_a_worker_leaves_out_an_agent_that_it_cannot_load(cli: Program) -> None:
    """With a warning; the others are worked."""
    config = Path("agents.yaml")
    config.write_text(
        config.read_text().replace("tests.cli.stage_helpers:breaks", "tests.cli.stage_helpers:no_such_thing")
    )
    stays, worked = cli.good("submit", "broken").stdout.strip(), cli.submit("loser")
    assert "Warning: agent 'broken' is left out: produce:" in cli.good("worker", "--drain").stderr
    assert cli.good("show", stays, "--json").json["status"] == "queued"
    assert cli.good("show", worked, "--json").json["status"] == "failed"


def test_rows_of_other_programs_are_worked(cli: Program) -> None:
    """The least that makes a queued run is enough; inputs that do not fit end it failed."""
    cli.submit("loser")
    for run_id, inputs in (("run_good", '{"topic": "x"}'), ("run_bad", "{}")):
        row: tuple[Any, ...] = (run_id, inputs)
        cli.sql(
            "insert into workflow_runs (id, agent_name, cycle_id, status, max_attempts, pass_threshold, inputs)"
            " values (?, 'writer', 'c', 'queued', 3, 0.8, ?)",
            *row,
        )
    cli.good("worker", "--drain")
    assert cli.good("show", "run_good", "--json").json["status"] == "passed"
    failed = cli.good("show", "run_bad", "--json").json
    assert (failed["status"], "topic" in failed["errorMessage"]) == ("failed", True)
