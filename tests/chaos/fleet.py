"""A fleet of real runner processes on one database, what strikes it, and who judges it afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import attrs
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

import loopkit
from loopkit import Run, RunStatus
from loopkit.core.run import NewRun
from loopkit.storage import Order, RunQuery
from loopkit.stores import open_store
from loopkit.stores.sql.dialects import Database, open_database
from loopkit.stores.sql.tables import runs
from tests.chaos.settings import STALLED_AFTER

ROOT = Path(__file__).parent.parent.parent
PATIENCE_SECONDS = 120.0
OPEN_RUNS = select(func.count()).select_from(runs).where(runs.c.status.in_(["queued", "running"]))


class Worker:
    """One runner process. Only processes that were started here are ever signalled."""

    def __init__(self, url: str, log: Path, *before: str) -> None:
        with (log.parent / "stderr").open("a") as stderr:
            self._process = subprocess.Popen(
                [*before, sys.executable, "-m", "tests.chaos.worker", url, str(log)],
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                text=True,
            )

    def wait_until_ready(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as out:
            assert out.readline() == "ready\n"

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def status(self) -> int | None:
        return self._process.poll()

    def wait(self) -> int:
        return self._process.wait(PATIENCE_SECONDS)


@attrs.define
class Fleet:
    """Workers on one database."""

    url: str
    log: Path
    size: int
    workers: list[Worker] = attrs.field(factory=list)
    struck: Counter[str] = attrs.field(factory=Counter)
    chance: random.Random = attrs.field(factory=lambda: random.Random(1))
    _eye: Database = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._eye = open_database(self.url)

    def grow(self) -> None:
        """Bring the fleet to its size."""
        self.workers = [worker for worker in self.workers if worker.status is None]
        new = [Worker(self.url, self.log) for _ in range(self.size - len(self.workers))]
        for worker in new:
            worker.wait_until_ready()
        self.workers += new

    def hire(self, url: str, *before: str) -> None:
        """Add a worker that reaches the database by another URL, started by another command."""
        self.workers.append(Worker(url, self.log, *before))
        self.workers[-1].wait_until_ready()

    def submit(self, count: int) -> list[str]:
        """Queue runs; every id given back was acknowledged."""

        async def ask() -> list[Run]:
            async with open_store(self.url) as store:
                new = NewRun(agent_name="chaos", inputs={"topic": "x" * 200})
                return await store.submit([new] * count)

        return [run.id for run in anyio.run(ask)]

    def runs(self) -> list[Run]:
        """Give all runs, the oldest first."""

        async def ask() -> list[Run]:
            found: list[Run] = []
            async with open_store(self.url, stalled_after=timedelta(seconds=STALLED_AFTER)) as store:
                query = RunQuery(limit=200, order=Order.CREATED_ASC)
                while True:
                    page = await store.list_runs(query)
                    found += page.runs
                    if page.next_cursor is None:
                        return found
                    query = attrs.evolve(query, cursor=page.next_cursor)

        return anyio.run(ask)

    def open_runs(self) -> int:
        """Count the runs that have not ended; what strikes the workers strikes this connection as well."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with self._eye.reading() as connection:
                    return int(connection.execute(OPEN_RUNS).scalar_one())
            except OperationalError:
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def kill_one(self) -> None:
        self.chance.choice(self.workers).kill()
        self.struck["kill"] += 1

    def freeze_one(self) -> None:
        """Stop a worker for longer than its leases last, then let it go on."""
        worker = self.chance.choice(self.workers)
        worker.signal(signal.SIGSTOP)
        time.sleep(STALLED_AFTER + 0.7)
        worker.signal(signal.SIGCONT)
        self.struck["freeze"] += 1

    def stop_one(self) -> None:
        """Ask a worker to stop; it must exit 0."""
        worker = self.chance.choice(self.workers)
        worker.signal(signal.SIGTERM)
        assert worker.wait() == 0
        self.struck["stop"] += 1

    def finish(self) -> None:
        """Let sound workers end what is left."""
        self.grow()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.open_runs():
            assert time.monotonic() < deadline, f"{self.open_runs()} runs do not end"
            time.sleep(0.1)
        for worker in self.workers:
            worker.signal(signal.SIGTERM)
        assert {worker.wait() for worker in self.workers} == {0}

    def close(self) -> None:
        self._eye.close()
        for worker in self.workers:
            if worker.status is None:
                worker.kill()


@contextmanager
def fleet(url: str, folder: Path, size: int) -> Iterator[Fleet]:
    """Give a fleet, and end its processes."""
    made = Fleet(url, folder / "calls", size)
    made.log.touch()
    try:
        made.grow()
        yield made
    finally:
        made.close()


def judge(made: Fleet, acknowledged: list[str]) -> Counter[str]:
    """Hold the database against the promises: nothing lost, nothing doubled, nothing done again, rules kept."""
    found = made.runs()
    assert {run.id for run in found} == set(acknowledged)
    assert all(run.ended for run in found)
    command = [Path(sys.executable).parent / "loopkit-cli", "verify", "--database", made.url]
    verify = subprocess.run(command, capture_output=True, text=True)
    assert verify.returncode == 0, verify.stdout + verify.stderr
    _judge_calls(made)
    for run in found:
        lost = run.status is RunStatus.FAILED and "runner_lost" in str(run.error_message)
        assert run.status is RunStatus.PASSED or lost, run
    return Counter(run.status.value for run in found)


def _judge_calls(made: Fleet) -> None:
    """No stage began after its result was stored, and each stored result was made by a call that ended."""
    begun: dict[tuple[str, str, int], list[float]] = {}
    ended: Counter[tuple[str, str, int]] = Counter()
    for line in made.log.read_text().splitlines():
        moment, _, word, run_id, stage, attempt = line.split()
        key = (run_id, stage, int(attempt))
        if word == "begin":
            begun.setdefault(key, []).append(float(moment))
        else:
            ended[key] += 1

    async def stored() -> dict[tuple[str, str, int], float]:
        found = {}
        async with open_store(made.url) as store:
            for run_id in {key[0] for key in begun}:
                for artifact in await store.list_artifacts(run_id):
                    made_by = "producing" if artifact.attempt == 1 else "revising"
                    stage = made_by if artifact.artifact_type is loopkit.ArtifactType.OUTPUT else "evaluating"
                    found[run_id, stage, artifact.attempt] = artifact.created_at.timestamp()
        return found

    for key, moment in anyio.run(stored).items():
        assert ended[key] >= 1, f"{key} is stored and no call of it ended"
        late = [began for began in begun[key] if began > moment + 0.002]
        assert not late, f"{key} was stored at {moment} and called again at {late}"
