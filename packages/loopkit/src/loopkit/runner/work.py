"""Working one held run: call its stages, record what they came to, until it ends, is given back, or is lost.

The stage runs in the task that works the run, so a stage that does nothing costs next to nothing. A stage that will
not stop when it is cancelled is left behind: after a grace time the run's end is written without it, and whatever it
returns is dropped.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import anyio
import attrs
from anyio.abc import TaskGroup

from loopkit.agents.agent import Agent, StageContext
from loopkit.core import machine, plain
from loopkit.core.journal import Artifact, ArtifactType, Change, EventType, NewArtifact, NewEvent
from loopkit.core.outcome import Errored, Evaluation, Outcome
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.errors import InvalidInputs, LeaseLost, StorageUnavailable
from loopkit.eventloop import EventLoop
from loopkit.runner.environment import Environment
from loopkit.runner.keeper import HEARTBEAT, Holding, Interrupt, Keeper
from loopkit.runner.logs import Logs
from loopkit.runner.stopping import Stopping
from loopkit.runner.tasks import open_tasks
from loopkit.storage import Held, Storage

__all__ = ["Crew", "Work", "work"]

logger = logging.getLogger("loopkit.runner")

LOG_DELAY_SECONDS: Final = 0.5
"""How long a stage's log line may wait for others before it is written."""

RETRY_SECONDS: Final = 0.5
"""Pause before a write is tried again when the store gave no answer."""


@attrs.frozen(kw_only=True)
class Crew:
    """What all works of one runner share."""

    storage: Storage
    keeper: Keeper
    environment: Environment
    loop: EventLoop
    tasks: TaskGroup
    stopping: Stopping
    grace: timedelta = timedelta(seconds=10)
    """How long a cancelled stage may take to stop before it is left behind."""
    on_ending: Callable[["Work"], object] = lambda work: None
    """Called just before the write that frees a slot, so that the next claim can share its commit."""
    on_finish: Callable[["Work"], object] = lambda work: None
    """Called once when a run is over for this runner."""


