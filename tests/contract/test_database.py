"""The tables as other programs see and use them: by plain SQL, on each database."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, inspect, text

import loopkit
from loopkit.core import machine
from loopkit.core.outcome import Produced
from loopkit.core.policy import Definition
from loopkit.core.run import RunStatus, Stage
from loopkit.errors import LeaseLost, RunNotClaimable
from loopkit.storage import Order, RunQuery, Storage
from loopkit.stores.sql.databases.urls import open_database
from loopkit.testing.steps import ANNA, BORIS, claim_one, fail, scored, start_one, submit_one, work, work_to_end

KINDS = ["sqlite_url", "postgres_url", "libsql_url"]
HOUR = timedelta(hours=1)

COLUMNS = {
    "workflow_runs": [
        *("id", "agent_name", "cycle_id", "status", "current_stage", "current_attempt", "max_attempts"),
        *("pass_threshold", "final_score", "error_message", "inputs", "claimed_at", "claimed_by", "heartbeat_at"),
        *("cancel_requested_at", "started_at", "completed_at", "created_at", "retry_of"),
    ],
    "workflow_events": ["id", "run_id", "event_type", "stage", "attempt", "message", "metadata", "created_at"],
    "workflow_artifacts": ["id", "run_id", "attempt", "artifact_type", "filename", "content", "created_at"],
}
GIVEN = {
    "workflow_runs": {"id", "agent_name", "cycle_id", "status", "max_attempts", "pass_threshold", "inputs"},
    "workflow_events": {"run_id", "event_type"},
    "workflow_artifacts": {"run_id", "attempt", "artifact_type", "filename", "content"},
}
"""Columns that another program must set; the others are nullable or have a default."""


class OtherProgram:
    """Another program on the database: SQL and a driver, no code of loopkit."""

    def __init__(self, kind: str, engine: Engine) -> None:
        self.kind = kind
        self.engine = engine

    def ask(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        """Execute a statement in its own transaction and return its rows."""
        with self.engine.begin() as connection:
            done = connection.execute(text(statement), values)
            return [dict(row) for row in done.mappings()] if done.returns_rows else []

    def change(self, statement: str, **values: Any) -> int:
        """Execute an UPDATE and return the number of changed rows."""
        with self.engine.begin() as connection:
            return connection.execute(text(statement), values).rowcount

    def queue(self, run_id: str, **fields: Any) -> None:
        """Insert a queued run from the columns without a default, and the given ones."""
        row = {
            "id": run_id,
            "agent_name": "writer",
            "cycle_id": "spring",
            "status": "queued",
            "max_attempts": 3,
            "pass_threshold": 0.8,
            "inputs": '{"thesis": "loops"}',
            **fields,
        }
        self.ask(
            f"INSERT INTO workflow_runs ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})", **row
        )

    def row(self, run_id: str) -> dict[str, Any]:
        """Return a run's row."""
        [row] = self.ask("SELECT * FROM workflow_runs WHERE id = :id", id=run_id)
        return row


def spaced(ago: timedelta) -> str:
    """Return a time as many programs write it: ``YYYY-MM-DD HH:MM:SS``."""
    return (datetime.now(UTC) - ago).strftime("%Y-%m-%d %H:%M:%S")


def moment(value: Any) -> datetime:
    """Read a time as the driver gives it."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.removesuffix("_url"))
def kind(request: pytest.FixtureRequest) -> str:
    named: str = request.param
    return named


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    given: str = request.getfixturevalue(kind)
    return given


@pytest.fixture
def anyio_backend() -> str:
    """Backend for the tests: the content of the tables does not depend on the event loop."""
    return "asyncio"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Storage]:
    async with loopkit.open_store(url) as opened:
        yield opened


@pytest.fixture
def other(kind: str, url: str, store: Storage) -> Iterator[OtherProgram]:
    """Another program on a database whose tables loopkit created."""
    database = open_database(url) if kind == "libsql_url" else None
    plain = url.replace("postgresql://", "postgresql+psycopg://").replace("postgres://", "postgresql+psycopg://")
    engine = database.writer if database is not None else create_engine(plain)
    yield OtherProgram(kind, engine)
    if database is not None:
        database.close()
    engine.dispose()


async def test_tables_and_columns_bear_their_names(other: OtherProgram) -> None:
    """The first columns are the shared ones, in order; every further table says that it is loopkit's."""
    found = inspect(other.engine)
    tables = set(found.get_table_names())
    assert set(COLUMNS) <= tables
    assert all(name.startswith("loopkit_") for name in tables - set(COLUMNS))
    for table, columns in COLUMNS.items():
        described = {column["name"]: column for column in found.get_columns(table)}
        assert list(described)[: len(columns)] == columns
        for name, column in described.items():
            needed = not column["nullable"] and column["default"] is None and not column.get("identity")
            assert needed <= (name in GIVEN[table] or name == "id"), f"{table}.{name}"


