"""Rows of other programs are read: both formats of time, both forms of JSON, columns of ours that are NULL."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import loopkit
from loopkit.core.journal import EventType
from loopkit.core.run import NewRun
from loopkit.errors import RunNotFound
from loopkit.storage import RunQuery
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.postgresql import PostgresqlDatabase
from loopkit.stores.sql.operations import run_queries, verify
from loopkit.stores.sql.schema import rows, tables
from tests.stores.sql.conftest import CLOCK, Foreign

NOON = datetime(2026, 11, 22, 12, 0, 0, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-11-22T12:00:00.123Z", NOON),
        ("2026-11-22 12:00:00.123", NOON),
        ("2026-11-22T12:00:00.123987Z", NOON),
        ("2026-11-22T13:00:00.123+01:00", NOON),
        ("2026-11-22 12:00:00", NOON.replace(microsecond=0)),
        (NOON.astimezone(timezone(timedelta(hours=5))), NOON),
        (NOON + timedelta(microseconds=999), NOON),
        ("soon", None),
        (None, None),
    ],
)
def test_times_are_moments_in_milliseconds(value: Any, moment: datetime | None) -> None:
    """Whatever a time column holds is read as an aware moment in UTC, cut to the millisecond."""
    read = rows.moment(value)
    assert read == moment
    assert read is None or (read.utcoffset() == timedelta(0) and read.microsecond % 1000 == 0)


def read_run(database: Database, run_id: str = "r", clock: dict[str, Any] = CLOCK) -> Any:
    with database.reading() as connection:
        return run_queries.get_run(connection, run_id, clock)


def test_a_run_of_another_program_is_read(database: Database, foreign: Foreign) -> None:
    """The least that another program writes is a whole run."""
    foreign.add_runs({"id": "r", "inputs": '{"thesis": "ü", "n": 12345678901234567890}'})
    run = read_run(database)
    assert run.inputs == {"thesis": "ü", "n": 12345678901234567890}
    assert (run.status, run.current_attempt, run.fencing_token, run.stalled) == ("queued", 1, 0, False)
    assert run.created_at.utcoffset() == timedelta(0)
    with pytest.raises(RunNotFound):
        read_run(database, "nobody")


def test_a_run_of_another_program_is_read_with_the_beginnings_of_its_texts(
    database: Database, foreign: Foreign
) -> None:
    """Another program may write a reason or a policy of any length; pages read the beginnings."""
    foreign.add_runs({"id": "r", "end_reason": "x" * 500, "policy": '{"reviseFrom": "' + "y" * 500 + '"}'})
    with database.reading() as connection:
        run = run_queries.get_run(connection, "r", CLOCK, 100)
    assert (run.end_reason, run.is_cut) == ("x" * 100, True)
    assert len(str(run.policy)) <= 110


def test_inputs_that_are_no_object_are_given_as_they_are(database: Database, foreign: Foreign) -> None:
    """What does not fit is for the agent's schema to refuse; reading it is no error."""
    foreign.add_runs({"id": "r", "inputs": "[1, 2]"})
    assert read_run(database).inputs == [1, 2]
    if not isinstance(database, PostgresqlDatabase):
        foreign.add_runs({"id": "s", "inputs": "no json"})
        assert read_run(database, "s").inputs == "no json"


@pytest.mark.parametrize("sign", ["heartbeat_at", "claimed_at", "started_at", "created_at"])
def test_stalled_goes_by_the_newest_sign_of_life(database: Database, foreign: Foreign, sign: str) -> None:
    """A running run is stalled when its newest sign of life is older than the limit, by the store's clock."""
    signs = ["created_at", "started_at", "claimed_at", "heartbeat_at"]
    old, new = NOON - timedelta(days=1), NOON - timedelta(seconds=120)
    given = dict.fromkeys(signs[: signs.index(sign)], old) | {sign: new}
    foreign.add_runs({"id": "r", "status": "running", **given}, {"id": "q", **given})
    for later, stalled in ((0, False), (1, True)):
        now = foreign.time(NOON + timedelta(milliseconds=later))
        assert read_run(database, "r", CLOCK | {"now": now}).stalled is stalled
        assert read_run(database, "q", CLOCK | {"now": now}).stalled is False
    for earlier, stalled in ((240, False), (241, True)):  # the clock was set back
        now = foreign.time(NOON - timedelta(seconds=earlier))
        assert read_run(database, "r", CLOCK | {"now": now}).stalled is stalled


def test_the_best_attempt_is_found_where_nobody_wrote_it(database: Database, foreign: Foreign) -> None:
    """A score of another program gets the earliest attempt that has it, in lists too; or none."""
    foreign.add_runs({"id": "r", "final_score": 0.5}, {"id": "s", "final_score": 0.5})
    for attempt, content in enumerate(('{"score": 0.25}', '{"score": 0.5}', "0.5", "not json"), 1):
        foreign.add(
            tables.artifacts,
            {"run_id": "r", "attempt": attempt, "artifact_type": "evaluation", "filename": "e", "content": content},
        )
    assert read_run(database).best_attempt == 2
    assert read_run(database, "s").best_attempt is None
    with database.reading() as connection:
        page = run_queries.list_runs(connection, database, RunQuery(), CLOCK)
    assert {run.id: run.best_attempt for run in page.runs} == {"r": 2, "s": None}


