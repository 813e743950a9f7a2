"""The command list."""

import pytest

from tests.cli.conftest import Program


def test_list_is_newest_first_and_filtered(cli: Program) -> None:
    """By status and by agent; an empty agent is no filter."""
    passed, queued = cli.run()["id"], cli.submit("loser")

    def listed(*options: str) -> list[str]:
        return [run["id"] for run in cli.good("list", "--json", *options).json["runs"]]

    assert listed() == [queued, passed]
    assert listed("--status", "passed") == [passed]
    assert listed("--agent", "loser") == [queued]
    assert listed("--agent", "") == [queued, passed]
    assert listed("--status", "failed") == []


def test_list_goes_on_by_cursor(cli: Program) -> None:
    """Each page says where the next one begins; the last one does not."""
    runs = [cli.submit() for _ in range(3)]
    first = cli.good("list", "--limit", "2", "--json").json
    assert [run["id"] for run in first["runs"]] == [runs[2], runs[1]]
    last = cli.good("list", "--cursor", first["nextCursor"], "--json").json
    assert ([run["id"] for run in last["runs"]], last["nextCursor"]) == ([runs[0]], None)
    assert f"add --cursor {first['nextCursor']} to the same command" in cli.good("list", "--limit", "2").stderr


def test_list_reads_as_a_table(cli: Program) -> None:
    """A line a run, in words."""
    run = cli.run()
    heading, line = cli.good("list").lines
    assert heading.split() == ["RUN", "AGENT", "STATUS", "CYCLE", "CREATED", "WORKED", "FOR"]
    assert line.startswith(f"{run['id']}  writer  Passed (1.00)  {run['cycleId']}")


@pytest.mark.parametrize("limit", ["0", "-5", "201"])
def test_a_limit_has_a_range(cli: Program, limit: str) -> None:
    """1 to 200, as the help says."""
    cli.submit()
    assert "is not in the range 1<=x<=200" in cli.refused(2, "list", "--limit", limit, "--json")
    assert len(cli.good("list", "--limit", "200", "--json").json["runs"]) == 1


@pytest.mark.parametrize("option", [("--status", "lost"), ("--limit", "many"), ("--cursor", "nonsense")])
def test_a_filter_that_cannot_be_is_a_usage_error(cli: Program, option: tuple[str, str]) -> None:
    """Status 2."""
    said = cli.refused(2, "list", "--json", *option)
    assert option[0] != "--cursor" or "use the nextCursor" in said


@pytest.mark.parametrize("length", [1_001, 100_000, 4_000_000])
def test_an_id_that_is_too_long_is_cut(cli: Program, length: int) -> None:
    """In JSON after 1,000 characters, in the table after 60; only the whole id names the run."""
    queued = cli.submit()
    names = "agent_name, cycle_id, status, max_attempts, pass_threshold, inputs, created_at"
    long_id = "odd" + "x" * (length - 3)
    cli.sql(f"INSERT INTO workflow_runs (id, {names}) SELECT ?, {names} FROM workflow_runs", long_id)
    listed = cli.good("list", "--json").json["runs"]
    assert [run["id"] for run in listed] == [queued, "odd" + "x" * 997 + "…"]
    assert listed[1]["inputs"] == listed[0]["inputs"]
    lines = cli.good("list").lines
    assert max(map(len, lines)) < 200
    assert lines[2].startswith("odd" + "x" * 56 + "…  writer  ")
    for command in ("show", "cancel"):
        reason = cli.refused(1, command, "oddxxxxxxxxx")
        assert "names a run whose id has more than 1,000 characters: give the whole id" in reason
    cli.refused(1, "cancel", listed[1]["id"])
    assert cli.good("show", long_id, "--json").json["id"] == long_id
    assert cli.good("cancel", long_id, "--json").json["status"] == "cancelled"
