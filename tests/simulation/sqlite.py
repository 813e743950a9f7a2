"""The SQL store as the ground of a world: each process opens it anew on the same in-memory database."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import greenlet  # type: ignore[import-untyped]
from sqlalchemy.dialects import sqlite

from loopkit import LeaseLost, Run, wire
from loopkit.core.journal import Change
from loopkit.core.lease import Lease
from loopkit.storage import RunnerInfo, Storage
from loopkit.stores.sql.combining import Combiner
from loopkit.stores.sql.invariants import LOOKS
from loopkit.stores.sql.items import Item
from loopkit.stores.sql.store import SqlStore
from loopkit.stores.sql.waking import EverySecond, Waking
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
    """The invariants of the tables, as the store's own check asks for them."""
    form: dict[str, Any] = {"dialect": sqlite.dialect(), "compile_kwargs": {"literal_binds": True}}
    return [str(look.statement.compile(**form)) for look in LOOKS]


class SqliteGround:
    """The in-memory database, emptied."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._eye = links().eye
        self._taken: list[Link] = []
        self._seen: dict[str, tuple[Any, ...]] = {}
        self._artifacts = 0
        links().empty()

    def store(self, process: Process) -> Storage:
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
        return [(run_id, f"{line!r} stands twice") for run_id, line in doubled] + [
            (run_id, str(detail)) for run_id, *details in found for detail in details if detail is not None
        ]

    def leave(self) -> None:
        links().give_back(self._taken)


class WatchedStore(SqlStore):
    """The shipped store; the world looks at what it answers."""

    def __init__(self, process: Process, link: Link) -> None:
        self._process = process
        super().__init__(
            link.database,
            stalled_after=process.world.stalled_after,
            now=process.world.now,
            ids=process.ids,
            driver=SimDriver(process),
            waking=SimWaking(process),
        )

    async def announce(self, runner: RunnerInfo) -> None:
        """Say it now and then: what a runner tells of itself is costly, and nothing depends on it."""
        if self._process.chance.random() < 0.1:
            await super().announce(runner)

    async def record(self, lease: Lease, change: Change) -> Run:
        try:
            return await super().record(lease, change)
        except LeaseLost:
            self._process.world.told_lost(lease)
            raise


class SimWaking(Waking):
    """Polls, but for those that would find nothing."""

    def __init__(self, process: Process) -> None:
        super().__init__(EverySecond())
        self._process = process

    async def wait_for_work(self, timeout: float) -> None:
        await self._process.wait_for_work()


class SimDriver:
    """The store's driver in simulation: virtual time, and delays by chance."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def lane(self, perform: Callable[[Sequence[Item]], None], close: Callable[[], None], name: str) -> SimLane:
        return SimLane(self._process, perform)

    def monotonic(self) -> float:
        return self._process.world.loop.elapsed

    def pause(self, seconds: float) -> bool:
        """Let others go on; see :func:`_in_turns`."""
        waits_for = greenlet.getcurrent().parent
        assert waits_for is not None
        waits_for.switch(seconds)
        return not self._process.dead

    async def call(self, function: Callable[[], T]) -> T:
        await self._process.travel()
        return await _in_turns(self._process, function)

    async def aclose(self) -> None:
        pass


async def _in_turns(process: Process, function: Callable[[], T]) -> T:
    """Give what a function gives that blocks; while it pauses, the rest of the world goes on."""
    thread = greenlet.greenlet(function)
    said: Any = thread.switch()
    while not thread.dead:
        await asyncio.sleep(said)
        await process.gate()
        said = thread.switch()
    return cast(T, said)


class SimLane:
    """Performs all that waits together, in a task of its own: a caller may leave meanwhile."""

    def __init__(self, process: Process, perform: Callable[[Sequence[Item]], None]) -> None:
        self._process = process
        self._perform = perform
        self._combiner = Combiner()
        self._asked: dict[int, asyncio.Future[None]] = {}
        self._task: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Any:
        written = self._asked[id(item)] = asyncio.get_running_loop().create_future()
        self._combiner.add(item)
        try:
            await self._process.travel()
            self._go_on()
            await written
            await self._process.travel()
        except BaseException:
            if not self._combiner.withdraw(item):
                item.left = True
                if item.written:
                    self._undo(item)
            raise
        finally:
            del self._asked[id(item)]
        return item.outcome

    def _go_on(self) -> None:
        if self._task is None and not self._process.dead:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        try:
            while items := self._combiner.take():
                await _in_turns(self._process, partial(self._perform, items))
                for item in items:
                    self._wrote(item)
        except (Crashed, Broken) as error:
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_exception(error)
        finally:
            self._task = None

    def _wrote(self, item: Item) -> None:
        item.written = True
        if item.left:
            self._undo(item)
        if (asked := self._asked.get(id(item))) is not None and not asked.done():
            asked.set_result(None)

    def _undo(self, item: Item) -> None:
        for undo in item.undo():
            self._combiner.add(undo)
            self._go_on()