async def test_postgresql_has_the_right_types(other: OtherProgram) -> None:
    """Times with a zone, 64-bit floats, json as text was given."""
    if other.kind != "postgres_url":
        return
    rows = other.ask("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'workflow_runs'")
    types = {row["column_name"]: row["data_type"] for row in rows}
    assert {types[name] for name in types if name.endswith("_at")} == {"timestamp with time zone"}
    assert (types["pass_threshold"], types["final_score"]) == ("double precision", "double precision")
    assert (types["inputs"], types["id"], types["current_attempt"]) == ("json", "text", "integer")


async def test_what_loopkit_writes_is_read_by_plain_sql(store: Storage, other: OtherProgram) -> None:
    """Rows, events and artifacts of an ended run, in the shared columns alone."""
    run = await work(
        store, await start_one(store, max_attempts=2), Produced("one"), scored(0.5), Produced("two"), scored(0.9)
    )
    row = other.row(run.id)
    assert (row["status"], row["current_stage"], row["current_attempt"], row["final_score"]) == ("passed", None, 2, 0.9)
    assert row["claimed_by"].startswith("anna:1:")
    inputs = row["inputs"]
    assert (json.loads(inputs) if isinstance(inputs, str) else inputs) == {"thesis": "loops"}
    for name in ("claimed_at", "heartbeat_at", "started_at", "completed_at", "created_at"):
        assert abs(moment(row[name]) - datetime.now(UTC)) < HOUR
        if other.kind != "postgres_url":
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row[name])
    events = other.ask("SELECT * FROM workflow_events WHERE run_id = :id ORDER BY id", id=run.id)
    assert [event["message"] for event in events] == [
        *("Queued", "Started", "Producing", "Produced (attempt-1.md)", "Evaluating", "Evaluated - Score: 0.50"),
        *("Revising", "Revised (attempt-2.md)", "Evaluating", "Evaluated - Score: 0.90", "Passed"),
    ]
    kept = other.ask("SELECT * FROM workflow_artifacts WHERE run_id = :id ORDER BY id", id=run.id)
    assert [(one["attempt"], one["artifact_type"], one["filename"]) for one in kept] == [
        *((1, "output", "attempt-1.md"), (1, "evaluation", "attempt-1.eval.json")),
        *((2, "output", "attempt-2.md"), (2, "evaluation", "attempt-2.eval.json")),
    ]
    assert kept[0]["content"] == "one"
    assert json.loads(kept[3]["content"]) == {"score": 0.9, "feedback": "go on"}


async def test_a_result_is_stored_once_whoever_writes_it(store: Storage, other: OtherProgram) -> None:
    """(run_id, attempt, artifact_type) is unique."""
    run = await work(store, await start_one(store), Produced("one"))
    with pytest.raises(Exception, match=r"(?i)unique"):
        other.ask(
            "INSERT INTO workflow_artifacts (run_id, attempt, artifact_type, filename, content) "
            "VALUES (:id, 1, 'output', 'x', 'y')",
            id=run.id,
        )


async def test_an_inserted_run_is_a_queued_run(store: Storage, other: OtherProgram) -> None:
    """By the least of columns: the rest has defaults, and it is worked like any other."""
    other.queue("run_x")
    row = other.row("run_x")
    assert (row["current_attempt"], row["claimed_at"], row["final_score"]) == (1, None, None)
    assert abs(moment(row["created_at"]) - datetime.now(UTC)) < HOUR
    run = await store.get_run("run_x")
    assert (run.status, run.inputs, run.created_at.tzinfo) == (RunStatus.QUEUED, {"thesis": "loops"}, UTC)
    assert await store.list_events("run_x") == []
    held = await claim_one(store)
    assert (held.run.id, held.run.current_stage, held.lease.fencing_token) == ("run_x", Stage.PRODUCING, 1)
    assert (await work_to_end(store, held)).status is RunStatus.PASSED
    assert [e.message for e in await store.list_events("run_x")][:2] == ["Started", "Producing"]
    assert await store.check() == []