class Work:
    """One held run on its way to its end."""

    def __init__(self, crew: Crew, agent: Agent, held: Held, *, since: float) -> None:
        self._crew = crew
        self._agent = agent
        self._lease = held.lease
        self._resumption = machine.resume(held.run, held.artifacts)
        self.run = self._resumption.run
        self._logs = Logs()
        self._scope: anyio.CancelScope | None = None
        self._interrupt: Interrupt | None = None
        self._serial = 0
        self._writing = anyio.Lock(fast_acquire=True)
        self._holding: Holding = crew.keeper.hold(self._lease, since=since, interrupt=self._interrupted_elsewhere)
        self.finished = anyio.Event()
        self.lost = False
        """True when the run was lost to another runner; nothing more was written."""
        self._note(held)

    # --- From outside --------------------------------------------------------------------------------------------

    def _interrupted_elsewhere(self, why: Interrupt) -> None:
        self._crew.loop.call_soon(self.interrupt, why)

    def interrupt(self, why: Interrupt) -> None:
        """Have the stage under way stop; a lost lease outweighs a cancel, and a cancel the runner's end."""
        order = (Interrupt.END, Interrupt.CANCEL, Interrupt.LOST)
        if self.finished.is_set() or (self._interrupt and order.index(self._interrupt) >= order.index(why)):
            return
        self._interrupt = why
        if self._scope is not None:
            self._scope.cancel()
            self._crew.tasks.start_soon(self._leave_behind, self._serial, name=f"grace {self.run.id}")

    # --- The loop ------------------------------------------------------------------------------------------------

    async def work(self) -> None:
        """Work the run; when this returns, or ``finished`` is set, ``run`` is as it was left."""
        try:
            await self._loop()
        except LeaseLost:
            self._lose()
        except anyio.get_cancelled_exc_class():
            await self._give_back()
            raise
        finally:
            self._finish()

    async def _loop(self) -> None:
        output = self._resumption.output and _read_output(self._resumption.output)
        evaluation = self._resumption.evaluation
        inputs = self._checked_inputs()
        if self._resumption.change is not None:
            await self._record(self._resumption.change)
        elif inputs is None:
            return await self._record_invalid_inputs()
        while not self.finished.is_set() and self.run.status is RunStatus.RUNNING:
            if self._crew.stopping.asked and self._interrupt is None:
                return await self._close(machine.release(self.run, "the runner stops"))
            outcome = await self._call(self._context(inputs, output, evaluation))
            if self.finished.is_set():
                return None
            if outcome is None:
                return await self._stop()
            change = machine.advance(self.run, outcome, output_suffix=self._agent.output_suffix)
            await self._record(change)
            if change.artifact is not None:
                output, evaluation = _handed_on(change.artifact, output, evaluation)
        return None

    async def _call(self, context: StageContext) -> Outcome | None:
        """Call the stage; None when it was interrupted."""
        if self._interrupt is not None:
            return None
        self._serial += 1
        self._logs.begin()
        with anyio.CancelScope() as self._scope:
            outcome = await self._crew.environment.call(self._agent.stage(context.stage), context)
        interrupted, self._scope = self._scope.cancel_called, None
        self._logs.end(context.stage, context.attempt)
        return None if interrupted else outcome

    async def _stop(self) -> None:
        if self._interrupt is Interrupt.LOST:
            raise LeaseLost(self.run.id)
        await self._close(self._last_change())

    def _last_change(self) -> Change:
        if self._interrupt is Interrupt.CANCEL:
            return machine.cancel_seen(self.run)
        return machine.release(self.run, "the runner ends")

    async def _leave_behind(self, serial: int) -> None:
        """After the grace time write what the interrupt means, if the stage is still under way."""
        await anyio.sleep(self._crew.grace.total_seconds())
        if self._scope is None or self._serial != serial or self.finished.is_set():
            return
        logger.error("stage %s of run %s does not stop; it is left behind", self.run.current_stage, self.run.id)
        try:
            await self._stop()
        except LeaseLost:
            self._lose()
        self._finish()

    # --- Writing -------------------------------------------------------------------------------------------------

    async def _record(self, change: Change) -> None:
        """Write a change with the logs that wait, again and again while the lease may still be held."""
        logs = self._logs.take()
        if logs:
            change = attrs.evolve(change, events=(*logs, *change.events))
        if change.then.status is not RunStatus.RUNNING:
            self._crew.on_ending(self)
        while True:
            sent_at = self._crew.environment.clock.monotonic()
            try:
                async with self._writing:
                    self.run = await self._crew.storage.record(self._lease, change)
            except StorageUnavailable as error:
                logger.warning("run %s: %s; trying again", self.run.id, error)
                if self._interrupt is Interrupt.LOST:
                    raise LeaseLost(self.run.id) from error
                await anyio.sleep(RETRY_SECONDS)
            else:
                self._holding.renewed_at = max(self._holding.renewed_at, sent_at)
                return

    async def _close(self, change: Change) -> None:
        if self.run.status is RunStatus.RUNNING:
            await self._record(change)

    async def _give_back(self) -> None:
        """Release the run although this task is cancelled, within the grace time."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(self._crew.grace.total_seconds()):
            try:
                await self._close(machine.release(self.run, "the runner was cancelled"))
            except LeaseLost:
                self._lose()

    async def _record_invalid_inputs(self) -> None:
        await self._record(machine.advance(self.run, Errored(str(self._invalid))))

    def _schedule_flush(self) -> None:
        if not self.finished.is_set():
            self._crew.tasks.start_soon(self._flush_logs, name=f"logs {self.run.id}")

    async def _flush_logs(self) -> None:
        await anyio.sleep(LOG_DELAY_SECONDS)
        try:
            async with self._writing:
                if self.run.status is RunStatus.RUNNING and (logs := self._logs.take()):
                    await self._crew.storage.record(self._lease, machine.log(self.run, logs))
        except (LeaseLost, StorageUnavailable) as error:
            logger.warning("log lines of run %s were not written: %s", self.run.id, error)

    def _lose(self) -> None:
        self.lost = True
        logger.warning("run %s was lost to another runner; its late result is dropped", self.run.id)

    def _finish(self) -> None:
        if not self.finished.is_set():
            self._crew.keeper.let_go(self._holding)
            self.finished.set()
            self._crew.on_finish(self)

    # --- What a stage gets ---------------------------------------------------------------------------------------

    def _checked_inputs(self) -> str | None:
        """Give the inputs as JSON text with the schema's defaults filled in; None when they do not fit."""
        try:
            return plain.dumps(self._agent.checked_inputs(self.run.inputs))
        except InvalidInputs as error:
            self._invalid = error
            return None

    def _context(self, inputs: str | None, output: Any, evaluation: Evaluation | None) -> StageContext:
        assert inputs is not None
        run, stage = self.run, self.run.current_stage
        assert stage is not None
        return StageContext(
            run_id=run.id,
            agent_name=run.agent_name,
            cycle_id=run.cycle_id,
            inputs=plain.loads(inputs),
            stage=stage,
            attempt=run.current_attempt,
            output=output,
            evaluation=evaluation,
            idempotency_key=f"{run.id}:{run.current_attempt}:{stage.value}",
            sink=self._sink(stage, run.current_attempt, self._serial + 1),
        )

    def _sink(self, stage: Stage, attempt: int, serial: int) -> Callable[[str, Mapping[str, Any]], None]:
        def sink(message: str, metadata: Mapping[str, Any]) -> None:
            if serial == self._serial and self._logs.add(stage, attempt, message, metadata):
                self._crew.loop.call_soon(self._schedule_flush)

        return sink

    def _note(self, held: Held) -> None:
        """Tell what whoever reads this run later should know of its claim."""
        if self.run.definition not in (None, self._agent.definition):
            message = f"The definition of agent {self._agent.name!r} has changed since this run began"
            self._logs.put(
                NewEvent(event_type=EventType.LOG, message=message, metadata={"reason": "definition_changed"})
            )
        limit = self._crew.storage.stalled_after
        if held.previous_heartbeat is not None and limit < 2 * held.previous_heartbeat:
            logger.warning(
                "run %s was taken over after %s of silence, but its holder renewed only every %s: "
                "let --stalled-after be at least twice the heartbeat of every runner",
                self.run.id,
                limit,
                held.previous_heartbeat,
            )


