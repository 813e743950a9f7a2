"""copy: everything to another database, or nothing is closed."""

import multiprocessing
import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import loopkit
from loopkit import ConflictError, InvalidDatabase
from loopkit.core.run import NewRun
from loopkit.stores.sql.move import move
from loopkit.stores.sql.store import SqlStore
from tests.cli.conftest import Program


def test_everything_moves(cli: Program) -> None:
    """Runs, journals and artifacts are the same there; the old database names the new one and is closed."""
    passed, queued = cli.run(), cli.submit()
    events = cli.good("events", passed["id"], "--json").json
    artifacts = cli.good("artifacts", passed["id"], "--json").json
    assert cli.good("copy", "--to", "sqlite:///new.db", "--json").json == {"copied": 2}
    assert "moved to sqlite:///new.db" in cli.refused(2, "list")
    there = ("--database", "sqlite:///new.db")
    assert cli.good("show", passed["id"], "--json", *there).json == passed
    assert cli.good("events", passed["id"], "--json", *there).json == events
    assert cli.good("artifacts", passed["id"], "--json", *there).json == artifacts
    assert cli.good("verify", "--json", *there).json == {"violations": []}
    cli.good("worker", "--drain", *there)
    assert cli.good("show", queued, "--json", *there).json["status"] == "passed"


@pytest.mark.parametrize("text", ["no json", "{", '{"a": NaN}', '[-Infinity, 1e999, "\\u0000"]'])
def test_text_that_is_no_json_moves(cli: Program, postgres_url: str, text: str) -> None:
    """Another program left it in a column of JSON; PostgreSQL takes it as one JSON text, and that is no difference."""
    cli.submit()
    cli.sql(f"update workflow_runs set inputs = '{text}', policy = '{text}'")
    cli.sql(f"update workflow_events set metadata = '{text}'")
    assert cli.good("copy", "--to", postgres_url, "--json").json == {"copied": 1}
    cli.good("worker", "--drain", "--database", postgres_url)
    assert cli.good("list", "--json", "--database", postgres_url).json["runs"][0]["status"] == "failed"


def test_a_copy_needs_an_empty_target_and_something_to_copy(cli: Program) -> None:
    """Also when the target is the source; the source stays open."""
    cli.good("list")
    assert "there are no runs to copy" in cli.refused(1, "copy", "--to", "sqlite:///loopkit.db")
    cli.submit()
    assert "must be empty" in cli.refused(1, "copy", "--to", "sqlite:///loopkit.db")
    cli.good("list")


def test_a_held_run_is_not_copied(cli: Program) -> None:
    """Its runner would write to the old database."""
    run_id = cli.submit()
    cli.sql("update workflow_runs set status='running', claimed_at=datetime('now'), claimed_by='other:1'")
    assert f"run {run_id} is running" in cli.refused(1, "copy", "--to", "sqlite:///new.db")
    cli.good("list")


def interfered(store: SqlStore, afterwards: Callable[[str], Awaitable[object]]) -> SqlStore:
    """Make the target of a move call ``afterwards`` with the id of the first run of each imported part; return it."""
    import_runs = store.import_runs

    async def import_and_interfere(runs: Sequence[Mapping[str, Any]]) -> None:
        await import_runs(runs)
        await afterwards(runs[0]["run"]["id"])

    store.import_runs = import_and_interfere  # type: ignore[method-assign]
    return store


@asynccontextmanager
async def stores(folder: Path) -> AsyncGenerator[tuple[SqlStore, SqlStore]]:
    """An old database with one run, and a new one."""
    async with (
        loopkit.open_store(f"sqlite:///{folder}/loopkit.db") as source,
        loopkit.open_store(f"sqlite:///{folder}/new.db") as target,
    ):
        await source.submit([NewRun(agent_name="writer", inputs={})])
        yield source, target


async def test_who_has_the_old_database_open_is_refused(tmp_path: Path) -> None:
    """A write is refused from the beginning of the copy on, and says where to go; so nothing is left behind."""
    async with stores(tmp_path) as (source, target):

        async def late(run_id: str) -> None:
            with pytest.raises(InvalidDatabase, match="moved to the new one"):
                await source.request_cancel(run_id)

        before = await source.export_runs("")
        assert await move(source, interfered(target, late), "the new one") == 1
        with pytest.raises(InvalidDatabase, match="moved to the new one"):
            await source.submit([NewRun(agent_name="writer", inputs={})])
        assert await source.export_runs("") == await target.export_runs("") == before


async def test_what_differs_is_noticed(tmp_path: Path) -> None:
    """A run that somebody cancels in the new database leaves the old one in use."""
    async with stores(tmp_path) as (source, target):
        with pytest.raises(ConflictError, match="is not the same in both"):
            await move(source, interfered(target, target.request_cancel), "the new one")
        await source.submit([NewRun(agent_name="writer", inputs={})])


async def test_an_interrupted_copy_leaves_the_old_database_in_use(tmp_path: Path) -> None:
    """The new one holds a part, so it does not open."""
    async with stores(tmp_path) as (source, target):
        with anyio.CancelScope() as scope:

            async def interrupt(run_id: str) -> None:
                scope.cancel()
                await anyio.lowlevel.checkpoint()

            await move(source, interfered(target, interrupt), "the new one")
        assert scope.cancelled_caught
        await source.submit([NewRun(agent_name="writer", inputs={})])
    with pytest.raises(InvalidDatabase, match="unfinished copy"):
        await loopkit.open_store(f"sqlite:///{tmp_path}/new.db").__aenter__()


def killed_while_copying(folder: Path) -> None:
    """Copy until the first part is there, then be killed."""

    async def kill(run_id: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    async def copy() -> None:
        async with stores(folder) as (source, target):
            await move(source, interfered(target, kill), "sqlite:///new.db")

    anyio.run(copy)


def test_a_killed_copy_is_repeated(cli: Program) -> None:
    """Both databases say what to do, and doing it loses nothing."""
    copying = multiprocessing.get_context("spawn").Process(target=killed_while_copying, args=(cli.folder,))
    copying.start()
    copying.join()
    assert copying.exitcode == -signal.SIGKILL
    assert "being moved to sqlite:///new.db" in cli.refused(2, "list")
    for command in (("list", "--database"), ("worker", "--drain", "--database"), ("copy", "--to")):
        assert "delete it (or drop its tables) and copy again" in cli.refused(2, *command, "sqlite:///new.db")
    for file in cli.folder.glob("new.db*"):
        file.unlink()
    assert cli.good("copy", "--to", "sqlite:///new.db", "--json").json == {"copied": 1}
    assert "moved to sqlite:///new.db" in cli.refused(2, "copy", "--to", "sqlite:///other.db")
    cli.good("list", "--database", "sqlite:///new.db")


def test_a_password_is_not_told(cli: Program) -> None:
    """Neither on the terminal nor in the old database."""
    cli.submit()
    assert "hush" not in cli.refused(2, "copy", "--to", "postgresql://me:hush@127.0.0.1:1/db")