@pytest.mark.parametrize("by_id", [False, True])
async def test_an_inserted_run_gets_the_policy_of_its_agent(store: Storage, other: OtherProgram, by_id: bool) -> None:
    """The first claim writes it and works by it; a policy that is there already stays."""
    of_agent = Definition("d", {"drafts": 2, "maxLosses": 7})
    other.queue("run_1")
    other.queue("run_2", policy='{"drafts": 3}')
    other.ask(
        "INSERT INTO workflow_artifacts (run_id, attempt, artifact_type, filename, content) VALUES "
        """('run_1', 1, 'output', 'x', 'y'), ('run_1', 1, 'evaluation', 'x', '{"score": 0.1}')"""
    )
    if by_id:
        held = [await store.claim_run(ANNA, run_id, definition=of_agent) for run_id in ("run_1", "run_2")]
    else:
        held = sorted(await store.claim(ANNA, {"writer": of_agent}, limit=2), key=lambda claimed: claimed.run.id)
    assert [claimed.run.policy for claimed in held] == [dict(of_agent.policy), {"drafts": 3}]
    assert (held[0].run.current_stage, held[0].run.current_attempt) == (Stage.PRODUCING, 2)
    assert [(await store.get_run(run_id)).policy for run_id in ("run_1", "run_2")] == [
        dict(of_agent.policy),
        {"drafts": 3},
    ]
    other.queue("run_3")
    [third] = await store.claim(BORIS, {"writer": "a digest without a policy"})
    assert third.run.policy is None


@pytest.mark.parametrize("policy", ["[]", '{"drafts": "two"}', '{"maxLosses": 1e400}', '{"tomorrow": 1}', '"x"'])
async def test_a_policy_that_cannot_be_read_fails_the_run(store: Storage, other: OtherProgram, policy: str) -> None:
    """No run is worked by half a policy: the run is claimed, and ends with an error that names the value."""
    other.queue("run_1", policy=policy)
    agent = loopkit.Agent(name="writer", produce=lambda ctx: "x", evaluate=lambda ctx: 1.0)
    await loopkit.Runner(store, [agent]).drain()
    run = await store.get_run("run_1")
    assert (run.status, run.end_reason) == (RunStatus.FAILED, "stage_error")
    assert "policy" in (run.error_message or "")
    assert await store.check() == []


ESCAPES = [r'{"a\u0000": 1}', r'{"\ud83d": 1}', r'{"drafts": "\u0000", "thesis": "\udc00"}']
"""JSON with the escape of a NUL or of half a pair, which PostgreSQL stores and whose fields it refuses to read."""


@pytest.mark.parametrize("escaped", ESCAPES)
async def test_escapes_that_text_cannot_hold_stop_nobody(store: Storage, other: OtherProgram, escaped: str) -> None:
    """A queued or stalled run with such a policy or such inputs is claimed and fails; all others are worked."""
    stalled = {"status": "running", "claimed_by": "other", "claimed_at": spaced(timedelta(hours=1))}
    other.queue("run_1", policy=escaped)
    other.queue("run_2", policy=escaped, **stalled)
    other.queue("run_3", inputs=escaped)
    other.queue("run_4")
    other.ask("INSERT INTO workflow_events (run_id, event_type, metadata) VALUES ('run_4', 'log', :it)", it=escaped)
    schema = {"type": "object", "additionalProperties": False, "properties": {"thesis": {"const": "loops"}}}
    agent = loopkit.Agent(name="writer", produce=lambda ctx: "x", evaluate=lambda ctx: 1.0, inputs=schema)
    await loopkit.Runner(store, [agent]).drain()
    runs = [await store.get_run(f"run_{number}") for number in range(1, 5)]
    assert [run.status.value for run in runs] == ["failed", "failed", "failed", "passed"]
    assert not any("\0" in (run.error_message or "") for run in runs)
    assert await store.check() == []


