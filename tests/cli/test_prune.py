"""The command prune."""

import pytest

from tests.cli.conftest import Program


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
