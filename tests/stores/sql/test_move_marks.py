"""A database that is being moved takes no writes from any program; its target opens only when it is complete."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from loopkit import Agent, ConflictError, InvalidDatabase, Runner, open_store
from loopkit.core.run import RunStatus
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.move import MoveMarks
from loopkit.stores.sql.opener import open_for_copy
from loopkit.stores.sql.schema.migrations import WRITER_VERSION
from loopkit.stores.sql.schema.tables import artifacts, schema
from loopkit.stores.sql.store import SqlStore
from loopkit.testing.steps import AGENTS, ANNA, new_run, start_one, submit_one, work_to_end
from tests.stores.sql.conftest import Foreign

TO = "postgresql://me@[::1]:5432/it's %s :new"
"""A place with every sign in it that a statement might take for its own."""


async def everything(store: SqlStore) -> list[Any]:
    return await store.export_runs("", limit=1000)


async def is_refused(call: Callable[[], Awaitable[object]]) -> None:
    with pytest.raises(InvalidDatabase) as refused:
        await call()
    assert str(refused.value) == f"this database was moved to {TO}; use that one"


@pytest.mark.anyio
async def test_an_open_store_is_refused(url: str) -> None:
    """Each verb that writes raises an error that names the new database and writes nothing; reads go on."""
    async with open_store(url) as store:
        ended = await work_to_end(store, await start_one(store))
        run = await submit_one(store)
        before = await everything(store)
        await MoveMarks(store).begin_move(TO)
        for call in (
            lambda: store.submit([new_run(), new_run()]),
            lambda: store.submit([new_run(idempotency_key="k")]),
            lambda: store.start(new_run(), ANNA),
            lambda: store.claim(ANNA, AGENTS, limit=10),
            lambda: store.claim_run(ANNA, run.id),
            lambda: store.retry(ended.id),
            lambda: store.request_cancel(run.id),
            lambda: store.prune(timedelta(0)),
        ):
            await is_refused(call)
        assert await everything(store) == before
        assert (await store.get_run(run.id)).status is RunStatus.QUEUED


class Unannounced:
    """Store without announcements of runners, so that only a claim meets the error."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def __getattr__(self, verb: str) -> Any:
        if verb == "announce":
            raise AttributeError(verb)
        return getattr(self._store, verb)


@pytest.mark.anyio
async def test_a_runner_ends(url: str) -> None:
    """A runner on the old database works none of the copied runs: it ends with the error."""
    worked: list[object] = []
    async with open_store(url) as store:
        (run,) = await store.submit([new_run()])
        runner = Runner(
            Unannounced(store), [Agent(name=run.agent_name, produce=worked.append, evaluate=lambda context: 1.0)]
        )
        await MoveMarks(store).begin_move(TO)
        await is_refused(runner.serve)
    assert worked == []


@pytest.mark.anyio
async def test_other_programs_are_refused(database: Database, foreign: Foreign) -> None:
    """Plain SQL can neither add nor change nor delete a run and what belongs to it."""
    foreign.add_runs({"id": "r"})
    foreign.add(artifacts, {"run_id": "r", "attempt": 1, "artifact_type": "output", "filename": "f", "content": "c"})
    store = SqlStore(database)
    await MoveMarks(store).begin_move(TO)
    for statement in (
        "INSERT INTO workflow_events (run_id, event_type) VALUES ('r', 'log')",
        "INSERT INTO workflow_artifacts SELECT * FROM workflow_artifacts WHERE run_id = 'r'",
        (
            "INSERT INTO loopkit_usage (run_id, call_id, stage, attempt, try_number, state) "
            "VALUES ('r', 'c', 'producing', 1, 1, 'answered')"
        ),
        (
            "INSERT INTO loopkit_verdicts (run_id, attempt, kind, name, sample, made_by, score, feedback, detail) "
            "VALUES ('r', 1, 'judge', 'n', 1, 'm', 0.5, '', '{}')"
        ),
        "UPDATE workflow_runs SET status = 'running' WHERE id = 'r'",
        "DELETE FROM workflow_runs",
    ):
        with pytest.raises(Exception, match="this database was moved to"), database.writing() as connection:
            connection.execute(text(statement))


