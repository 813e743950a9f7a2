"""list, show, events, artifacts and agents."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Program

# --- list ------------------------------------------------------------------------------------------------------------


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
    assert f"--cursor {first['nextCursor']}" in cli.good("list", "--limit", "2").stderr


def test_list_reads_as_a_table(cli: Program) -> None:
    """A line a run, in words."""
    run = cli.run()
    heading, line = cli.good("list").lines
    assert heading.split() == ["RUN", "AGENT", "STATUS", "CYCLE", "CREATED", "WORKED", "FOR"]
    assert line.startswith(f"{run['id']}  writer  Passed (1.00)  {run['cycleId']}")


@pytest.mark.parametrize(("limit", "given"), [("0", 1), ("-5", 1), ("1000", 3)])
def test_a_limit_is_brought_into_its_range(cli: Program, limit: str, given: int) -> None:
    """1 to 200."""
    for _ in range(3):
        cli.submit()
    assert len(cli.good("list", "--limit", limit, "--json").json["runs"]) == given


@pytest.mark.parametrize("option", [("--status", "lost"), ("--limit", "many"), ("--cursor", "nonsense")])
def test_a_filter_that_cannot_be_is_a_usage_error(cli: Program, option: tuple[str, str]) -> None:
    """Status 2."""
    cli.refused(2, "list", "--json", *option)


# --- show, events ----------------------------------------------------------------------------------------------------


def test_show_reads_as_facts(cli: Program) -> None:
    """Name by name, the inputs too."""
    run = cli.run(topic="a\x1b[31m\ntopic")
    lines = cli.good("show", run["id"]).lines
    assert lines[0] == f"run         {run['id']}"
    assert "status      Passed (1.00)" in lines
    assert "score       1.00 by attempt 2 (passes at 0.8)" in lines
    assert "input       topic = a[31m topic" in lines
    assert "input       length = 100" in lines


def test_events_are_the_whole_journal(cli: Program) -> None:
    """Oldest first, in the shape of the API; as lines for people."""
    run = cli.run()
    events = cli.good("events", run["id"], "--json").json["events"]
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)
    told = [event["message"] for event in events if event["eventType"] != "log"]
    assert told[:3] == ["Queued", "Started", "Producing"]
    assert told[-1] == "Passed"
    lines = cli.good("events", run["id"]).lines
    assert len(lines) == len(events)
    assert any(line.endswith("Evaluated - Score: 0.50: go[2J on") for line in lines)


def test_following_an_ended_run_ends_with_it(cli: Program) -> None:
    """One event a line, each a JSON document, the same as without following."""
    run = cli.run()
    followed = [json.loads(line) for line in cli.good("events", run["id"], "--follow", "--json").lines]
    assert followed == cli.good("events", run["id"], "--json").json["events"]
    assert len(cli.good("events", run["id"], "--follow").lines) == len(followed)


def test_a_long_journal_is_read_to_its_end(cli: Program) -> None:
    """More events than a store gives at once."""
    run = cli.run()
    cli.sql(
        "insert into workflow_events (run_id, event_type, message) with recursive n(i) as"
        " (select 1 union all select i + 1 from n where i < 2500) select ?, 'log', 'line ' || i from n",
        run["id"],
    )
    events = cli.good("events", run["id"], "--json").json["events"]
    assert events[-1]["message"] == "line 2500"
    assert len(cli.good("events", run["id"], "--follow").lines) == len(events)


@pytest.mark.parametrize("command", ["show", "events", "artifacts", "cancel", "retry"])
def test_a_run_that_is_not_there_is_not_found(cli: Program, command: str) -> None:
    """Status 1, the run named, nothing on stdout."""
    assert "there is no run 'run_x'" in cli.refused(1, command, "run_x", "--json")
    assert "Missing argument 'RUN'" in cli.refused(2, command)


# --- artifacts -------------------------------------------------------------------------------------------------------


def test_artifacts_are_listed(cli: Program) -> None:
    """An output before its evaluation; contents in JSON, a table for people."""
    run = cli.run()
    artifacts = cli.good("artifacts", run["id"], "--json").json["artifacts"]
    names = ["attempt-1.md", "attempt-1.eval.json", "attempt-2.md", "attempt-2.eval.json"]
    assert [artifact["filename"] for artifact in artifacts] == names
    assert artifacts[0]["content"] == "producing: sheep, 100 words"
    assert [line.split()[2] for line in cli.good("artifacts", run["id"]).lines] == ["FILE", *names]


def test_artifacts_are_saved(cli: Program) -> None:
    """Each to a file of its name, also with --json; never outside the folder."""
    run = cli.run()
    cli.sql("update workflow_artifacts set filename='../outside.md' where filename='attempt-2.md'")
    saved = cli.good("artifacts", run["id"], "--save", "made").lines
    assert (cli.folder / "made/attempt-1.md").read_text() == "producing: sheep, 100 words"
    assert json.loads((cli.folder / "made/attempt-1.eval.json").read_text())["score"] == 0.5
    assert len(saved) == len(list((cli.folder / "made").iterdir())) == 4
    assert not (cli.folder / "outside.md").exists()
    assert len(cli.good("artifacts", run["id"], "--save", "made", "--json").json["artifacts"]) == 4
    (cli.folder / "made/attempt-1.md").write_text("mine")
    assert "another content" in cli.refused(1, "artifacts", run["id"], "--save", "made", "--json")


# --- agents ----------------------------------------------------------------------------------------------------------


def test_agents_are_listed_with_their_stages(cli: Program) -> None:
    """In the shape of the API, and whether each stage can be loaded."""
    agents = {agent["name"]: agent for agent in cli.good("agents", "--json").json["agents"]}
    writer: dict[str, Any] = agents["writer"]
    assert (writer["description"], writer["maxAttempts"], writer["passThreshold"]) == ("Writes on a topic.", 3, 0.8)
    assert writer["inputs"]["required"] == ["topic"]
    assert writer["stages"]["produce"]["problem"] is None
    assert "writer  Writes on a topic." in cli.good("agents").lines


def test_a_stage_that_cannot_be_loaded_is_found(cli: Program) -> None:
    """Status 1; all agents are listed, and which stage it is."""
    (cli.folder / "agents.yaml").write_text(
        'agents: {lost: {produce: {python: "no.such:f"}, evaluate: {python: "tests.cli.stages:produce"}}}'
    )
    done = cli("agents", "--json")
    assert done.status == 1
    stages = done.json["agents"][0]["stages"]
    assert stages["evaluate"]["problem"] is None
    assert "no.such" in stages["produce"]["problem"]
    done = cli("agents")
    assert done.status == 1
    assert "✗" in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "agents.yaml"),
        ("agents: [", "agents.yaml"),
        ("agents: {a: {prodce: {}}}", "prodce"),
        ("agents: {a: {produce: {python: 7}, evaluate: {python: 'a:b'}}}", "produce"),
    ],
)
def test_a_configuration_that_does_not_hold_is_a_usage_error(cli: Program, text: str | None, said: str) -> None:
    """Status 2, with the file and the key, from every command that reads it."""
    config = cli.folder / "agents.yaml"
    config.unlink()
    if text is not None:
        config.write_text(text)
    for command in (["agents", "--json"], ["run", "a"], ["submit", "a"], ["worker"]):
        told = cli.refused(2, *command)
        assert "agents.yaml" in told
        assert said in told


@pytest.mark.parametrize("inputs", ["[1]", "null", "5", "{oops", '{"x": NaN}', '{"x": 1e999}', '{"x": "\\ud83d"}'])
def test_a_run_whose_inputs_are_no_object_is_shown(cli: Program, inputs: str) -> None:
    """Another program may have written anything there; it is an object to whoever looks."""
    cli.submit()
    cli.sql(f"update workflow_runs set inputs='{inputs}'")
    (listed,) = cli.good("list", "--json").json["runs"]
    assert isinstance(listed["inputs"], dict)
    assert cli.good("show", listed["id"], "--json").json == listed
    assert "input " in cli.good("show", listed["id"]).stdout
