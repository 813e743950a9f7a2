"""The command show, and runs that other programs wrote."""

import pytest

from tests.cli.conftest import Program


def test_show_reads_as_facts(cli: Program) -> None:
    """Name by name, the inputs too."""
    run = cli.run(topic="a\x1b[31m\ntopic")
    lines = cli.good("show", run["id"]).lines
    assert lines[0] == f"run         {run['id']}"
    assert "status      Passed (1.00)" in lines
    assert "score       1.00 by attempt 2 (passes at 0.8)" in lines
    assert "input       topic = a[31m topic" in lines
    assert "input       length = 100" in lines


@pytest.mark.parametrize("command", ["show", "events", "artifacts", "cancel", "retry"])
def test_a_run_that_is_not_there_is_not_found(cli: Program, command: str) -> None:
    """Status 1, the run named, nothing on stdout."""
    assert "there is no run 'run_x'" in cli.refused(1, command, "run_x", "--json")
    assert "Missing argument 'RUN'" in cli.refused(2, command)


@pytest.mark.parametrize("inputs", ["[1]", "null", "5", "{oops", '{"x": NaN}', '{"x": 1e999}', '{"x": "\\ud83d"}'])
def test_a_run_whose_inputs_are_no_object_is_shown(cli: Program, inputs: str) -> None:
    """Another program may have written anything there; it is an object to whoever looks."""
    cli.submit()
    cli.sql(f"update workflow_runs set inputs='{inputs}'")
    (listed,) = cli.good("list", "--json").json["runs"]
    assert isinstance(listed["inputs"], dict)
    assert cli.good("show", listed["id"], "--json").json == listed
    assert "input " in cli.good("show", listed["id"]).stdout
