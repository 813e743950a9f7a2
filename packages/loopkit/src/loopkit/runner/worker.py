"""Runner that claims runs and works many at once, until a stop is requested or no run is left to claim."""

import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

import anyio
import attrs
from anyio.abc import TaskGroup

from loopkit.agents.agent import Agent, agents_by_name
from loopkit.agents.stages.lifespan import Lifespan, check_lifespan, open_deps
from loopkit.core.lease import HEARTBEAT
from loopkit.core.run import RunStatus
from loopkit.errors import InvalidConfig, StorageError, StorageUnavailable, UnusableOption
from loopkit.eventloop import EventLoop
from loopkit.runner.environment import Environment
from loopkit.runner.held_run import HeldRun
from loopkit.runner.keeper import Interrupt, Keeper, check_heartbeat
from loopkit.runner.runner_context import RunnerContext
from loopkit.runner.stop_request import Stopping
from loopkit.runner.task_groups import open_tasks
from loopkit.storage import Held, RunnerInfo, RunnerRegistry, Storage, Wakeups
from loopkit.version import installed_version

__all__ = ["Runner", "RunnerStatus"]

logger = logging.getLogger("loopkit.runner")

POLL_SECONDS: Final = 1.0
"""Longest time for which an idle runner waits before it tries to claim again, notified or not."""

BACK_OFF_SECONDS: Final = (0.5, 5.0)
"""First and longest pause before a claim is sent again to a store that gave no answer."""


@attrs.define
class RunnerStatus:
    """Counts of the runs that a runner works and has worked."""

    slots: int
    busy: int = 0
    claimed: int = 0
    passed: int = 0
    failed: int = 0
    cancelled: int = 0
    released: int = 0
    lost: int = 0


