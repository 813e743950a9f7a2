"""A simulated world: processes and clients on one store, under one seed, watched at every commit.

Runner, store and stage calls are the shipped code. The seed decides everything else: how much happens and how long it
takes, what fails, which process freezes or dies, what clients request and when.
"""

import asyncio
import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Self

import anyio
import attrs

from loopkit import LoopkitError, RunEnded, RunNotEnded, RunStatus, StageContext
from loopkit.core.lease import Lease
from loopkit.core.run import NewRun
from tests.simulation.ground import Broken, Ground, Row
from tests.simulation.memory import MemoryGround
from tests.simulation.process import AGENT, Process
from tests.simulation.sqlite import SqliteGround
from tests.simulation.virtual_loop import VirtualLoop, run_virtually

EPOCH = datetime(2026, 3, 1, 12, tzinfo=UTC)
TROUBLED_SECONDS = 40.0
"""Most seconds with faults; afterwards one healthy process finishes the remaining runs."""

GROUNDS: Mapping[str, Callable[["World"], Ground]] = {"sqlite": SqliteGround, "memory": MemoryGround}
"""Stores that a world can use, by name."""


@attrs.frozen(kw_only=True)
class Size:
    """Size of a schedule."""

    clients: int
    runs: int
    """Runs that each client submits."""
    runners: int
    asking: float
    """Seconds in which clients send requests."""
    freezing: float
    """Probability that a runner freezes in a stage."""
    flaky: tuple[float, ...]
    """Probabilities of a fault at each step of a runner; each runner draws one of them."""

    @classmethod
    def drawn(cls, chance: random.Random) -> Self:
        """Return a random size. Most schedules are small: faults show in few steps, and more schedules can be run."""
        if chance.random() < 0.9:
            runs = chance.choice([1, 1, 2, 3])
            return cls(clients=1, runs=runs, runners=2, asking=8, freezing=0.1, flaky=(0.0, 0.01, 0.05))
        return cls(clients=2, runs=3, runners=3, asking=20, freezing=0.05, flaky=(0.0, 0.005, 0.03))


@attrs.frozen
class StageCall:
    """One call of a stage: of which run, and under which fencing token it began."""

    run_id: str
    token: int


@attrs.frozen
class Report:
    """Result of one schedule."""

    seed: int
    trace: str
    """Digest of everything that happened, in order, without times and random ids."""
    steps: int
    """Statements and commits on SQLite; requests and answers where the store is in memory."""
    faults: dict[str, int]
    lines: tuple[str, ...] = attrs.field(repr=False)


