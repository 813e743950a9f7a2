"""The command submit."""

import json

import pytest

from tests.cli.conftest import Program


def test_submit_queues_and_prints_the_id(cli: Program) -> None:
    """The run waits with its inputs, defaults filled in."""
    run_id = cli.submit()
    run = cli.good("show", run_id, "--json").json
    assert (run["status"], run["inputs"]) == ("queued", {"topic": "sheep", "length": 100})
    assert cli.good("submit", "loser", "--json").json["runs"][0]["status"] == "queued"


def test_input_wins_over_inputs(cli: Program) -> None:
    """--inputs is one object, from a file or stdin."""
    given = json.dumps({"topic": "cats", "length": 5}).encode()
    submitted = cli.good("submit", "writer", "--inputs", "-", "--input", "topic=dogs", "--json", stdin=given)
    assert submitted.json["runs"][0]["inputs"] == {"topic": "dogs", "length": 5}


def test_a_batch_is_queued_in_order(cli: Program) -> None:
    """A line a run, blank ones skipped; options and --input hold for all of them."""
    lines = b'{"topic": "a"}\n\n{"topic": "b", "length": 1}\n'
    done = cli.good("submit", "writer", "--batch", "-", "--max-attempts", "9", "--input", "length=7", stdin=lines)
    runs = [cli.good("show", run_id, "--json").json for run_id in done.lines]
    assert [run["inputs"] for run in runs] == [{"topic": "a", "length": 7}, {"topic": "b", "length": 7}]
    assert {run["maxAttempts"] for run in runs} == {9}


def test_an_empty_batch_is_told(cli: Program) -> None:
    """It is no error, and stderr says that nothing was queued."""
    done = cli.good("submit", "writer", "--batch", "-", stdin=b"\n")
    assert (done.stdout, done.stderr) == ("", "no run was queued: --batch - has no lines with inputs\n")
    assert cli.good("submit", "writer", "--batch", "-", "--json", stdin=b"").json == {"runs": []}


@pytest.mark.parametrize("bad", ["nonsense", "[1]", '{"topic": 1}', '{"topic": ""}', "{}", '{"topic": NaN}'])
def test_one_bad_line_queues_nothing(cli: Program, bad: str) -> None:
    """The line is named by its number, blank ones counted."""
    (cli.folder / "batch").write_text(f'{{"topic": "a"}}\n\n{bad}\n{{"topic": "b"}}\n')
    told = cli.refused(2, "submit", "writer", "--batch", "batch", "--json")
    assert "line 3: " in told
    assert "line 1" not in told
    assert cli.good("list", "--json").json["runs"] == []


def test_many_bad_lines_are_told_in_short(cli: Program) -> None:
    """The first twenty by number, the others by their count."""
    told = cli.refused(2, "submit", "writer", "--batch", "-", stdin=b"x\n" * 25)
    assert "line 20:" in told
    assert "line 21:" not in told
    assert "and 5 more" in told


def test_a_batch_and_inputs_exclude_each_other(cli: Program) -> None:
    """Two sources of inputs are one too many."""
    assert "use one of them" in cli.refused(2, "submit", "writer", "--batch", "-", "--inputs", "-")
