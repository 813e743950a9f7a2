"""The command events."""

import json

from tests.cli.conftest import Program


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
