"""Runs of every kind, as loopkit leaves them and as other programs write them, for any database."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import attrs

import loopkit
from loopkit.core import machine
from loopkit.core.ledger.calls import CallState, spending_of
from loopkit.core.outcome import Produced
from loopkit.core.run import Run
from loopkit.storage import Held
from loopkit.stores.sql.opener import open_sql_store
from loopkit.stores.sql.operations import export
from loopkit.stores.sql.schema import tables
from loopkit.testing.steps import fail, new_call, new_verdict, scored, start_one, submit_one, work
from tests.stores.sql.conftest import Foreign

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


async def _work_some(store: Any) -> dict[str, str]:
    """Make runs of every kind and return the id of each by its kind."""
    made = {}
    held = await start_one(store)
    run = await _book(store, held, await work(store, held, Produced("a")))
    held = attrs.evolve(held, run=run)
    made["passed"] = (await work(store, held, scored(0.3), Produced('{"b": 1}', True), scored(0.9))).id
    made["spent"] = (await work(store, await start_one(store, max_attempts=1), Produced("a"), scored(0.5))).id
    made["failed"] = (await fail(store, await start_one(store))).id
    waiting = await submit_one(store)
    made["cancelled"] = (await store.request_cancel(waiting.id, actor="ann")).id
    held = await start_one(store)
    await store.request_cancel(held.run.id)
    made["stopped"] = (await work(store, held, Produced("a"))).id
    made["released"] = (held := await start_one(store)).run.id
    await work(store, held, Produced("a"))
    await store.record(held.lease, machine.released_change(await store.get_run(held.run.id), "stopping"))
    made["running"] = (held := await start_one(store)).run.id
    await work(store, held, Produced("a"), scored(0.2))
    held = attrs.evolve(held, run=await store.get_run(held.run.id))
    await _book(store, held, held.run)
    made["judging"] = (held := await start_one(store)).run.id
    await work(store, held, Produced("a"))
    made["other_running"] = (await start_one(store)).run.id
    made |= await _work_by_policy(store)
    made["queued"] = (await submit_one(store, idempotency_key="a key")).id
    made["retried"] = (await store.retry(made["failed"])).id
    return made


async def _work_by_policy(store: Any) -> dict[str, str]:
    """Let a runner work runs to the ends that only a policy gives, and some like them without one."""

    async def worked(scores: Sequence[float], outputs: str = "abc", **settings: Any) -> str:
        def make(context: loopkit.StageContext) -> str:
            context.report_usage(model="m", input_tokens=4, output_tokens=2)
            return outputs[context.attempt - 1]

        def judge(context: loopkit.StageContext) -> float:
            return scores[context.attempt - 1]

        agent = loopkit.Agent(name="a", produce=make, evaluate=judge, **{"max_attempts": 5, **settings})
        return (await loopkit.run(agent, {}, store=store)).run.id

    return {
        "flat": await worked([0.5, 0.55], stop=loopkit.Stop(patience=1, min_delta=0.1)),
        "steady": await worked([0.5, 0.5, 0.9]),
        "broke": await worked([0.5, 0.5], budget=loopkit.Budget(tokens=10)),
        "repeated": await worked([0.5, 0.7], "aaa", drafts=2, stop=loopkit.Stop(repeat=True)),
        "twice": await worked([0.5, 0.9], "aa"),
    }


async def _book(store: Any, held: Held, run: Run) -> Run:
    """Add two model calls, one without a price, and a verdict on attempt 1."""
    calls = [
        new_call("priced", input_tokens=5, output_tokens=7, cost_nanos=11, model="m", seconds=0.5),
        new_call("open", state=CallState.UNANSWERED),
    ]
    verdicts = [new_verdict("facts", detail={"b": 1, "a": None})]
    change = machine.log_change(run, [], calls=calls, verdicts=verdicts, spending=spending_of(calls))
    recorded: Run = await store.record(held.lease, change)
    return recorded


def record(folder: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Make the runs in a new SQLite file; return their ids by kind, and all of them as exported."""

    async def make() -> dict[str, str]:
        async with open_sql_store(f"sqlite:///{folder / 'histories.db'}", timedelta(hours=1)) as store:
            return await _work_some(store)

    made = anyio.run(make)
    store = open_sql_store(f"sqlite:///{folder / 'histories.db'}", timedelta(hours=1))
    with store._database.reading() as connection:
        exported = export.export_runs(connection, "", 1000)
    anyio.run(store.aclose)
    return made, exported


def write_foreign(foreign: Foreign) -> list[str]:
    """Write valid rows of another program, of every kind, and return their ids."""
    worked = {"claimed_by": "other:1", "claimed_at": LONG_AGO, "started_at": LONG_AGO}
    ended = worked | {"completed_at": LONG_AGO}
    given: list[dict[str, Any]] = [
        {"id": "f_queued"},
        {"id": "f_claimed", "claimed_at": LONG_AGO, "claimed_by": "other:1"},
        {"id": "f_running", "status": "running", **worked, "heartbeat_at": LONG_AGO, "current_stage": "revising"},
        {"id": "f_bare_running", "status": "running"},
        {"id": "f_passed", "status": "passed", **ended, "final_score": 0.9, "current_attempt": 2},
        {"id": "f_bare_passed", "status": "passed"},
        {"id": "f_failed", "status": "failed", **ended, "error_message": "it broke"},
        {"id": "f_bare_cancelled", "status": "cancelled"},
        {"id": "f_asked", "cancel_requested_at": LONG_AGO},
        {"id": "f_spaced", "created_at": foreign.time(LONG_AGO, spaced=True)},
    ]
    foreign.add_runs(*given)
    output = {"run_id": "f_passed", "artifact_type": "output", "content": "x"}
    verdict = {"run_id": "f_passed", "artifact_type": "evaluation"}
    foreign.add(
        tables.artifacts,
        {**output, "attempt": 1, "filename": "attempt-1.md"},
        {**verdict, "attempt": 1, "filename": "attempt-1.eval.json", "content": '{"score": 0.5, "feedback": ""}'},
        {**output, "attempt": 2, "filename": "attempt-2.md"},
        {**verdict, "attempt": 2, "filename": "attempt-2.eval.json", "content": '{"score": 0.9, "feedback": ""}'},
    )
    foreign.add(
        tables.events,
        {"run_id": "f_passed", "event_type": "log", "message": "hello", "metadata": '["no object"]'},
        {"run_id": "f_passed", "event_type": "stage_change", "metadata": '{"status": "passed"}'},
        {"run_id": "f_queued", "event_type": "score_update", "stage": "evaluating", "attempt": 1},
    )
    return [run["id"] for run in given]


def worked_elsewhere(made: Mapping[str, str]) -> list[str]:
    """Return the statements of another program that claims a queued run of loopkit and works it to its end."""
    run_id = made["queued"]
    return [
        (
            f"UPDATE workflow_runs SET status = 'running', claimed_by = 'other:2', current_stage = 'producing' "
            f"WHERE id = '{run_id}' AND status = 'queued' AND claimed_at IS NULL"
        ),
        (
            f"INSERT INTO workflow_artifacts (run_id, attempt, artifact_type, filename, content) "
            f"VALUES ('{run_id}', 1, 'output', 'attempt-1.md', 'x')"
        ),
        f"INSERT INTO workflow_events (run_id, event_type, message) VALUES ('{run_id}', 'log', 'done elsewhere')",
        f"UPDATE workflow_runs SET status = 'passed', current_stage = NULL WHERE id = '{run_id}'",
    ]
