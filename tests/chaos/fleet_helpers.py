"""A fleet of real runner processes on one database and the faults injected into it; :mod:`verdict_helpers` judges it.

Workers are forked from a process that has imported everything, since a storm needs thousands of them.
"""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import anyio
import attrs
from sqlalchemy import Select, select
from sqlalchemy.exc import OperationalError

from loopkit import Run, RunStatus
from loopkit.core.run import NewRun
from loopkit.storage import Order, RunQuery
from loopkit.stores import open_store
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.schema.tables import runs
from tests.chaos import worker_program
from tests.chaos.timing_helpers import STALLED_AFTER

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 120.0
OPEN_RUNS = select(runs.c.id).where(runs.c.status.in_(["queued", "running"]))

NURSERY = multiprocessing.get_context("forkserver")
NURSERY.set_forkserver_preload(
    [
        "tests.chaos.worker_program",
        "anyio._backends._asyncio",
        "loopkit.stores.sql.opener",
        "loopkit.stores.sql.writes.sqlite_executor",
        "loopkit.stores.sql.writes.postgresql_executor",
        "sqlalchemy.dialects.sqlite.pysqlite",
        "sqlalchemy.dialects.postgresql.psycopg",
    ]
)


class Worker(Protocol):
    """One runner process. Only processes that were started here are ever signalled."""

    @property
    def pid(self) -> int: ...

    @property
    def is_ready(self) -> bool:
        """True once it has opened the database and handles signals."""
        ...

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        ...

    def wait(self) -> int | None:
        """Wait for the end and return the exit status; None when it does not end."""
        ...


