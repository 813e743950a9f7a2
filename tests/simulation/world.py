"""A simulated world: processes and clients on one database, under one seed, watched at every commit.

The runner, the store and the agents' calling are the shipped ones. The seed decides everything else: how long things
take, what fails, which process freezes or dies, what clients ask for and when.
"""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import attrs

from loopkit import Agent, LoopkitError, RunEnded, RunNotEnded, RunStatus, StageContext, wire
from loopkit.core.lease import Lease
from loopkit.core.run import NewRun
from loopkit.stores.sql.migrations import migrate
from tests.simulation.database import database
from tests.simulation.process import Process
from tests.simulation.virtual import VirtualLoop, run_virtually

EPOCH = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROCESSES = 3
RUNS = 6
TROUBLED_SECONDS = 40.0
"""How long chance strikes; afterwards one sound process finishes what is left."""


class Broken(BaseException):
    """The world saw something that must never happen. Nothing on the way out may take it for trouble of its own."""


@attrs.frozen
class StageCall:
    """One call of a stage: by whom, and under which fencing token it began."""

    process: str
    run_id: str
    stage: str
    attempt: int
    token: int


@attrs.frozen
class Row:
    """A run's row, as far as the world watches it."""

    status: str
    token: int
    claimed_by: str | None
    claimed_at: str | None
    seen_at: str | None
    cancel_requested_at: str | None
    whole: tuple[Any, ...]

    @property
    def told(self) -> int:
        """How many events the run has."""
        return int(self.whole[-1])


@attrs.frozen
class Report:
    """What one schedule came to."""

    seed: int
    trace: str
    """Digest of all that was seen, in order."""
    steps: int
    """Statements and commits."""
    faults: dict[str, int]
    runs: int
    lines: tuple[str, ...] = attrs.field(repr=False)


