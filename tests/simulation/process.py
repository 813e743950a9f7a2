"""One simulated process: a store and a runner, unmodified, on a machine that fails, freezes and dies by chance."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio.abc import TaskGroup

from loopkit import LeaseLost, Run, Runner, Stopping
from loopkit.agents.calling import call
from loopkit.core.journal import Change
from loopkit.core.lease import Lease
from loopkit.runner import Environment
from loopkit.runner.keeper import Keeper
from loopkit.stores.sql.combining import Combiner
from loopkit.stores.sql.items import Item
from loopkit.stores.sql.store import SqlStore
from tests.simulation.database import Crashed, database, trouble

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")


class SeededIds:
    """Ids drawn from the seed."""

    def __init__(self, chance: random.Random, numbers: Callable[[], int]) -> None:
        self._chance = chance
        self._numbers = numbers

    def run_number(self) -> int:
        return self._numbers()

    def nonce(self) -> str:
        return f"{self._chance.getrandbits(128):032x}"


class Process:
    """A process with its own chance, clock and connections."""

    def __init__(self, world: World, name: str, *, flaky: float | None = None) -> None:
        """``flaky``: how likely each point of a transaction fails; None: nothing ever happens to this process."""
        self.world = world
        self.name = name
        self.chance = random.Random(f"{world.seed} {name}")
        self.flaky = flaky or 0.0
        self._is_lucky = flaky is None
        self.dead = False
        self.frozen_until = 0.0
        self.database = database(world.name, self._fault, world.watch)
        self.ids = SeededIds(self.chance, world.next_number)
        self.store = WatchedStore(
            self.database, stalled_after=world.stalled_after, now=world.now, ids=self.ids, driver=SimDriver(self)
        )
        self.store.world = world

    def _fault(self, point: str) -> None:
        """Decide what goes wrong at this point of a transaction."""
        if self.dead:
            raise Crashed
        self.world.steps += 1
        if self.chance.random() >= self.flaky:
            return
        kind = self.chance.random()
        self.world.faults[point] += 1
        if kind < 0.25 and self.name.startswith("runner"):
            self.crash(point)
        if point == "begin":
            raise trouble(sqlite3.SQLITE_BUSY, "database is locked")
        raise trouble(sqlite3.SQLITE_IOERR, "disk I/O error")

    def crash(self, why: str) -> None:
        """Die here and now, as by kill -9."""
        self.dead = True
        self.world.tell(self.name, f"crashes at {why}")
        raise Crashed

    async def gate(self) -> None:
        """Wait while the process is frozen, as by SIGSTOP."""
        if self.dead:
            raise Crashed
        while (left := self.frozen_until - anyio.current_time()) > 0:  # noqa: ASYNC110
            await anyio.sleep(left)

    async def nap(self, longest: float) -> None:
        """Take some time."""
        await anyio.sleep(self.chance.random() * longest)
        await self.gate()

    async def run(self) -> None:
        """Serve until the process dies or the world stops it; a stop of its own may come as well."""
        stopping = Stopping()
        try:
            async with anyio.create_task_group() as tasks:
                environment = Environment(
                    clock=SkewedClock(self.chance.uniform(-3600, 3600)),
                    ids=self.ids,
                    chance=self.chance,
                    keeping=lambda keeper: SimKeeping(self, keeper, tasks),
                    call=partial(call, passing=(Crashed,), delay=lambda failed: self.chance.random()),
                    name=self.name,
                )
                runner = Runner(
                    self.store,
                    [self.world.agent(self)],
                    concurrency=self.chance.randint(1, 4),
                    heartbeat=self.world.heartbeat,
                    grace=timedelta(seconds=2),
                    stopping=stopping,
                    environment=environment,
                )
                if not self._is_lucky:
                    tasks.start_soon(self._misfortune, stopping)
                await runner.serve()
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if rest := group.split(Crashed)[1]:
                raise rest from None
        except Crashed:
            pass
        self.world.tell(self.name, "is gone")

    async def _misfortune(self, stopping: Stopping) -> None:
        """Freeze for longer than a lease lasts, now and then, or be asked to stop."""
        while True:
            await anyio.sleep(self.chance.expovariate(1 / 12))
            kind = self.chance.random()
            if kind < 0.4:
                self.frozen_until = anyio.current_time() + self.chance.uniform(0.5, 3) * self.world.stalled_seconds
                self.world.tell(self.name, "freezes")
                self.world.faults["freeze"] += 1
            elif kind < 0.6:
                self.world.tell(self.name, "is asked to stop")
                stopping.ask()
            elif kind < 0.7:
                stopping.end()


class WatchedStore(SqlStore):
    """The shipped store; the world looks at what it answers."""

    world: World

    async def record(self, lease: Lease, change: Change) -> Run:
        try:
            return await super().record(lease, change)
        except LeaseLost:
            self.world.told_lost(lease)
            raise


class SkewedClock:
    """A runner's clock, which counts from somewhere else."""

    def __init__(self, offset: float) -> None:
        self._offset = offset

    def now(self) -> Any:
        raise AssertionError("nothing may depend on a runner's wall clock")

    def monotonic(self) -> float:
        return anyio.current_time() + self._offset


class SimKeeping:
    """Steps a keeper in virtual time."""

    def __init__(self, process: Process, keeper: Keeper, tasks: TaskGroup) -> None:
        self._process = process
        self._keeper = keeper
        self._tasks = tasks
        self._over = False

    def __enter__(self) -> SimKeeping:
        self._tasks.start_soon(self._main)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True

    async def _main(self) -> None:
        while True:
            await anyio.sleep(self._keeper.interval)
            await self._process.gate()
            if self._over:
                return
            await self._keeper.step()


class SimDriver:
    """The store's driver in simulation: one thread, virtual time, and delays by chance."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def lane(self, perform: Callable[[Sequence[Item]], None], close: Callable[[], None], name: str) -> SimLane:
        return SimLane(self._process, perform)

    def monotonic(self) -> float:
        return anyio.current_time()

    def pause(self, seconds: float) -> bool:
        self._process.world.loop.elapsed += seconds
        return not self._process.dead

    async def call(self, function: Callable[[], T]) -> T:
        await self._process.nap(0.02)
        return function()

    async def aclose(self) -> None:
        pass


class SimLane:
    """Performs what waits in the turn of whoever waits for it."""

    def __init__(self, process: Process, perform: Callable[[Sequence[Item]], None]) -> None:
        self._process = process
        self._perform = perform
        self._combiner = Combiner()
        self._done: set[int] = set()

    async def ask(self, item: Item) -> Any:
        self._combiner.add(item)
        try:
            await self._process.nap(0.05)
            while id(item) not in self._done:
                self._perform_batch()
            self._done.discard(id(item))
            await self._process.nap(0.05)
        except BaseException:
            if not self._combiner.withdraw(item) and not self._process.dead:
                for undo in item.undo():
                    self._combiner.add(undo)
                    self._perform_batch()
            raise
        return item.outcome

    def _perform_batch(self) -> None:
        items = self._combiner.take()
        self._perform(items)
        self._done.update(id(one) for one in items)