async def test_two_formats_of_time_are_one_order(store: Storage, other: OtherProgram) -> None:
    """A blank sorts before a T as text; as moments the older run comes first, in claims and in lists."""
    oldest = datetime.now(UTC) - timedelta(minutes=3)
    times = [
        oldest.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        (oldest + timedelta(seconds=20)).strftime("%Y-%m-%d %H:%M:%S"),
        (oldest + timedelta(seconds=40)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        (oldest + timedelta(seconds=60)).strftime("%Y-%m-%d %H:%M:%S"),
    ]
    for number, at in reversed(list(enumerate(times))):
        suffix = "+00" if other.kind == "postgres_url" and "T" not in at else ""
        other.queue(f"run_{number}", created_at=at + suffix)
    newest = await submit_one(store)
    listed = await store.list_runs(RunQuery(order=Order.CREATED_ASC))
    assert [run.id for run in listed.runs] == ["run_0", "run_1", "run_2", "run_3", newest.id]
    since = await store.list_runs(RunQuery(created_since=oldest + timedelta(seconds=30)))
    assert [run.id for run in since.runs] == [newest.id, "run_3", "run_2"]
    held = await store.claim(ANNA, {"writer": "d"}, limit=9)
    assert [one.run.id for one in held] == ["run_0", "run_1", "run_2", "run_3", newest.id]


async def test_cycle_ids_of_others_count(store: Storage, other: OtherProgram) -> None:
    """The next is one more than the day's highest."""
    day = (await submit_one(store)).created_at.date()
    other.queue("run_x", cycle_id=f"{day}-0419")
    assert (await submit_one(store)).cycle_id == f"{day}-420"


async def test_an_event_of_another_is_shown(store: Storage, other: OtherProgram) -> None:
    """By the least of columns, numbered after what was there, its time the database's."""
    run = await submit_one(store)
    other.ask("INSERT INTO workflow_events (run_id, event_type, message) VALUES (:id, 'log', 'theirs')", id=run.id)
    await claim_one(store)
    events = await store.list_events(run.id)
    assert [event.message for event in events] == ["Queued", "theirs", "Started", "Producing"]
    assert abs(events[1].created_at - datetime.now(UTC)) < HOUR
    assert (events[1].stage, events[1].attempt, events[1].metadata) == (None, None, None)
    assert await store.check() == []


CLAIM = """
    UPDATE workflow_runs SET status = 'running', claimed_at = :now, claimed_by = 'other:1', heartbeat_at = :now
    WHERE id = :id AND status = 'queued' AND claimed_at IS NULL
"""


async def test_a_run_that_another_claimed_is_left_alone(store: Storage, other: OtherProgram) -> None:
    """While it is not stalled, neither claimed by name nor in the queue; cancelling only asks."""
    run = await submit_one(store)
    assert other.change(CLAIM, id=run.id, now=_now(other)) == 1
    assert await store.claim(ANNA, {"writer": "d"}) == []
    with pytest.raises(RunNotClaimable):
        await store.claim_run(ANNA, run.id)
    shown = await store.get_run(run.id)
    assert (shown.status, shown.claimed_by, shown.stalled) == (RunStatus.RUNNING, "other:1", False)
    assert (await store.request_cancel(run.id)).status is RunStatus.RUNNING
    assert other.row(run.id)["cancel_requested_at"] is not None
    assert await store.check() == []


async def test_a_claim_that_only_stamps_is_a_claim(store: Storage, other: OtherProgram) -> None:
    """claimed_at alone keeps a queued run from being claimed."""
    run = await submit_one(store)
    other.change("UPDATE workflow_runs SET claimed_at = :now WHERE id = :id", id=run.id, now=_now(other))
    assert await store.claim(ANNA, {"writer": "d"}) == []
    with pytest.raises(RunNotClaimable):
        await store.claim_run(ANNA, run.id)


async def test_loopkits_claim_defeats_a_later_one(store: Storage, other: OtherProgram) -> None:
    """The conditional UPDATE of another program changes no row."""
    held = await start_one(store)
    assert other.change(CLAIM, id=held.run.id, now=_now(other)) == 0
    assert (await store.get_run(held.run.id)).claimed_by == held.lease.claimed_by


@pytest.mark.parametrize("known", ["heartbeat_at", "claimed_at", "started_at", "created_at"])
async def test_a_silent_other_is_taken_over(store: Storage, other: OtherProgram, known: str) -> None:
    """By heartbeat, else claim, else start, else creation, in either format; what it finished is kept."""
    order = ["created_at", "started_at", "claimed_at", "heartbeat_at"]
    times = {name: _now(other, ago=HOUR) for name in order[: order.index(known) + 1]}
    other.queue("run_x", **{**times, "status": "running", "claimed_by": "other:1"})
    other.ask(
        "INSERT INTO workflow_artifacts (run_id, attempt, artifact_type, filename, content) "
        "VALUES ('run_x', 1, 'output', 'attempt-1.md', 'theirs')"
    )
    assert (await store.get_run("run_x")).stalled
    held = await claim_one(store, BORIS)
    assert (held.run.id, held.taken_over, held.previous_heartbeat) == ("run_x", True, None)
    assert held.artifacts is not None
    assert (held.run.current_stage, held.artifacts[0].content) == (Stage.EVALUATING, "theirs")
    assert (await work(store, held, scored(0.9))).status is RunStatus.PASSED
    assert await store.check() == []


async def test_a_beat_of_another_keeps_its_run(store: Storage, other: OtherProgram) -> None:
    """Written with a blank, it is as fresh as one with a T."""
    other.queue("run_x", status="running", claimed_at=_now(other, ago=HOUR), heartbeat_at=_now(other))
    assert not (await store.get_run("run_x")).stalled
    assert await store.claim(ANNA, {"writer": "d"}) == []


async def test_a_run_lost_to_another_is_fenced(store: Storage, other: OtherProgram) -> None:
    """Another program that claims a released run draws no token; the old holder is refused all the same."""
    held = await start_one(store)
    await store.record(held.lease, machine.released_change(held.run, "stop"))
    assert other.change(CLAIM, id=held.run.id, now=_now(other)) == 1
    before = other.row(held.run.id)
    with pytest.raises(LeaseLost):
        await store.record(held.lease, machine.advance(held.run, Produced("late")))
    assert [beat.held for beat in await store.heartbeat([held.lease])] == [False]
    assert other.row(held.run.id) == before


async def test_an_other_that_takes_a_held_run_by_name_is_respected(store: Storage, other: OtherProgram) -> None:
    """Whoever writes another claimed_by has the run: token and lease_id alone do not hold it."""
    held = await start_one(store)
    other.change("UPDATE workflow_runs SET claimed_by = 'other:1' WHERE id = :id", id=held.run.id)
    with pytest.raises(LeaseLost):
        await fail(store, held)


ASK = "UPDATE workflow_runs SET cancel_requested_at = :now WHERE id = :id"


async def test_a_queued_run_with_a_request_is_not_worked(store: Storage, other: OtherProgram) -> None:
    """The runner that meets it ends it, whatever its agent."""
    run = await submit_one(store, agent_name="unknown")
    other.change(ASK, id=run.id, now=_now(other))
    assert await store.claim(ANNA, {"writer": "d"}) == []
    ended = await store.get_run(run.id)
    assert (ended.status, ended.started_at) == (RunStatus.CANCELLED, None)
    assert ended.completed_at is not None
    assert await store.check() == []


async def test_claiming_such_a_run_by_name_ends_it(store: Storage, other: OtherProgram) -> None:
    """And says so."""
    other.queue("run_x", cancel_requested_at=_now(other))
    with pytest.raises(RunNotClaimable):
        await store.claim_run(ANNA, "run_x")
    assert other.row("run_x")["status"] == "cancelled"


async def test_a_holder_hears_of_a_foreign_request(store: Storage, other: OtherProgram) -> None:
    """By heartbeat and watch; and at the boundary it wins."""
    held = await start_one(store)
    other.change(ASK, id=held.run.id, now=_now(other))
    assert [beat.cancel_requested for beat in await store.watch([held.lease])] == [True]
    assert [beat.cancel_requested for beat in await store.heartbeat([held.lease])] == [True]
    assert (await work(store, held, Produced("one"))).status is RunStatus.CANCELLED
    assert len(await store.list_artifacts(held.run.id)) == 1


def _now(other: OtherProgram, ago: timedelta = timedelta(0)) -> str:
    return spaced(ago) + ("+00" if other.kind == "postgres_url" else "")
