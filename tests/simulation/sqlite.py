"""The SQL store below a world: each process opens the same in-memory database."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import greenlet  # type: ignore[import-untyped]
from sqlalchemy.dialects import sqlite

from loopkit import LeaseLost, Run, wire
from loopkit.core.journal import Change
from loopkit.core.lease import Lease
from loopkit.storage import RunnerInfo, Storage
from loopkit.stores.sql.operations.checks.invariants import RULE_GROUPS
from loopkit.stores.sql.operations.checks.policy_rules import find_violations
from loopkit.stores.sql.store import SqlStore
from loopkit.stores.sql.wakeups.hub import PollTimer, Wakeups
from loopkit.stores.sql.writes.lanes import Close, Perform
from loopkit.stores.sql.writes.request_queue import RequestQueue
from loopkit.stores.sql.writes.requests import AnyRequest, WriteRequest
from tests.simulation.database import Link, links, trouble
from tests.simulation.ground import Broken, Row
from tests.simulation.process import Crashed

if TYPE_CHECKING:
    from tests.simulation.process import Process
    from tests.simulation.world import World

T = TypeVar("T")

_ROWS = (
    "SELECT id, status, current_stage, current_attempt, final_score, fencing_token, claimed_by,"
    " coalesce(heartbeat_at, claimed_at), cancel_requested_at IS NOT NULL, coalesce(event_seq, 0) FROM workflow_runs"
)
_DOUBLED = (
    "SELECT run_id, message FROM workflow_events WHERE event_type = 'log' AND message LIKE 'call %'"
    " GROUP BY run_id, message HAVING count(*) > 1"
)


@cache
def _looks() -> list[str]:
    """Return the queries of the table invariants that the store's own check runs."""
    form: dict[str, Any] = {"dialect": sqlite.dialect(), "compile_kwargs": {"literal_binds": True}}
    return [str(group.statement.compile(**form)) for group in RULE_GROUPS]


class SqliteGround:
    """The in-memory database, emptied."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._eye = links().eye
        self._taken: list[Link] = []
        self._seen: dict[str, tuple[Any, ...]] = {}
        self._artifacts = 0
        links().empty()

    def store(self, process: "Process") -> Storage:
        def fault(point: str) -> None:
            if process.is_struck(point):
                busy = sqlite3.SQLITE_BUSY, "database is locked"
                raise trouble(*busy if point == "begin" else (sqlite3.SQLITE_IOERR, "disk I/O error"))

        link = links().take(fault, self._world.watch)
        self._taken.append(link)
        return WatchedStore(process, link)

    def changed(self) -> Iterator[Row]:
        for seen in self._eye.execute(_ROWS).fetchall():
            if self._seen.get(seen[0]) != seen:
                self._seen[seen[0]] = seen
                run_id, status, stage, attempt, score, token, claimed_by, heard_at, cancels, told = seen
                seen_at = heard_at and datetime.fromisoformat(heard_at)
                yield Row(run_id, status, stage, attempt, score, token, claimed_by, seen_at, bool(cancels), told)

    def kept(self) -> Iterator[tuple[str, str]]:
        new = "SELECT id, run_id, content FROM workflow_artifacts WHERE id > ? ORDER BY id"
        for number, run_id, content in self._eye.execute(new, (self._artifacts,)).fetchall():
            self._artifacts = number
            yield run_id, content

    def told(self, run_id: str, after: int) -> list[str]:
        told = "SELECT message FROM workflow_events WHERE run_id = ? AND seq > ? ORDER BY seq"
        return [message for (message,) in self._eye.execute(told, (run_id, after)).fetchall()]

    def calls(self, run_id: str) -> dict[str, int]:
        calls = "SELECT call_id, input_tokens FROM loopkit_usage WHERE run_id = ?"
        return dict(self._eye.execute(calls, (run_id,)).fetchall())

    def verdicts(self, run_id: str) -> set[tuple[int, str]]:
        verdicts = "SELECT attempt, name FROM loopkit_verdicts WHERE run_id = ?"
        return set(self._eye.execute(verdicts, (run_id,)).fetchall())

    def scores_given(self, run_id: str) -> list[tuple[int, str, int, float]]:
        verdicts = "SELECT attempt, name, sample, score FROM loopkit_verdicts WHERE run_id = ?"
        return self._eye.execute(verdicts, (run_id,)).fetchall()

    def artifacts(self, run_id: str) -> list[tuple[int, str, str]]:
        artifacts = "SELECT attempt, artifact_type, content FROM workflow_artifacts WHERE run_id = ?"
        return self._eye.execute(artifacts, (run_id,)).fetchall()

    def end_by_hand(self, run_id: str) -> bool:
        now = wire.instant(self._world.now())
        self._eye.execute(
            "UPDATE workflow_runs SET status = 'cancelled', current_stage = NULL, cancel_requested_at = ?,"
            " completed_at = ? WHERE id = ?",
            (now, now, run_id),
        )
        return True

    async def wrongs(self) -> list[tuple[str | None, str]]:
        doubled = self._eye.execute(_DOUBLED).fetchall()
        found = [row for look in _looks() for row in self._eye.execute(look).fetchall()]
        with self._link().database.reading() as connection:
            violations = list(find_violations(connection))
        return [
            *((run_id, f"{line!r} stands twice") for run_id, line in doubled),
            *((run_id, str(detail)) for run_id, *details in found for detail in details if detail is not None),
            *((violation.run_id, violation.detail) for violation in violations),
        ]

    def _link(self) -> Link:
        """Return a link of the world's own, which never fails."""
        self._taken.append(links().take(lambda _: None, lambda: None))
        return self._taken[-1]

    def leave(self) -> None:
        links().give_back(self._taken)


