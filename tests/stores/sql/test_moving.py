"""A database whose content goes elsewhere takes no writes, whoever has it open; one that is being filled opens late."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from loopkit import Agent, ConflictError, InvalidDatabase, Runner, open_store
from loopkit.core.run import RunStatus
from loopkit.stores.sql.dialects import Database, open_database
from loopkit.stores.sql.opening import opened_to_copy
from loopkit.stores.sql.store import SqlStore
from loopkit.stores.sql.tables import artifacts, schema
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
async def test_who_has_it_open_is_refused(url: str) -> None:
    """Each verb that writes says where to go and leaves no trace; reading goes on."""
    async with open_store(url) as store:
        ended = await work_to_end(store, await start_one(store))
        run = await submit_one(store)
        before = await everything(store)
        await store.begin_move(TO)
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
    """A store to which a runner says nothing of itself, so that only its claim meets the error."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store

    def __getattr__(self, verb: str) -> Any:
        if verb == "announce":
            raise AttributeError(verb)
        return getattr(self._store, verb)


@pytest.mark.anyio
async def test_a_runner_ends(url: str) -> None:
    """One that finds copied runs in the old database works none of them: it ends with the error."""
    worked: list[object] = []
    async with open_store(url) as store:
        (run,) = await store.submit([new_run()])
        runner = Runner(
            Unannounced(store), [Agent(name=run.agent_name, produce=worked.append, evaluate=lambda context: 1.0)]
        )
        await store.begin_move(TO)
        await is_refused(runner.serve)
    assert worked == []


@pytest.mark.anyio
async def test_other_programs_are_refused(database: Database, foreign: Foreign) -> None:
    """Rows of runs, events and artifacts are neither added nor changed nor deleted by plain SQL."""
    foreign.add_runs({"id": "r"})
    foreign.add(artifacts, {"run_id": "r", "attempt": 1, "artifact_type": "output", "filename": "f", "content": "c"})
    store = SqlStore(database)
    await store.begin_move(TO)
    for statement in (
        "INSERT INTO workflow_events (run_id, event_type) VALUES ('r', 'log')",
        "INSERT INTO workflow_artifacts SELECT * FROM workflow_artifacts WHERE run_id = 'r'",
        "UPDATE workflow_runs SET status = 'running' WHERE id = 'r'",
        "DELETE FROM workflow_runs",
    ):
        with pytest.raises(Exception, match="this database was moved to"), database.writing() as connection:
            connection.execute(text(statement))


@pytest.mark.anyio
async def test_it_opens_for_a_copy_alone_until_it_is_undone(url: str) -> None:
    """A copy that was broken off can be repeated, to another place as well; an undone one leaves no trace."""
    async with open_store(url) as store:
        await submit_one(store)
        await store.begin_move("sqlite:///first.db")
        with pytest.raises(InvalidDatabase, match=r"is being moved to sqlite:///first\.db\. If that copy was broken"):
            await open_store(url).__aenter__()
        async with opened_to_copy(url, timedelta(seconds=120)) as again:
            await again.begin_move(TO)
            await again.begin_move(TO)
        await store.undo_move("sqlite:///first.db")
        await is_refused(lambda: submit_one(store))
        await store.undo_move(TO)
        await store.undo_move(TO)
        await submit_one(store)
    async with open_store(url) as store:
        assert len(await everything(store)) == 2
    database = open_database(url)
    with database.reading() as connection:
        assert connection.execute(schema.select()).one()[2:] == (1, None)
    database.close()


@pytest.mark.anyio
async def test_the_end_is_for_good(url: str) -> None:
    """No loopkit opens it any more, nor copies it; nothing takes the mark off."""
    async with open_store(url) as store:
        await submit_one(store)
        with pytest.raises(ConflictError, match="did not stay closed"):
            await store.end_move(TO)
        await store.begin_move(TO)
        await store.end_move(TO)
        await store.end_move(TO)
        await store.undo_move(TO)
        await is_refused(lambda: submit_one(store))
        await is_refused(lambda: store.begin_move("elsewhere"))
    await is_refused(lambda: open_store(url).__aenter__())


@pytest.mark.anyio
async def test_a_held_run_keeps_it_open(url: str) -> None:
    """Its runner goes on as if nothing had been asked."""
    async with open_store(url) as store:
        held = await start_one(store)
        with pytest.raises(ConflictError, match=f"run {held.run.id} is running"):
            await store.begin_move(TO)
        assert (await work_to_end(store, held)).status is RunStatus.PASSED


@pytest.mark.anyio
async def test_what_is_being_filled_opens_when_it_is_whole(url: str, tmp_path: Path) -> None:
    """Until then nobody opens it, for another copy neither; one into which nothing came is given back."""
    async with open_store(f"sqlite:///{tmp_path}/source.db") as source:
        await submit_one(source)
        runs = await everything(source)
    async with open_store(url) as store, open_store(url) as other:
        await store.begin_import()
        await store.undo_import()
        async with open_store(url):
            await store.begin_import()
        with pytest.raises(InvalidDatabase, match="unfinished copy"):
            await other.begin_import()
        await store.import_runs(runs)
        await store.undo_import()
        with pytest.raises(InvalidDatabase, match=r"unfinished copy .* delete it \(or drop its tables\)"):
            await open_store(url).__aenter__()
        await store.end_import()
        with pytest.raises(ConflictError, match="must be empty"):
            await store.begin_import()
    async with open_store(url) as store:
        assert await everything(store) == runs


@pytest.mark.anyio
async def test_who_may_not_make_triggers_is_told(postgres_url: str) -> None:
    """Nothing is marked then, and the store goes on."""
    async with open_store(postgres_url) as store:
        with psycopg.connect(postgres_url, autocommit=True) as owner:
            name = owner.info.dbname
            owner.execute(f'CREATE ROLE "{name}_writer" LOGIN')
            owner.execute(f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "{name}_writer"')
            try:
                url = open_database(postgres_url).writer.url.set(username=f"{name}_writer", password=None)
                async with open_store(url.render_as_string(hide_password=False)) as limited:
                    with pytest.raises(InvalidDatabase, match=r"may not close the old database .*permission denied"):
                        await limited.begin_move(TO)
            finally:
                owner.execute(f'DROP OWNED BY "{name}_writer"')
                owner.execute(f'DROP ROLE "{name}_writer"')
        await submit_one(store)
