"""What docs/how-to/operate.md says of a restore: who held a run before it cannot write any more after a take-over."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

import loopkit
from loopkit.core import machine
from loopkit.core.lease import Claimant
from loopkit.core.outcome import Produced
from loopkit.storage import Held

AGENT = loopkit.Agent(name="one", produce=lambda ctx: "text", evaluate=lambda ctx: 1.0)
LONG_AGO = "2020-01-01 00:00:00"


def on(path: Path, *statement: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(*statement)


def in_store(path: Path, work: Callable[[loopkit.MemoryStore], object]) -> object:
    async def do() -> object:
        async with loopkit.open_store(f"sqlite:///{path}") as store:
            return await work(store)

    return anyio.run(do)


def claimed(path: Path, run_id: str) -> Held:
    """Have a runner take over a run whose holder was silent for long."""
    on(path, "UPDATE workflow_runs SET heartbeat_at = ? WHERE id = ?", [LONG_AGO, run_id])
    return in_store(path, lambda store: store.claim_run(Claimant(name="host:1"), run_id))


def test_a_restore_fences_old_holders(tmp_path: Path) -> None:
    """A lease from after the backup does not fit the run that a runner took over after the restore, even though both
    have the same fencing token; its write is refused and changes nothing."""
    path, backup = tmp_path / "loopkit.db", tmp_path / "backup.db"
    first: Held = in_store(path, lambda store: store.start(loopkit.new_run(AGENT), Claimant(name="host:0")))
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
            in_store(path, lambda store, lease=lease: store.record(lease, change))
    assert in_store(path, lambda store: store.list_artifacts(first.run.id)) == []

    in_store(path, lambda store: store.record(holder.lease, machine.advance(holder.run, Produced("in time"))))
    [artifact] = in_store(path, lambda store: store.list_artifacts(first.run.id))
    assert artifact.content == "in time"
    assert in_store(path, lambda store: store.check()) == []
