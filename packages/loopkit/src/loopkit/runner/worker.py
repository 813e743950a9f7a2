"""The runner: claims runs and works many at once, until it is told to stop or nothing is left to claim."""

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import anyio
import attrs
from anyio.abc import TaskGroup

from loopkit.agents.agent import Agent
from loopkit.core.run import RunStatus
from loopkit.errors import StorageError, StorageUnavailable, UnusableOption
from loopkit.eventloop import EventLoop
from loopkit.runner.environment import Environment
from loopkit.runner.keeper import HEARTBEAT, Interrupt, Keeper, check_heartbeat
from loopkit.runner.stopping import Stopping
from loopkit.runner.tasks import open_tasks
from loopkit.runner.work import Crew, Work
from loopkit.storage import Fleet, Held, RunnerInfo, Storage, Wakeups

__all__ = ["Runner", "RunnerStatus"]

logger = logging.getLogger("loopkit.runner")

POLL_SECONDS: Final = 1.0
"""How long an idle runner waits before it looks for work again, hint or not."""

BACK_OFF_SECONDS: Final = (0.5, 5.0)


@attrs.define
class RunnerStatus:
    """What a runner has done so far, and does now."""

    slots: int
    busy: int = 0
    claimed: int = 0
    passed: int = 0
    failed: int = 0
    cancelled: int = 0
    released: int = 0
    lost: int = 0


