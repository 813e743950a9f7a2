"""Restore from a backup, as in docs/how-to/operate.md: a holder from before cannot write after a take-over."""

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

import loopkit
from loopkit.core import machine
from loopkit.core.lease import Claimant
from loopkit.core.outcome import Produced
from loopkit.storage import Held
from loopkit.stores.sql.store import SqlStore

T = TypeVar("T")

AGENT = loopkit.Agent(name="one", produce=lambda ctx: "text", evaluate=lambda ctx: 1.0)
LONG_AGO = "2020-01-01 00:00:00"


def on(path: Path, statement: str, parameters: Sequence[str] = ()) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(statement, parameters)


def in_store(path: Path, work: Callable[[SqlStore], Awaitable[T]]) -> T:
    async def do() -> T:
        async with loopkit.open_store(f"sqlite:///{path}") as store:
            return await work(store)

    return anyio.run(do)


def claimed(path: Path, run_id: str) -> Held:
    """Take over a run whose holder has been silent for long."""
    on(path, "UPDATE workflow_runs SET heartbeat_at = ? WHERE id = ?", [LONG_AGO, run_id])
    return in_store(path, lambda store: store.claim_run(Claimant(name="host:1"), run_id))


def test_a_restore_fences_old_holders(tmp_path: Path) -> None:
    """A lease from after the backup does not fit the run that a runner took over after the restore, even though both
    have the same fencing token; its write is refused and changes nothing."""
    path, backup = tmp_path / "loopkit.db", tmp_path / "backup.db"
    first = in_store(path, lambda store: store.start(loopkit.new_run(AGENT), Claimant(name="host:0")))
    on(path, "VACUUM INTO ?", [str(backup)])
    late = claimed(path, first.run.id)

    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        file.unlink(missing_ok=True)
    backup.rename(path)
    holder = claimed(path, first.run.id)
    assert holder.lease.fencing_token == late.lease.fencing_token

    change = machine.advance(late.run, Produced("too late"))
    for lease in (first.lease, late.lease):
        with pytest.raises(loopkit.LeaseLost):
            in_store(path, partial(SqlStore.record, lease=lease, change=change))
    assert in_store(path, lambda store: store.list_artifacts(first.run.id)) == []

    in_store(path, lambda store: store.record(holder.lease, machine.advance(holder.run, Produced("in time"))))
    [artifact] = in_store(path, lambda store: store.list_artifacts(first.run.id))
    assert artifact.content == "in time"
    assert in_store(path, lambda store: store.check()) == []