class WatchedStore(SqlStore):
    """The shipped store, whose results the world checks."""

    def __init__(self, process: "Process", link: Link) -> None:
        self._process = process
        super().__init__(
            link.database,
            stalled_after=process.world.stalled_after,
            now=process.world.now,
            ids=process.ids,
            driver=SimDriver(process),
            wakeups=SimWakeups(process),
        )

    async def announce(self, runner: RunnerInfo) -> None:
        """Write only some announcements: they are expensive, and nothing depends on them."""
        if self._process.chance.random() < 0.1:
            await super().announce(runner)

    async def record(self, lease: Lease, change: Change) -> Run:
        try:
            return await self._process.booker.record(super().record, lease, change)
        except LeaseLost:
            self._process.world.told_lost(lease)
            raise


class SimWakeups(Wakeups):
    """Wake-ups by polling, without the polls that would find nothing."""

    def __init__(self, process: "Process") -> None:
        super().__init__(PollTimer())
        self._process = process

    async def wait_for_work(self, timeout: float) -> None:
        await self._process.wait_for_work()


class SimDriver:
    """Driver of the writers in simulation: virtual time and random delays."""

    def __init__(self, process: "Process") -> None:
        self._process = process

    def lane(self, perform: Perform, close: Close, name: str) -> "SimLane":
        return SimLane(self._process, perform)

    def monotonic(self) -> float:
        return self._process.world.loop.elapsed

    def pause(self, seconds: float) -> bool:
        """Yield to other tasks; see :func:`_in_turns`."""
        waits_for = greenlet.getcurrent().parent
        assert waits_for is not None
        waits_for.switch(seconds)
        return not self._process.dead

    async def call(self, function: Callable[[], T]) -> T:
        await self._process.travel()
        return await _in_turns(self._process, function)

    async def aclose(self) -> None:
        pass


async def _in_turns(process: "Process", function: Callable[[], T]) -> T:
    """Return the result of a blocking function; while it pauses, other tasks run."""
    thread = greenlet.greenlet(function)
    said: Any = thread.switch()
    while not thread.dead:
        await asyncio.sleep(said)
        await process.gate()
        said = thread.switch()
    return cast(T, said)


class SimLane:
    """A lane that performs all waiting requests together, in a task of its own: a caller may leave meanwhile."""

    def __init__(self, process: "Process", perform: Perform) -> None:
        self._process = process
        self._perform = perform
        self._queue = RequestQueue()
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self, request: WriteRequest[T]) -> T | Exception:
        written = self._asked[id(request)] = asyncio.get_running_loop().create_future()
        self._queue.add(request)
        try:
            await self._process.travel()
            self._go_on()
            await written
            await self._process.travel()
        except BaseException:
            if not self._queue.withdraw(request):
                request.abandoned = True
                if request.written:
                    self._undo(request)
            raise
        finally:
            del self._asked[id(request)]
        return request.outcome

    def _go_on(self) -> None:
        if self._task is None and not self._process.dead:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        try:
            while requests := self._queue.take():
                await _in_turns(self._process, partial(self._perform, requests))
                for request in requests:
                    self._wrote(request)
        except (Crashed, Broken) as error:
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_exception(error)
        finally:
            self._task = None

    def _wrote(self, request: AnyRequest) -> None:
        request.written = True
        if request.abandoned:
            self._undo(request)
        if (asked := self._asked.get(id(request))) is not None and not asked.done():
            asked.set_result(None)

    def _undo(self, request: AnyRequest) -> None:
        for undo in request.undo():
            self._queue.add(undo)
            self._go_on()
