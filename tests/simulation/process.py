"""One simulated process: a store and a runner, unmodified, on a machine that fails, freezes and dies by chance."""

import asyncio
import random
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
from anyio.abc import TaskGroup

from loopkit import Agent, LeaseLost, Runner, StageContext, Stopping
from loopkit.agents.stage_call import call_stage
from loopkit.runner import Environment
from loopkit.runner.keeper import Keeper
from tests.simulation.booking import Booker

if TYPE_CHECKING:
    from tests.simulation.world import World


class Crashed(BaseException):
    """End of the simulated process: nothing it still does reaches the world."""


HERE: ContextVar["Process"] = ContextVar("HERE")
"""The process that a task belongs to."""


async def make_output(context: StageContext) -> str:
    """Return the output that the world of the calling process makes."""
    process = HERE.get()
    return await process.world.stage(process, context)


async def _judge(context: StageContext) -> dict[str, Any]:
    process = HERE.get()
    told = await process.world.stage(process, context)
    return {"score": process.chance.choice([0.2, 0.4, 0.6, 0.9]), "feedback": told}


AGENT = Agent(name="worker", produce=make_output, evaluate=_judge, pass_threshold=0.8)


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
    """A process with its own chance and clock, and its own way to the store."""

    def __init__(self, world: "World", name: str, *, flaky: float | None = None) -> None:
        """Create a process. ``flaky`` is the probability of a fault at each step; None: never."""
        self.world = world
        self.name = name
        self.chance = random.Random(f"{world.seed} {name}")
        self.flaky = flaky or 0.0
        self.is_lucky = flaky is None
        self.dead = False
        self.frozen_until = 0.0
        self.ids = SeededIds(self.chance, world.next_number)
        self.booker = Booker(world)
        self.store = world.ground.store(self)

    def is_struck(self, point: str) -> bool:
        """Decide whether this step fails; a runner may also die of it, or freeze after it."""
        if self.dead:
            raise Crashed
        self.world.steps += 1
        likely = self.flaky * 3 if point in ("after commit", "answer") else self.flaky
        if self.chance.random() >= likely:
            return False
        kind = self.chance.random() if self.name.startswith("runner") else 1.0
        if 0.25 <= kind < 0.5:
            self.freeze()
            return False
        self.world.faults[point] += 1
        self.world.tell(self.name, f"has trouble: {point}")
        if kind < 0.25:
            self.dead = True
            self.world.tell(self.name, "dies of it")  # as by kill -9
            raise Crashed
        return True

    @property
    def is_frozen(self) -> bool:
        return self.frozen_until > self.world.loop.elapsed

    def freeze(self) -> None:
        """Freeze the process as SIGSTOP does, often for longer than a lease lasts."""
        self.frozen_until = self.world.loop.elapsed + self.chance.uniform(0.5, 2.5) * self.world.stalled_seconds
        self.world.tell(self.name, "freezes")
        self.world.faults["freeze"] += 1

    async def gate(self) -> None:
        """Wait while the process is frozen."""
        if self.dead:
            raise Crashed
        with anyio.CancelScope(shield=True):  # not even its own timeout cancels a frozen process
            while (left := self.frozen_until - self.world.loop.elapsed) > 0:  # noqa: ASYNC110
                await asyncio.sleep(left)

    async def nap(self, longest: float) -> None:
        """Sleep for a random time."""
        await asyncio.sleep(self.chance.random() * longest)
        await self.gate()

    async def travel(self) -> None:
        """Simulate the time to the store or back, which may be zero."""
        if self.chance.random() < 0.5:
            await asyncio.sleep(self.chance.random() * 0.05)
        await self.gate()

    async def wait_for_work(self) -> None:
        """Wait until a poll would find work."""
        await self.world.work_appears()
        await self.nap(1.0)

    async def run(self) -> None:
        """Serve until the process dies or the world stops it; it may also stop by itself."""
        HERE.set(self)
        stopping = Stopping()
        try:
            async with anyio.create_task_group() as tasks:
                environment = Environment(
                    clock=SkewedClock(self.world, self.chance.uniform(-3600, 3600)),
                    ids=self.ids,
                    chance=self.chance,
                    keep_leases=lambda keeper: SimKeeping(self, keeper, tasks),
                    call_stage=partial(call_stage, passing=(Crashed,), delay=lambda failed: self.chance.random()),
                    name=self.name,
                )
                runner = Runner(
                    self.store,
                    [self.world.agent],
                    concurrency=self.chance.randint(1, 4),
                    heartbeat=self.world.heartbeat,
                    grace=timedelta(seconds=2),
                    stopping=stopping,
                    environment=environment,
                )
                if not self.is_lucky:
                    tasks.start_soon(self._be_stopped, stopping)
                await runner.serve()
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # While one judge of a panel dies with the process, another may be told that the lease is lost.
            if rest := group.split((Crashed, LeaseLost) if self.dead else Crashed)[1]:
                raise rest from None
        except Crashed:
            pass
        self.world.tell(self.name, "is gone")

    async def _be_stopped(self, stopping: Stopping) -> None:
        """Request a stop at a random time, in one step or in two."""
        await asyncio.sleep(self.chance.expovariate(1 / 30))
        self.world.tell(self.name, "is asked to stop")
        stopping.ask()
        if self.chance.random() < 0.5:
            stopping.end()


class SkewedClock:
    """A runner's monotonic clock with an offset."""

    def __init__(self, world: "World", offset: float) -> None:
        self.world = world
        self._offset = offset

    def now(self) -> Any:
        raise AssertionError("nothing may depend on a runner's wall clock")

    def monotonic(self) -> float:
        return self.world.loop.elapsed + self._offset


class SimKeeping:
    """Stepping of a keeper in virtual time."""

    def __init__(self, process: "Process", keeper: Keeper, tasks: TaskGroup) -> None:
        self._process = process
        self._keeper = keeper
        self._tasks = tasks
        self._over = False

    def __enter__(self) -> Self:
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