class World:
    """One schedule."""

    stalled_after = timedelta(seconds=6)
    heartbeat = timedelta(seconds=2)

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.name = f"world-{seed}"
        self.chance = random.Random(f"{seed} world")
        self.steps = 0
        self.faults: Counter[str] = Counter()
        self.lines: list[str] = []
        self.calls: list[StageCall] = []
        self.rows: dict[str, Row] = {}
        self.acknowledged: dict[str, RunStatus] = {}
        self.to_cancel: set[str] = set()
        self.ended_elsewhere: set[str] = set()
        self._numbers = 0
        self._artifacts_seen = 0
        self._started = 0

    # --- What processes ask of the world ------------------------------------------------------------------------

    @property
    def stalled_seconds(self) -> float:
        return self.stalled_after.total_seconds()

    def now(self) -> datetime:
        """The store's clock."""
        return EPOCH + timedelta(seconds=self.loop.elapsed)

    def next_number(self) -> int:
        self._numbers += 1
        return (1 << 100) + self._numbers

    def tell(self, who: str, what: str) -> None:
        self.lines.append(f"{self.loop.elapsed:.6f} {who} {what}")

    def agent(self, process: Process) -> Agent:
        """The agent as this process works it."""

        async def make(context: StageContext) -> str:
            return await self._stage(process, context)

        async def judge(context: StageContext) -> dict[str, Any]:
            told = await self._stage(process, context)
            return {"score": process.chance.choice([0.2, 0.4, 0.6, 0.9]), "feedback": told}

        return Agent(name="worker", produce=make, evaluate=judge, pass_threshold=0.8)

    async def _stage(self, process: Process, context: StageContext) -> str:
        number = len(self.calls)
        token = self.rows[context.run_id].token
        self.calls.append(StageCall(process.name, context.run_id, context.stage.value, context.attempt, token))
        await process.nap(process.chance.choice([0.1, 1.0, 5.0]))
        if process.chance.random() < 0.03:
            raise RuntimeError("the stage failed")
        if process.chance.random() < 0.3:
            context.log(f"call {number} is done")
        return f"call {number}"

    # --- What the world watches ---------------------------------------------------------------------------------

    def watch(self) -> None:
        """Look at what a commit did; called after every commit, before its answer."""
        for row in self.eye.execute(
            "SELECT id, status, fencing_token, claimed_by, claimed_at, coalesce(heartbeat_at, claimed_at),"
            " cancel_requested_at, final_score, current_attempt, error_message, completed_at, event_seq"
            " FROM workflow_runs"
        ):
            run_id, seen = row[0], Row(*row[1:7], whole=row)
            before = self.rows.get(run_id)
            if before is None or before.whole != seen.whole:
                self._compare(run_id, before, seen)
                self.rows[run_id] = seen
        for number, run_id, content in self.eye.execute(
            "SELECT id, run_id, content FROM workflow_artifacts WHERE id > ? ORDER BY id", (self._artifacts_seen,)
        ):
            self._artifacts_seen = number
            self._check_artifact(run_id, content)

    def _compare(self, run_id: str, before: Row | None, after: Row) -> None:
        self.tell("store", f"{run_id} {after.whole[1:]}")
        if before is None:
            return
        _insist(before.status not in ("passed", "failed", "cancelled"), f"{run_id} changed after its end")
        _insist(before.token <= after.token <= before.token + 1, f"{run_id}: token {before.token} -> {after.token}")
        if after.token > before.token and before.status == "running" and not self._was_released(run_id, before):
            silent = (self.now() - _time(before.seen_at)).total_seconds()
            _insist(silent > self.stalled_seconds, f"{run_id} was taken over after {silent} s of silence")

    def _was_released(self, run_id: str, before: Row) -> bool:
        """True when the commit gave the run back before somebody claimed it."""
        told = self.eye.execute(
            "SELECT message FROM workflow_events WHERE run_id = ? AND seq > ? ORDER BY seq", (run_id, before.told)
        )
        messages = [message for (message,) in told]
        return "Released" in messages and messages.index("Released") < messages.index("Started")

    def _check_artifact(self, run_id: str, content: str) -> None:
        number = int(content.partition("call ")[2].rstrip('"}'))
        made, row = self.calls[number], self.rows[run_id]
        _insist(made.run_id == run_id, f"{run_id} holds the result of another run")
        _insist(made.token == row.token, f"{run_id}: a result of token {made.token} was stored under {row.token}")

    def told_lost(self, lease: Lease) -> None:
        """A holder was told that its lease is lost: then it must be."""
        row = self.rows[lease.run_id]
        held = (row.status, row.token, row.claimed_by) == ("running", lease.fencing_token, lease.claimed_by)
        _insist(not held, f"{lease.run_id}: token {lease.fencing_token} was told lost, and holds the run")

    # --- The story ----------------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Let clients and processes have their troubled time, then let a sound process finish, and check it all."""
        self.loop = _current_loop()
        self.eye = sqlite3.connect(f"file:/{self.name}?vfs=memdb", uri=True, isolation_level=None)
        keeper = database(self.name)
        migrate(keeper)
        try:
            async with anyio.create_task_group() as tasks:
                for number in range(2):
                    tasks.start_soon(self._client, Process(self, f"client-{number}", flaky=0.02), number)
                for number in range(PROCESSES):
                    tasks.start_soon(self._machine, number)
                tasks.start_soon(self._other_program)
            await self._settle()
            await self._check()
        finally:
            self.eye.close()
            keeper.close()

    async def _machine(self, number: int) -> None:
        """Start one process after another until the troubled time is over."""
        while (left := TROUBLED_SECONDS - anyio.current_time()) > 0:
            self._started += 1
            process = Process(self, f"runner-{number}.{self._started}", flaky=self.chance.choice([0.0, 0.005, 0.03]))
            with anyio.move_on_after(left):
                await process.run()
            process.dead = True
            await anyio.sleep(self.chance.random() * 3)

    async def _client(self, client: Process, number: int) -> None:
        """Submit, cancel and retry; remember what was acknowledged."""
        known: list[str] = []
        for asked in range(RUNS // 2):
            await client.nap(6)
            key = f"{number}.{asked}"
            new = NewRun(agent_name="worker", inputs={"asked": key}, pass_threshold=0.8, idempotency_key=key)
            try:
                [run] = await client.store.submit([new])
            except LoopkitError as error:
                self.tell(client.name, f"submit {key}: {type(error).__name__}")
                continue
            self.acknowledged[run.id] = run.status
            known.append(run.id)
            await client.nap(5)
            await self._bother(client, client.chance.choice(known))

    async def _other_program(self) -> None:
        """End a running run by plain SQL, as a program may that knows nothing of leases."""
        await anyio.sleep(self.chance.random() * TROUBLED_SECONDS / 2)
        running = sorted(run_id for run_id, row in self.rows.items() if row.status == "running")
        if running and self.chance.random() < 0.5:
            run_id = self.chance.choice(running)
            self.tell("other program", f"ends {run_id}")
            self.ended_elsewhere.add(run_id)
            self.eye.execute(
                "UPDATE workflow_runs SET status = 'cancelled', current_stage = NULL, cancel_requested_at = ?,"
                " completed_at = ? WHERE id = ?",
                (wire.instant(self.now()), wire.instant(self.now()), run_id),
            )
            self.watch()

    async def _bother(self, client: Process, run_id: str) -> None:
        kind = client.chance.random()
        try:
            if kind < 0.4:
                await client.store.request_cancel(run_id)
                self.to_cancel.add(run_id)
                self.tell(client.name, f"cancel {run_id} is acknowledged")
            elif kind < 0.6:
                again = await client.store.retry(run_id)
                self.acknowledged[again.id] = again.status
        except (RunEnded, RunNotEnded):
            pass
        except LoopkitError as error:
            self.tell(client.name, f"{run_id}: {type(error).__name__}")

    async def _settle(self) -> None:
        """When trouble is over, one sound runner ends every run."""
        await anyio.sleep(self.stalled_seconds + 1)
        sound = Process(self, "sound")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(sound.run)
            with anyio.fail_after(3600):
                while any(row.status in ("queued", "running") for row in self.rows.values()):  # noqa: ASYNC110
                    await anyio.sleep(1)
            sound.dead = True
            tasks.cancel_scope.cancel()

    async def _check(self) -> None:
        checker = Process(self, "checker")
        for run_id in self.acknowledged:
            _insist(run_id in self.rows, f"{run_id} was acknowledged and is lost")
        for run_id in sorted(self.to_cancel - self.ended_elsewhere):
            _insist(
                self.rows[run_id].status == "cancelled", f"{run_id} was to be cancelled: {self.rows[run_id].status}"
            )
        doubled = self.eye.execute(
            "SELECT run_id, message FROM workflow_events WHERE event_type = 'log' AND message LIKE 'call %'"
            " GROUP BY run_id, message HAVING count(*) > 1"
        ).fetchall()
        _insist(not doubled, f"log lines stand twice: {doubled}")
        found = await checker.store.check()
        violations = [violation for violation in found if violation.run_id not in self.ended_elsewhere]
        _insist(not violations, f"{violations}")


def _insist(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)


def _time(text: str | None) -> datetime:
    assert text is not None
    return datetime.fromisoformat(text)


def _current_loop() -> VirtualLoop:
    import asyncio

    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def simulate(seed: int) -> Report:
    """Live through the schedule of a seed.

    Raises:
        Broken: an invariant was broken; the world's lines stand in the error's notes.
    """
    world = World(seed)
    try:
        run_virtually(world.live)
    except BaseException as error:
        error.add_note(f"seed {seed}:\n" + "\n".join(world.lines[-40:]))
        raise
    digest = hashlib.sha256("\n".join(world.lines).encode()).hexdigest()
    return Report(seed, digest, world.steps, dict(world.faults), len(world.rows), tuple(world.lines))