@pytest.mark.anyio
async def test_a_closed_database_opens_only_for_a_copy(url: str) -> None:
    """An interrupted copy can be repeated, to another target as well; an undone one leaves no trace."""
    async with open_store(url) as store:
        await submit_one(store)
        await MoveMarks(store).begin_move("sqlite:///first.db")
        with pytest.raises(
            InvalidDatabase, match=r"is being moved to sqlite:///first\.db\. If that copy was interrupted"
        ):
            await open_store(url).__aenter__()
        async with open_for_copy(url, timedelta(seconds=120)) as again:
            await MoveMarks(again).begin_move(TO)
            await MoveMarks(again).begin_move(TO)
        await MoveMarks(store).undo_move("sqlite:///first.db")
        await is_refused(lambda: submit_one(store))
        await MoveMarks(store).undo_move(TO)
        await MoveMarks(store).undo_move(TO)
        await submit_one(store)
    async with open_store(url) as store:
        assert len(await everything(store)) == 2
    database = open_database(url)
    with database.reading() as connection:
        assert connection.execute(schema.select()).one()[2:] == (WRITER_VERSION, None)
    database.close()


@pytest.mark.anyio
async def test_a_moved_database_stays_closed(url: str) -> None:
    """No loopkit opens or copies it any more, and nothing removes the mark."""
    async with open_store(url) as store:
        await submit_one(store)
        with pytest.raises(ConflictError, match="did not stay closed"):
            await MoveMarks(store).end_move(TO)
        await MoveMarks(store).begin_move(TO)
        await MoveMarks(store).end_move(TO)
        await MoveMarks(store).end_move(TO)
        await MoveMarks(store).undo_move(TO)
        await is_refused(lambda: submit_one(store))
        await is_refused(lambda: MoveMarks(store).begin_move("elsewhere"))
    await is_refused(lambda: open_store(url).__aenter__())


@pytest.mark.anyio
async def test_a_running_run_prevents_the_move(url: str) -> None:
    """Its runner goes on as before."""
    async with open_store(url) as store:
        held = await start_one(store)
        with pytest.raises(ConflictError, match=f"run {held.run.id} is running"):
            await MoveMarks(store).begin_move(TO)
        assert (await work_to_end(store, held)).status is RunStatus.PASSED


@pytest.mark.anyio
async def test_the_target_opens_when_it_is_complete(url: str, tmp_path: Path) -> None:
    """Until then nobody opens it, not even for another copy; one that stayed empty can be released."""
    async with open_store(f"sqlite:///{tmp_path}/source.db") as source:
        await submit_one(source)
        runs = await everything(source)
    async with open_store(url) as store, open_store(url) as other:
        await MoveMarks(store).begin_import()
        await MoveMarks(store).undo_import()
        async with open_store(url):
            await MoveMarks(store).begin_import()
        with pytest.raises(InvalidDatabase, match="unfinished copy"):
            await MoveMarks(other).begin_import()
        await store.import_runs(runs)
        await MoveMarks(store).undo_import()
        with pytest.raises(InvalidDatabase, match=r"unfinished copy .* delete it \(or drop its tables\)"):
            await open_store(url).__aenter__()
        await MoveMarks(store).end_import()
        with pytest.raises(ConflictError, match="must be empty"):
            await MoveMarks(store).begin_import()
    async with open_store(url) as store:
        assert await everything(store) == runs


@pytest.mark.anyio
async def test_missing_rights_for_triggers_are_reported(postgres_url: str) -> None:
    """The database gets no mark, and the store goes on."""
    async with open_store(postgres_url) as store:
        with psycopg.connect(postgres_url, autocommit=True) as owner:
            name = owner.info.dbname
            owner.execute(f'CREATE ROLE "{name}_writer" LOGIN')
            owner.execute(f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "{name}_writer"')
            try:
                url = open_database(postgres_url).writer.url.set(username=f"{name}_writer", password=None)
                async with open_store(url.render_as_string(hide_password=False)) as limited:
                    with pytest.raises(InvalidDatabase, match=r"may not close the old database .*permission denied"):
                        await MoveMarks(limited).begin_move(TO)
            finally:
                owner.execute(f'DROP OWNED BY "{name}_writer"')
                owner.execute(f'DROP ROLE "{name}_writer"')
        await submit_one(store)