async def work(
    store: Storage,
    agent: Agent,
    held: Held,
    *,
    heartbeat: timedelta = HEARTBEAT,
    stopping: Stopping | None = None,
    environment: Environment | None = None,
) -> Run:
    """Work one held run to its end, or to its release when a stop is asked for, and give it as it was left.

    Raises:
        LeaseLost: another runner took it over.
    """
    environment = environment or Environment()
    keeper = Keeper(store, environment.clock, heartbeat=heartbeat)
    stopping = stopping or Stopping()
    async with open_tasks() as tasks:
        crew = Crew(
            storage=store, keeper=keeper, environment=environment, loop=EventLoop(), tasks=tasks, stopping=stopping
        )
        one = Work(crew, agent, held, since=environment.clock.monotonic())
        unlisten = stopping.listen(lambda: one.interrupt(Interrupt.END) if stopping.ending else None)
        try:
            with environment.keeping(keeper):
                await one.work()
        finally:
            unlisten()
        tasks.cancel_scope.cancel()
    if one.lost:
        raise LeaseLost(held.run.id)
    return one.run


def _read_output(artifact: Artifact | NewArtifact) -> Any:
    """Give an output as the stage gave it: text, or the mapping or list that was stored as JSON."""
    return plain.loads(artifact.content) if artifact.is_json else artifact.content


def _handed_on(kept: NewArtifact, output: Any, evaluation: Evaluation | None) -> tuple[Any, Evaluation | None]:
    """Give what the next stage gets, read back from what was stored."""
    if kept.artifact_type is ArtifactType.OUTPUT:
        return _read_output(kept), evaluation
    return output, machine.read_evaluation(kept)