class Forked:
    """A :class:`Worker` that begins at once."""

    def __init__(self, url: str, log: Path, stalled_after: float) -> None:
        self._ready, ready = NURSERY.Pipe(duplex=False)
        self._process = NURSERY.Process(
            target=worker_program.forked, args=(url, log, ready, stalled_after), daemon=True
        )
        self._process.start()
        ready.close()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        return self._ready.poll()

    @property
    def status(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join(PATIENCE_SECONDS)
        return self._process.exitcode


class Spawned:
    """A :class:`Worker` that is started as a program, by a command before it or in another environment."""

    def __init__(self, url: str, log: Path, before: Sequence[str], environment: Mapping[str, str]) -> None:
        with (log.parent / "stderr").open("a") as stderr:
            self._process = subprocess.Popen(
                [*before, sys.executable, "-m", "tests.chaos.worker_program", url, str(log)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
                text=True,
            )
        assert self._process.stdout is not None
        with self._process.stdout as out:
            assert out.readline() == "ready\n"
        self.pid = self._process.pid
        self.is_ready = True

    @property
    def status(self) -> int | None:
        return self._process.poll()

    def wait(self) -> int | None:
        return self._process.wait(PATIENCE_SECONDS)


@attrs.define
class Fleet:
    """Workers on one database."""

    url: str
    log: Path
    size: int
    stalled_after: float = STALLED_AFTER
    """Seconds."""
    workers: list[Worker] = attrs.field(factory=list)
    struck: Counter[str] = attrs.field(factory=Counter)
    """Number of faults by kind; a fault counts only if the worker held a run."""
    thaws: list[tuple[float, int]] = attrs.field(factory=list)
    """Times at which a frozen worker was resumed, with its process id."""
    skews: dict[int, float] = attrs.field(factory=dict)
    """Seconds by which a worker's clock is ahead, by process id."""
    chance: random.Random = attrs.field(factory=lambda: random.Random(1))
    _eye: Database = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._eye = open_database(self.url)

    def grow(self) -> None:
        """Start workers up to the fleet's size; a worker that has ended by itself is an error."""
        assert [worker.status for worker in self.workers if worker.status is not None] == []
        self._start_missing()

    def regrow(self) -> None:
        """Replace the workers that have ended by themselves."""
        self.bury()
        self._start_missing()

    def _start_missing(self) -> None:
        self.workers += [Forked(self.url, self.log, self.stalled_after) for _ in range(self.size - len(self.workers))]

    def bury(self) -> None:
        """Remove the workers that have ended by themselves."""
        ended = [one for one in self.workers if one.status is not None]
        self.struck["death"] += len(ended)
        self.workers = [one for one in self.workers if one not in ended]

    def hire(self, url: str, *before: str, environment: Mapping[str, str] | None = None) -> Worker:
        """Add a worker that reaches the database by another URL, or is started by another command."""
        hired = Spawned(url, self.log, before, environment or {})
        self.workers.append(hired)
        return hired

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(worker.is_ready for worker in self.workers):
            assert [worker.status for worker in self.workers if worker.status is not None] == []
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def dismiss(self) -> None:
        """Kill every worker."""
        for one in self.workers:
            _send(one, signal.SIGKILL)
        for one in self.workers:
            one.wait()
        self.workers.clear()

    @property
    def told(self) -> str:
        """Lines that the workers wrote to stderr."""
        said = self.log.parent / "stderr"
        return said.read_text() if said.exists() else ""

    def submit(self, count: int, *, topic: str = "x" * 200) -> list[str]:
        """Queue runs; every returned id was acknowledged."""

        async def ask() -> list[Run]:
            async with open_store(self.url) as store:
                new = NewRun(agent_name="chaos", inputs={"topic": topic})
                return await store.submit([new] * count)

        return [run.id for run in anyio.run(ask)]

    def keep_busy(self, acknowledged: list[str]) -> None:
        """Queue runs so that every worker has work."""
        if self.open_runs() < 60:
            acknowledged += self.submit(120)

    def runs(self) -> list[Run]:
        """Return all runs, the oldest first."""

        async def ask() -> list[Run]:
            found: list[Run] = []
            async with open_store(self.url, stalled_after=timedelta(seconds=self.stalled_after)) as store:
                query = RunQuery(limit=200, order=Order.CREATED_ASC)
                while True:
                    page = await store.list_runs(query)
                    found += page.runs
                    if page.next_cursor is None:
                        return found
                    query = attrs.evolve(query, cursor=page.next_cursor)

        return anyio.run(ask)

    def open_runs(self) -> int:
        """Count the runs that have not ended."""
        return len(self._look(OPEN_RUNS))

    def busy_workers(self) -> list[Worker]:
        """Return the workers that hold a run."""
        return [one for one in self.workers if self.held_by(one)]

    def held_by(self, worker: Worker) -> set[str]:
        """Return the runs that a worker holds, as the database has it."""
        held = runs.c.status == RunStatus.RUNNING.value, runs.c.claimed_by.contains(f":{worker.pid}:")
        return {run_id for (run_id,) in self._look(select(runs.c.id).where(*held))}

    def tokens(self, run_ids: Collection[str]) -> dict[str, int]:
        """Return the fencing tokens of some runs; a higher one means that the run was claimed again."""
        return dict(map(tuple, self._look(select(runs.c.id, runs.c.fencing_token).where(runs.c.id.in_(run_ids)))))

    def _look(self, statement: Select[Any]) -> Sequence[Any]:
        """Read from the database, again after a lost connection: faults hit this connection as well."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self._eye.reading() as connection:
                    return connection.execute(statement).all()
            except OperationalError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def _chosen(self, count: int) -> list[Worker]:
        ready = [one for one in self.workers if one.is_ready]
        return self.chance.sample(ready, min(count, len(ready)))

    def kill_one(self) -> None:
        for one in self._chosen(1):
            self.kill(one)

    def kill(self, worker: Worker) -> None:
        _send(worker, signal.SIGKILL)
        worker.wait()
        self.workers.remove(worker)
        self.struck["kill" if self.held_by(worker) else "kill of an idle one"] += 1

    def freeze_two(self) -> None:
        """Freeze two workers for longer than their leases last, then resume them."""
        frozen = self._chosen(2)
        for one in frozen:
            _send(one, signal.SIGSTOP)
        held = [self.held_by(one) for one in frozen]
        time.sleep(self.stalled_after + 0.7 if any(held) else 0.0)
        for one, before in zip(frozen, held, strict=True):
            taken = before - self.held_by(one)
            self.thaws.append((time.time(), one.pid))
            _send(one, signal.SIGCONT)
            self.struck["zombie" if taken else "freeze without loss"] += 1
            self.struck["run taken from a zombie"] += len(taken)

    def stop_one(self) -> None:
        """Stop a worker by SIGTERM; it must exit with 0 and hold no run, except one that it reported as lost."""
        for one in self._chosen(1):
            self.struck["stop" if self.held_by(one) else "stop of an idle one"] += 1
            _send(one, signal.SIGTERM)
            assert one.wait() == 0
            assert all(f"run {run_id} was lost" in self.told for run_id in self.held_by(one))
            self.workers.remove(one)

    def finish(self) -> None:
        """Finish the remaining runs with healthy workers."""
        self.grow()
        self.wait_until_ready()
        wait_until(lambda: not self.open_runs(), "the runs do not end")
        for one in self.workers:
            _send(one, signal.SIGTERM)
        assert {one.wait() for one in self.workers} == {0}
        self.workers.clear()

    def close(self) -> None:
        self._eye.close()
        self.dismiss()


def wait_until(holds: Callable[[], object], otherwise: str) -> None:
    """Wait until ``holds()`` is true; fail with the message ``otherwise`` after too long."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def _send(worker: Worker, number: signal.Signals) -> None:
    if worker.status is None:
        os.kill(worker.pid, number)


@contextmanager
def fleet(url: str, folder: Path, size: int, *, stalled_after: float = STALLED_AFTER) -> Iterator[Fleet]:
    """Yield a fleet, and end its processes."""
    made = Fleet(url, folder / "calls", size, stalled_after)
    made.log.touch()
    try:
        made.grow()
        made.wait_until_ready()
        yield made
    finally:
        made.close()