def test_artifacts_and_events_of_another_program_are_read(database: Database, foreign: Foreign) -> None:
    """Artifacts come by attempt, an output first; events with whatever metadata, and of unknown types as logs."""
    foreign.add_runs({"id": "r"})
    for kind, attempt in (("evaluation", 2), ("evaluation", 1), ("output", 2), ("output", 1)):
        values = {"run_id": "r", "attempt": attempt, "artifact_type": kind, "filename": "f", "content": "c"}
        foreign.add(tables.artifacts, values)
    for kind, metadata in (("log", None), ("note", '{"a": 1}'), ("error", "[1]")):
        foreign.add(tables.events, {"run_id": "r", "event_type": kind, "metadata": metadata})
    with database.reading() as connection:
        kept = run_queries.list_artifacts(connection, "r")
        told = run_queries.list_events(connection, "r")
        assert [(a.attempt, a.artifact_type) for a in kept] == [
            (1, "output"),
            (1, "evaluation"),
            (2, "output"),
            (2, "evaluation"),
        ]
        assert {a.is_json for a in kept} == {False}
        assert [(e.event_type, e.metadata) for e in told] == [
            (EventType.LOG, None),
            (EventType.LOG, {"a": 1}),
            (EventType.ERROR, {"value": [1]}),
        ]
        ids = [event.id for event in told]
        assert [e.id for e in run_queries.list_events(connection, "r", after=ids[0], limit=1)] == ids[1:2]
        assert [e.id for e in run_queries.list_events(connection, "r", before=ids[2], limit=1)] == ids[1:2]
        assert [e.id for e in run_queries.list_events(connection, "r", before=ids[2], after=ids[0])] == ids[1:2]
        assert len(run_queries.list_events(connection, "r", limit=0)) == 1
        for look in (run_queries.list_events, run_queries.list_artifacts):
            with pytest.raises(RunNotFound):
                look(connection, "nobody")


UNREADABLE = {
    "status": "'done'",
    "created_at": "'soon'",
    "current_attempt": "'first'",
    "max_attempts": "'many'",
    "pass_threshold": "'high'",
    "final_score": "'good'",
    "best_attempt": "1.5",
    "lost_leases": "'two'",
}
"""Values that SQLite stores in these columns although no program may write them."""


@pytest.mark.parametrize("column", UNREADABLE)
def test_a_run_with_an_unreadable_value_is_still_a_run(
    sqlite_database: Database, foreign_on_sqlite: Foreign, column: str
) -> None:
    """It names what cannot be read, and is listed beside the others."""
    foreign_on_sqlite.add_runs({"id": "r"}, {"id": "sound"})
    with sqlite_database.writing() as connection:
        connection.execute(text(f"UPDATE workflow_runs SET {column} = {UNREADABLE[column]} WHERE id = 'r'"))
    run = read_run(sqlite_database)
    sentence = f"{column} is {UNREADABLE[column]}"
    assert run.unreadable == sentence
    assert run.error_message == f"the row of this run cannot be read: {sentence}"


async def test_an_unreadable_run_fails_and_the_others_are_worked(tmp_path: Path) -> None:
    """No worker stops for it, and no sound run that is claimed with it fails."""
    agent = loopkit.Agent(name="a", produce=lambda ctx: "x", evaluate=lambda ctx: 1.0)
    async with loopkit.open_store(f"sqlite:///{tmp_path}/runs.db") as store:
        odd = [column for column in UNREADABLE if column != "status"]
        runs = await store.submit([NewRun(agent_name="a", inputs={}) for _ in range(2 * len(odd))])
        with closing(sqlite3.connect(tmp_path / "runs.db")) as database, database:
            for run, column in zip(runs[::2], odd, strict=True):
                database.execute(f"UPDATE workflow_runs SET {column} = {UNREADABLE[column]} WHERE id = ?", [run.id])
        await loopkit.Runner(store, [agent], concurrency=3).drain()
        ended = {run.id: await store.get_run(run.id) for run in runs}
        assert [ended[run.id].status for run in runs[1::2]] == ["passed"] * len(odd)
        for run, column in zip(runs[::2], odd, strict=True):
            if column == "current_attempt":  # written anew by the claim
                assert ended[run.id].status == "passed", column
            else:
                assert ended[run.id].status == "failed", column
                assert "cannot be read" in (ended[run.id].error_message or ""), column


def test_an_artifact_of_an_unknown_type_is_left_out(sqlite_database: Database, foreign_on_sqlite: Foreign) -> None:
    """Another program stored it; ``verify`` names it."""
    foreign_on_sqlite.add_runs({"id": "r"})
    values = {"run_id": "r", "attempt": 1, "artifact_type": "note", "filename": "f", "content": "c"}
    foreign_on_sqlite.add(tables.artifacts, values)
    with sqlite_database.reading() as connection:
        assert run_queries.list_artifacts(connection, "r") == []
        assert run_queries.describe_artifacts(connection, "r") == []
        violations = verify.check(connection, sqlite_database)
    assert "r" in {violation.run_id for violation in violations}