class Runner:
    """Works the runs of some agents, ``concurrency`` at a time.

    Args:
        store: where the runs are.
        agents: the agents it knows; runs of others stay queued.
        concurrency: runs worked at once, >= 1.
        heartbeat: how often a lease is renewed; at most half of the store's ``stalled_after``.
        grace: how long a cancelled stage may take before it is left behind.
        stopping: asked and ended by whoever owns the signals.
        environment: where time, chance and threads come from; tests and simulation hand in their own.

    Raises:
        UnusableOption: a number is out of its range.
    """

    def __init__(
        self,
        store: Storage,
        agents: Iterable[Agent] | Mapping[str, Agent],
        *,
        concurrency: int = 8,
        heartbeat: timedelta = HEARTBEAT,
        grace: timedelta = timedelta(seconds=10),
        stopping: Stopping | None = None,
        environment: Environment | None = None,
    ) -> None:
        if concurrency < 1:
            raise UnusableOption(f"concurrency must be at least 1, not {concurrency}")
        check_heartbeat(heartbeat, store)
        known = agents.values() if isinstance(agents, Mapping) else agents
        self._storage = store
        self._agents = {agent.name: agent for agent in known}
        self._definitions = {agent.name: agent.definition for agent in self._agents.values()}
        self._environment = environment or Environment()
        self._claimant = self._environment.claimant(heartbeat)
        self._grace = grace
        self._clock = self._environment.clock
        self._keeper = Keeper(store, self._clock, heartbeat=heartbeat)
        self._works: dict[Work, None] = {}
        self._ending: set[Work] = set()
        self._wake = anyio.Event()
        self._idle: anyio.CancelScope | None = None
        self._claims = anyio.CancelScope()
        self.id = self._environment.ids.nonce()
        self.stopping = stopping or Stopping()
        self.status = RunnerStatus(slots=concurrency)

    async def serve(self) -> None:
        """Claim and work runs until a stop is asked for or the caller cancels; leave nothing claimed."""
        await self._run(drain=False)

    async def drain(self) -> None:
        """Claim and work runs until none can be claimed and every one begun is over.

        Raises:
            StorageUnavailable: the store did not answer.
        """
        await self._run(drain=True)

    # --- Claiming ------------------------------------------------------------------------------------------------

    async def _run(self, *, drain: bool) -> None:
        self._claims = anyio.CancelScope()
        unlisten = self.stopping.listen(self._stop_asked)
        try:
            async with open_tasks() as tasks:
                self._crew = self._make_crew(tasks)
                with self._environment.keeping(self._keeper):
                    tasks.start_soon(self._announce, name="announce runner")
                    with self._claims:
                        await self._claim_until_done(drain=drain)
                    while self._works:
                        await self._woken()
                    await self._say_goodbye()
                tasks.cancel_scope.cancel()
        finally:
            unlisten()

    def _make_crew(self, tasks: TaskGroup) -> Crew:
        return Crew(
            storage=self._storage,
            keeper=self._keeper,
            environment=self._environment,
            loop=EventLoop(),
            tasks=tasks,
            stopping=self.stopping,
            grace=self._grace,
            on_ending=self._one_ends,
            on_finish=self._finished,
        )

    async def _claim_until_done(self, *, drain: bool) -> None:
        while not self.stopping.asked:
            free = self.status.slots - len(self._works) + len(self._ending)
            if free <= 0:
                await self._woken()
                continue
            held = await self._claim(free, insist=not drain)
            for one in held:
                self._begin(one)
            if len(held) == free:
                continue
            if not drain:
                await self._wait_for_work()
            elif self._works:
                await self._woken()
            elif not held:
                return

    async def _claim(self, limit: int, *, insist: bool) -> list[Held]:
        """Claim up to ``limit`` runs; with ``insist``, a store that does not answer is asked again later."""
        pause = BACK_OFF_SECONDS[0]
        while True:
            self._claiming_since = self._clock.monotonic()
            try:
                return await self._storage.claim(self._claimant, self._definitions, limit=limit)
            except StorageUnavailable as error:
                if not insist:
                    raise
                if self.stopping.asked:  # no claim is wanted any more, and the runs under way go on to their stop
                    return []
                logger.warning("no answer from the store (%s); trying again in %.1f s", error, pause)
            if await self._slept(pause * self._environment.chance.uniform(0.5, 1.5)):
                return []
            pause = min(pause * 2, BACK_OFF_SECONDS[1])

    def _begin(self, held: Held) -> None:
        work = Work(self._crew, self._agents[held.run.agent_name], held, since=self._claiming_since)
        self._works[work] = None
        self.status.claimed += 1
        self.status.busy = len(self._works)
        self._crew.tasks.start_soon(work.work, name=f"run {held.run.id}")
        if self.stopping.ending:
            work.interrupt(Interrupt.END)

    def _finished(self, work: Work) -> None:
        self._works.pop(work, None)
        self._ending.discard(work)
        self.status.busy = len(self._works)
        _count(self.status, work)
        self._wake.set()

    def _one_ends(self, work: Work) -> None:
        self._ending.add(work)
        self._wake.set()

    # --- Waiting -------------------------------------------------------------------------------------------------

    async def _woken(self) -> None:
        """Wait until a slot becomes free, or a stop is asked for."""
        await self._wake.wait()
        self._wake = anyio.Event()

    async def _wait_for_work(self) -> None:
        with anyio.CancelScope() as self._idle:
            if self.stopping.asked:
                return
            if isinstance(self._storage, Wakeups):
                await self._storage.wait_for_work(POLL_SECONDS)
            else:
                await anyio.sleep(POLL_SECONDS)

    async def _slept(self, seconds: float) -> bool:
        """Sleep, but not past a stop; True when one is asked for."""
        with anyio.CancelScope() as self._idle:
            await anyio.sleep(seconds)
        return self.stopping.asked

    def _stop_asked(self) -> None:
        self._wake.set()
        if self._idle is not None:
            self._idle.cancel()
        if self.stopping.ending:
            self._claims.cancel()  # a claim that may never be answered is given up
            for work in tuple(self._works):
                work.interrupt(Interrupt.END)

    # --- Telling others ------------------------------------------------------------------------------------------

    async def _announce(self) -> None:
        while isinstance(self._storage, Fleet):
            await self._tell(gone=False)
            await anyio.sleep(self._claimant.heartbeat.total_seconds())

    async def _say_goodbye(self) -> None:
        with anyio.move_on_after(1):
            await self._tell(gone=True)

    async def _tell(self, *, gone: bool) -> None:
        if not isinstance(self._storage, Fleet):
            return
        info = RunnerInfo(
            id=self.id,
            name=self._claimant.name,
            version=own_version(),
            agents=tuple(sorted(self._agents)),
            slots=self.status.slots,
            busy=self.status.busy,
            draining=self.stopping.asked,
            heartbeat=self._claimant.heartbeat,
            gone=gone,
        )
        try:
            await self._storage.announce(info)
        except StorageError as error:  # pages show it, and nothing depends on it
            logger.warning("could not announce this runner: %s", error)


@cache
def own_version() -> str:
    """Give the version of the installed loopkit."""
    try:
        return version("loopkit")
    except PackageNotFoundError:
        return "unknown"


def _count(status: RunnerStatus, work: Work) -> None:
    if work.lost:
        status.lost += 1
        return
    match work.run.status:
        case RunStatus.PASSED:
            status.passed += 1
        case RunStatus.FAILED:
            status.failed += 1
        case RunStatus.CANCELLED:
            status.cancelled += 1
        case _:
            status.released += 1