class Runner:
    """Claims the runs of some agents and works them, ``concurrency`` at a time.

    Args:
        store: the store of the runs.
        agents: the agents that the runner knows; runs of other agents stay queued.
        concurrency: runs worked at once, >= 1.
        heartbeat: how often a lease is renewed; at most half of the store's ``stalled_after``.
        grace: how long a cancelled stage may take before it is left behind.
        stopping: stop request, made by the owner of the signals.
        lifespan: callable without arguments that returns an async context manager, entered before the first stage;
            what it yields is ``ctx.deps``. None: the agents' own.
        environment: source of time, randomness, ids and threads; tests and simulation pass their own.

    Raises:
        UnusableOption: a number is out of its range, or two agents have one name.
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
        lifespan: Lifespan | None = None,
        environment: Environment | None = None,
    ) -> None:
        if concurrency < 1:
            raise UnusableOption(f"concurrency must be at least 1, not {concurrency}")
        check_heartbeat(heartbeat, store)
        check_lifespan(lifespan)
        self._storage = store
        self._lifespan = lifespan
        self._agents = agents_by_name(agents)
        self._definitions = {agent.name: agent.definition for agent in self._agents.values()}
        self._environment = environment or Environment()
        self._claimant = self._environment.claimant(heartbeat)
        self._grace = grace
        self._clock = self._environment.clock
        self._keeper = Keeper(store, self._clock, heartbeat=heartbeat)
        self._held_runs: dict[HeldRun, None] = {}
        self._ending: set[HeldRun] = set()
        """Held runs whose last write is under way: their slots are free for the next claim."""
        self._wake = anyio.Event()
        self._idle: anyio.CancelScope | None = None
        """Around the wait of an idle runner."""
        self._claims = anyio.CancelScope()
        self._is_over = anyio.Event()
        self._is_announced_gone = anyio.Event()
        self.id = self._environment.ids.nonce()
        self.stopping = stopping or Stopping()
        self.status = RunnerStatus(slots=concurrency)

    async def serve(self) -> None:
        """Claim and work runs until a stop is requested or the caller cancels; leave nothing claimed."""
        await self._run(drain=False)

    async def drain(self) -> None:
        """Claim and work runs until none can be claimed and each one that was claimed is over.

        Raises:
            StorageUnavailable: the store gave no answer.
        """
        await self._run(drain=True)

    async def _run(self, *, drain: bool) -> None:
        self._leave_out_unusable_agents()
        async with open_deps(self._agents.values(), self._lifespan) as deps:
            await self._run_with(deps, drain=drain)

    async def _run_with(self, deps: Mapping[str, Any], *, drain: bool) -> None:
        self._claims, self._is_over, self._is_announced_gone = anyio.CancelScope(), anyio.Event(), anyio.Event()
        loop = EventLoop()
        stop_listening = self.stopping.listen(lambda: loop.call_soon(self._apply_stop_request))
        try:
            async with open_tasks() as tasks:
                self._context = self._build_context(tasks, loop, deps)
                with self._environment.keep_leases(self._keeper):
                    tasks.start_soon(self._announce, name="announce runner")
                    with self._claims:
                        await self._claim_until_done(drain=drain)
                    while self._held_runs:
                        await self._wait_for_change()
                    await self._announce_end()
                tasks.cancel_scope.cancel()
        finally:
            stop_listening()

    def _leave_out_unusable_agents(self) -> None:
        """Import the stages in this thread, before work begins; the runs of an agent that cannot be called stay queued.

        Raises:
            InvalidConfig: no agent is left.
        """
        problems = {name: found for name, agent in self._agents.items() if (found := agent.problems())}
        for name, found in problems.items():
            del self._agents[name], self._definitions[name]
            logger.warning("agent %r is left out: %s", name, _problem_list(found))
        if problems and not self._agents:
            name, found = next(iter(problems.items()))
            raise InvalidConfig(f"no agent can be worked here: agent {name!r}: {_problem_list(found)}")

    def _build_context(self, tasks: TaskGroup, loop: EventLoop, deps: Mapping[str, Any]) -> RunnerContext:
        return RunnerContext(
            storage=self._storage,
            keeper=self._keeper,
            environment=self._environment,
            loop=loop,
            tasks=tasks,
            stopping=self.stopping,
            grace=self._grace,
            deps=deps,
        )

    async def _claim_until_done(self, *, drain: bool) -> None:
        while not self.stopping.asked:
            free_slots = self.status.slots - len(self._held_runs) + len(self._ending)
            if free_slots <= 0:
                await self._wait_for_change()
                continue
            claimed = await self._claim(free_slots, insist=not drain)
            for held in claimed:
                self._start(held)
            if len(claimed) == free_slots:
                continue
            if not drain:
                await self._wait_for_work()
            elif self._held_runs:
                await self._wait_for_change()
            elif not claimed:
                return

    async def _claim(self, limit: int, *, insist: bool) -> list[Held]:
        """Claim up to ``limit`` runs; with ``insist``, retry until the store answers or a stop is requested."""
        pause = BACK_OFF_SECONDS[0]
        while True:
            self._claiming_since = self._clock.monotonic()
            try:
                return await self._storage.claim(self._claimant, self._definitions, limit=limit)
            except StorageUnavailable as error:
                if not insist:
                    raise
                if self.stopping.asked:  # no claim is wanted any more, and the held runs go on to their stop
                    return []
                logger.warning("no answer from the store (%s); trying again in %.1f s", error, pause)
            if await self._sleep_until_stop(pause * self._environment.chance.uniform(0.5, 1.5)):
                return []
            pause = min(pause * 2, BACK_OFF_SECONDS[1])

    def _start(self, held: Held) -> None:
        """Start to work a run in a task of its own."""
        held_run = HeldRun(
            self._context,
            self._agents[held.run.agent_name],
            held,
            since=self._claiming_since,
            on_ending=self._free_slot,
            on_finish=self._remove,
        )
        self._held_runs[held_run] = None
        self.status.claimed += 1
        self.status.busy = len(self._held_runs)
        self._context.tasks.start_soon(held_run.work, name=f"run {held.run.id}")
        if self.stopping.ending:
            held_run.interrupt(Interrupt.END)

    def _free_slot(self, held_run: HeldRun) -> None:
        self._ending.add(held_run)
        self._wake.set()

    def _remove(self, held_run: HeldRun) -> None:
        self._held_runs.pop(held_run, None)
        self._ending.discard(held_run)
        self.status.busy = len(self._held_runs)
        _count_end(self.status, held_run)
        self._wake.set()

    async def _wait_for_change(self) -> None:
        """Wait until a slot becomes free, a run is over, or a stop is requested."""
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

    async def _sleep_until_stop(self, seconds: float) -> bool:
        """Sleep until the time has passed or a stop is requested; return True if it is."""
        with anyio.CancelScope() as self._idle:
            await anyio.sleep(seconds)
        return self.stopping.asked

    def _apply_stop_request(self) -> None:
        self._wake.set()
        if self._idle is not None:
            self._idle.cancel()
        # A claim that may never be answered is abandoned: at once, or after the grace time.
        if self.stopping.asked:
            self._claims.deadline = min(self._claims.deadline, anyio.current_time() + self._grace.total_seconds())
        if self.stopping.ending:
            self._claims.cancel()
            for held_run in tuple(self._held_runs):
                held_run.interrupt(Interrupt.END)

    async def _announce(self) -> None:
        """Announce this runner at each heartbeat, and a last time when it is over; one announcement at a time."""
        if isinstance(self._storage, RunnerRegistry):
            while not self._is_over.is_set():
                await self._write_info(self._storage, gone=False)
                with anyio.move_on_after(self._claimant.heartbeat.total_seconds()):
                    await self._is_over.wait()
            await self._write_info(self._storage, gone=True)
        self._is_announced_gone.set()

    async def _announce_end(self) -> None:
        self._is_over.set()
        with anyio.move_on_after(1):
            await self._is_announced_gone.wait()

    async def _write_info(self, registry: RunnerRegistry, *, gone: bool) -> None:
        info = RunnerInfo(
            id=self.id,
            name=self._claimant.name,
            version=installed_version(),
            agents=tuple(sorted(self._agents)),
            slots=self.status.slots,
            busy=self.status.busy,
            draining=self.stopping.asked,
            heartbeat=self._claimant.heartbeat,
            gone=gone,
        )
        try:
            await registry.announce(info)
        except StorageError as error:  # pages show it, and nothing depends on it
            logger.warning("could not announce this runner: %s", error)


def _problem_list(problems: Mapping[str, str]) -> str:
    return "; ".join(f"{stage}: {problem}" for stage, problem in problems.items())


def _count_end(status: RunnerStatus, held_run: HeldRun) -> None:
    if held_run.is_lost:
        status.lost += 1
        return
    match held_run.run.status:
        case RunStatus.PASSED:
            status.passed += 1
        case RunStatus.FAILED:
            status.failed += 1
        case RunStatus.CANCELLED:
            status.cancelled += 1
        case _:
            status.released += 1