class World:
    """One schedule."""

    stalled_after = timedelta(seconds=5)
    heartbeat = timedelta(seconds=2)

    agent = AGENT
    loop: VirtualLoop
    _queued: anyio.Event
    """Event that is set, and replaced, when a run waits to be claimed."""

    def __init__(self, seed: int, ground: str) -> None:
        self.seed = seed
        self.chance = random.Random(f"{seed} world")
        self.size = Size.drawn(self.chance)
        self.steps = 0
        self.faults: Counter[str] = Counter()
        self.lines: list[str] = []
        self.story = hashlib.sha256()
        self.calls: list[StageCall] = []
        self.rows: dict[str, Row] = {}
        self.acknowledged: dict[str, RunStatus] = {}
        self.acknowledged_calls: dict[str, dict[str, int]] = {}
        """Versions of model calls, by run id and their own."""
        self.acknowledged_verdicts: dict[str, set[tuple[int, str]]] = {}
        """Attempts and names of verdicts, by run id."""
        self.booked_changes: Counter[str] = Counter()
        """Number of changes sent, by run id."""
        self.to_cancel: set[str] = set()
        self.ended_elsewhere: set[str] = set()
        self._names: dict[str, str] = {}
        self._numbers = 0
        self._started = 0
        self.broken: Broken | None = None
        """What must never happen, and did."""
        self._alive: dict[int, Process] = {}
        self.ground = GROUNDS[ground](self)

    @property
    def stalled_seconds(self) -> float:
        return self.stalled_after.total_seconds()

    def now(self) -> datetime:
        """The store's clock."""
        return EPOCH + timedelta(seconds=self.loop.elapsed)

    def next_number(self) -> int:
        self._numbers += 1
        return (1 << 100) + self._numbers

    def tell(self, who: str, what: str, detail: str = "") -> None:
        """Log what happened; ``detail`` only distinguishes similar schedules."""
        self.story.update(f"{who} {what}\n".encode())
        self.lines.append(f"{self.loop.elapsed:.6f} {who} {what} {detail}")

    async def stage(self, process: Process, context: StageContext) -> str:
        """Simulate a stage of a process: it takes time, may fail, and returns text that identifies the call."""
        number, token = len(self.calls), self.rows[context.run_id].token
        self.calls.append(StageCall(context.run_id, token))
        self.tell(process.name, f"is {context.stage} {self._name(context.run_id)}, attempt {context.attempt}")
        kind = process.chance.random()
        if process.chance.random() < 0.4:
            context.log(f"call {number} begins")
        if kind < self.size.freezing and not process.is_lucky:
            process.freeze()
        await process.nap(process.chance.choice([0.1, 1.0, 4.0]))
        if kind > 0.97:
            raise RuntimeError("the stage failed")
        if process.chance.random() < 0.3:
            context.log(f"call {number} is done")
        return f"call {number}"

    async def work_appears(self) -> None:
        """Wait until the store has a run that can be claimed."""
        while (wait := self._until_claimable()) > 0.001:
            with anyio.move_on_after(wait):
                await self._queued.wait()

    def _until_claimable(self) -> float:
        """Return the seconds until a run can be claimed if nothing happens before."""
        if any(row.status == "queued" for row in self.rows.values()):
            return 0.0
        seen = (row.seen_at for row in self.rows.values() if row.status == "running" and row.seen_at is not None)
        oldest = min(((moment - self.now()).total_seconds() for moment in seen), default=math.inf)
        return oldest + self.stalled_seconds + 0.002

    def watch(self) -> None:
        """Check what a commit changed; called after every commit, before its response."""
        for row in self.ground.changed():
            before, self.rows[row.id] = self.rows.get(row.id), row
            self._compare(before, row)
        for run_id, content in self.ground.kept():
            self.check_artifact(run_id, content)

    def _compare(self, before: Row | None, after: Row) -> None:
        name, holder = self._name(after.id), (after.claimed_by or "").rpartition(":")[0]
        where = f"{after.status} {after.stage} {after.attempt} {after.score} {after.cancels} {after.told}"
        self.tell(name, f"is {where}, {holder} {after.token}", f"{after.claimed_by} {after.seen_at}")
        if after.status == "queued":
            self._queued.set()
            self._queued = anyio.Event()
        if before is None:
            return
        self.insist(before.is_open, f"{name} changed after its end")
        self.insist(before.token <= after.token <= before.token + 1, f"{name}: token {before.token} -> {after.token}")
        if after.token > before.token and before.status == "running" and not self._was_released(before):
            assert before.seen_at is not None
            silent = (self.now() - before.seen_at).total_seconds()
            self.insist(silent > self.stalled_seconds, f"{name} was taken over after {silent} s of silence")

    def _was_released(self, before: Row) -> bool:
        """Return whether the commit released the run before it was claimed."""
        messages = self.ground.told(before.id, before.told)
        return "Released" in messages and messages.index("Released") < messages.index("Started")

    def check_artifact(self, run_id: str, content: str) -> None:
        made, row = self.calls[int(content.partition("call ")[2].rstrip('"}'))], self.rows[run_id]
        self.insist(made.run_id == run_id, f"{self._name(run_id)} holds the result of another run")
        self.insist(
            made.token == row.token,
            f"{self._name(run_id)}: a result of token {made.token} was stored under {row.token}",
        )

    def told_lost(self, lease: Lease) -> None:
        """Check that a lease that was reported as lost is lost."""
        row = self.rows[lease.run_id]
        held = (row.status, row.token, row.claimed_by) == ("running", lease.fencing_token, lease.claimed_by)
        self.insist(not held, f"{self._name(row.id)}: token {row.token} was told lost, and holds the run")

    def insist(self, holds: bool, what: str) -> None:
        if not holds:
            self.broken = self.broken or Broken(what)
            raise self.broken

    def _name(self, run_id: str) -> str:
        return self._names.setdefault(run_id, f"run-{len(self._names) + 1}")

    async def live(self) -> None:
        """Run clients and processes with faults, then finish with a healthy process and check everything."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop, self._queued = loop, anyio.Event()
        with anyio.move_on_after(TROUBLED_SECONDS):
            async with anyio.create_task_group() as tasks:
                for number in range(self.size.runners):
                    tasks.start_soon(self._machine, number)
                tasks.start_soon(self._other_program)
                async with anyio.create_task_group() as clients:
                    for number in range(self.size.clients):
                        clients.start_soon(self._client, Process(self, f"client-{number}", flaky=0.02), number)
                await self._all_is_quiet()
                tasks.cancel_scope.cancel()
        if self._are_open():
            await self._settle()
        await self.check()

    def _are_open(self) -> bool:
        return any(row.is_open for row in self.rows.values())

    async def _all_is_quiet(self) -> None:
        """Wait until no run is open and no frozen process holds one."""
        while self._are_open() or any(process.is_frozen for process in self._alive.values()):  # noqa: ASYNC110
            await asyncio.sleep(1)
        await asyncio.sleep(1)

    async def _machine(self, number: int) -> None:
        """Start one process after another."""
        while True:
            self._started += 1
            process = Process(self, f"runner-{number}.{self._started}", flaky=self.chance.choice(self.size.flaky))
            self._alive[number] = process
            try:
                await process.run()
            finally:
                process.dead = True
                del self._alive[number]
            await asyncio.sleep(self.chance.random() * 3)

    async def _client(self, client: Process, number: int) -> None:
        """Submit, cancel and retry; remember what was acknowledged."""
        known: list[str] = []
        longest = self.size.asking / self.size.runs
        for asked in range(self.size.runs):
            key, attempts = f"{number}.{asked}", client.chance.randint(1, 3)
            new = self.drawn_run(key, attempts)
            try:
                [run] = await client.store.submit([new])
            except LoopkitError as error:
                self.tell(client.name, f"submit {key}: {type(error).__name__}")
                continue
            self.acknowledged[run.id] = run.status
            known.append(run.id)
            await client.nap(longest)
            await self._bother(client, client.chance.choice(known))
            await client.nap(longest)

    def drawn_run(self, key: str, attempts: int) -> NewRun:
        """Return the run that a client submits."""
        return NewRun(agent_name="worker", inputs={}, max_attempts=attempts, idempotency_key=key)

    async def _bother(self, client: Process, run_id: str) -> None:
        kind = client.chance.random()
        try:
            if kind < 0.4:
                await client.store.request_cancel(run_id)
                self.to_cancel.add(run_id)
                self.tell(client.name, f"cancel of {self._name(run_id)} is acknowledged")
            elif kind < 0.6:
                again = await client.store.retry(run_id)
                self.acknowledged[again.id] = again.status
        except (RunEnded, RunNotEnded):
            pass
        except LoopkitError as error:
            self.tell(client.name, f"{self._name(run_id)}: {type(error).__name__}")

    async def _other_program(self) -> None:
        """End a running run by plain SQL, as a program may that knows nothing of leases."""
        await anyio.sleep(self.chance.random() * self.size.asking)
        running = sorted(run_id for run_id, row in self.rows.items() if row.status == "running")
        if running and self.chance.random() < 0.5:
            run_id = self.chance.choice(running)
            if self.ground.end_by_hand(run_id):
                self.tell("other program", f"ends {self._name(run_id)}")
                self.ended_elsewhere.add(run_id)
                self.watch()

    async def _settle(self) -> None:
        """End every run with one healthy runner, after the faults."""
        sound = Process(self, "sound")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sound.run)
            with anyio.fail_after(3600):
                while self._are_open():  # noqa: ASYNC110
                    await anyio.sleep(2)
            sound.dead = True
            tasks.cancel_scope.cancel()

    async def check(self) -> None:
        for run_id in self.acknowledged:
            self.insist(run_id in self.rows, f"{run_id} was acknowledged and is lost")
        for run_id in sorted(self.to_cancel - self.ended_elsewhere):
            status = self.rows[run_id].status
            self.insist(status == "cancelled", f"{self._name(run_id)} was to be cancelled, and is {status}")
        for run_id, calls in self.acknowledged_calls.items():
            stored = self.ground.calls(run_id)
            lost = {call_id for call_id, version in calls.items() if stored.get(call_id, 0) < version}
            self.insist(not lost, f"{self._name(run_id)} lacks model calls that were acknowledged: {lost}")
        for run_id, verdicts in self.acknowledged_verdicts.items():
            missing = verdicts - self.ground.verdicts(run_id)
            self.insist(not missing, f"{self._name(run_id)} lacks verdicts that were acknowledged: {missing}")
        wrongs = [wrong for run_id, wrong in await self.ground.wrongs() if run_id not in self.ended_elsewhere]
        self.insist(not wrongs, "; ".join(wrongs))


def simulate(seed: int, ground: str = "sqlite", *, world_of: Callable[[int, str], World] = World) -> Report:
    """Run the schedule of a seed.

    Raises:
        Broken: an invariant was broken; the error's notes hold the world's log.
    """
    world = world_of(seed, ground)
    try:
        run_virtually(world.live)
        if world.broken is not None:  # the task that found it has already left
            raise world.broken
    except BaseException as error:
        error.add_note(f"seed {seed} on {ground}:\n" + "\n".join(world.lines[-40:]))
        raise
    finally:
        world.ground.leave()
    return Report(seed, world.story.hexdigest(), world.steps, dict(world.faults), tuple(world.lines))
