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
from loopkit.agents.calling import MAX_DELAY_SECONDS
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

END_SECONDS: Final = 1.0
"""The grace of a runner that ends at once: whoever said so waits at the terminal."""

LONGEST_DELAY: Final = timedelta(seconds=MAX_DELAY_SECONDS)
"""The longest pause between two tries of a stage."""

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
        self._scope = anyio.CancelScope()
        self._last_writes: list[anyio.CancelScope] = []
        """Around what is written outside of the loop."""
        self._interrupt: Interrupt | None = None
        self._call: _StageCall | None = None
        """The call of a stage that is under way; what others still say is dropped."""
        self._watch: anyio.CancelScope | None = None
        """Around the watch of the try under way, where the stage has a timeout."""
        self._is_writing = False
        self._unanswered: Change | None = None
        """What was sent to the store and not answered yet; it may have been written."""
        self._flushed: anyio.Event | None = None
        """Set while log lines are being written: the next write waits for them."""
        self._holding: Holding = crew.keeper.hold(self._lease, since=since, interrupt=self._interrupted_elsewhere)
        self.is_finished = False
        self.lost = False
        """True when the run was lost to another runner; nothing more was written."""
        self._note(held)

    # --- From outside --------------------------------------------------------------------------------------------

    def _interrupted_elsewhere(self, why: Interrupt) -> None:
        self._crew.loop.call_soon(self.interrupt, why)

    def interrupt(self, why: Interrupt) -> None:
        """Have the stage under way stop; a lost lease outweighs a cancel, and a cancel the runner's end.

        A write under way is waited for, unless the lease ran out because the store does not answer.
        """
        order = (Interrupt.END, Interrupt.CANCEL, Interrupt.LOST)
        if self.is_finished:
            return
        if self._interrupt is None or order.index(self._interrupt) < order.index(why):
            self._interrupt = why
            if self._call is not None and not self._scope.cancel_called:
                self._scope.cancel()
                self._crew.tasks.start_soon(self._leave_behind, name=f"grace {self.run.id}")
        if why is Interrupt.LOST and self._crew.keeper.is_overdue(self._holding):
            for scope in (self._scope, *self._last_writes):
                scope.cancel()

    # --- The loop ------------------------------------------------------------------------------------------------

    async def work(self) -> None:
        """Work the run; when this returns, or ``is_finished`` is true, ``run`` is as it was left."""
        try:
            with self._scope:  # while something is written, this is cancelled only if nobody answers any more
                await self._loop()
            await self._stop()
        except LeaseLost:
            self._lose()
        except anyio.get_cancelled_exc_class():
            await self._give_back()
            raise
        finally:
            self._finish()

    async def _loop(self) -> None:
        """Call one stage after the other, until the run ends or something interrupts."""
        output = self._resumption.output and _read_output(self._resumption.output)
        evaluation = self._resumption.evaluation
        inputs = self._checked_inputs()
        if self._resumption.change is not None:
            await self._record(self._resumption.change)
        elif inputs is None:
            await self._record(machine.advance(self.run, Errored(str(self._invalid))))
        while self.run.status is RunStatus.RUNNING and self._goes_on() and not self._crew.stopping.asked:
            if self._crew.keeper.is_overdue(self._holding):  # a process that was frozen learns it here at the soonest
                await self._record(machine.release(self.run, "the lease was not renewed in time"))
                return
            outcome = await self._outcome(self._context(inputs, output, evaluation))
            if not self._goes_on():
                return
            change = machine.advance(self.run, outcome, output_suffix=self._agent.output_suffix)
            await self._record(change)
            if change.artifact is not None:
                output, evaluation = _handed_on(change.artifact, output, evaluation)

    def _goes_on(self) -> bool:
        return self._interrupt is None and not self.is_finished

    async def _outcome(self, context: StageContext) -> Outcome:
        spec = self._agent.stage(context.stage)
        self._logs.begin()
        if spec.timeout is not None:
            self._watch_try(spec.timeout)
        try:
            return await self._crew.environment.call(spec, context)
        finally:
            self._call = None
            self._unwatch_try()
            self._logs.end(context.stage, context.attempt)

    async def _stop(self) -> None:
        """Write what the interrupt, or a stop that was asked for, means for a run that has not ended."""
        if self.is_finished or self.run.status is not RunStatus.RUNNING:
            return
        await self._record_last(self._last_change())

    def _last_change(self) -> Change:
        if self._interrupt is Interrupt.CANCEL:
            return machine.cancel_seen(self.run)
        return machine.release(self.run, "the runner stops")

    def _watch_try(self, timeout: timedelta) -> None:
        """See to it that a try which ignores its timeout does not hold its run for ever."""
        self._unwatch_try()
        self._watch = anyio.CancelScope()
        self._crew.tasks.start_soon(self._end_hung_try, self._watch, timeout, name=f"timeout {self.run.id}")

    def _unwatch_try(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _end_hung_try(self, watch: anyio.CancelScope, timeout: timedelta) -> None:
        with watch:
            await anyio.sleep((timeout + self._crew.grace).total_seconds())
        if watch.cancel_called or self._call is None or self.is_finished:
            return
        message = f"timed out after {timeout.total_seconds():g} s and does not stop; it is left behind"
        logger.error("stage %s of run %s %s", self.run.current_stage, self.run.id, message)
        try:
            await self._record_last(machine.advance(self.run, Errored(message)))
        except LeaseLost:
            self._lose()
        self._finish()

    async def _leave_behind(self) -> None:
        """After the grace time write what the interrupt means, if the stage is still under way."""
        call, grace = self._call, self._crew.grace.total_seconds()
        await anyio.sleep(min(grace, END_SECONDS) if self._interrupt is Interrupt.END else grace)
        if self._call is not call or self.is_finished:
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
            self._unanswered = change
            try:
                self.run = await self._write(change)
            except StorageUnavailable as error:
                logger.warning("run %s: %s; trying again", self.run.id, error)
                if self._interrupt is Interrupt.LOST:
                    raise LeaseLost(self.run.id) from error
                await anyio.sleep(RETRY_SECONDS)
            else:
                self._unanswered = None
                self._holding.renewed_at = max(self._holding.renewed_at, sent_at)
                return

    async def _record_last(self, change: Change) -> None:
        """Write a change outside of the loop.

        Raises:
            LeaseLost: another runner may hold the run.
        """
        if self._interrupt is not Interrupt.LOST:
            with anyio.CancelScope() as scope:
                self._last_writes.append(scope)
                await self._record(change)
                return
        raise LeaseLost(self.run.id)

    async def _write(self, change: Change) -> Run:
        """Write a change when no log lines are being written: what stands in it builds on what they leave."""
        while self._flushed is not None:
            await self._flushed.wait()
        self._is_writing = True
        try:
            return await self._crew.storage.record(self._lease, change)
        finally:
            self._is_writing = False

    async def _give_back(self) -> None:
        """Release the run although this task is cancelled, within the grace time.

        What was under way is written first, or found written: the release builds on what it leaves.
        """
        with anyio.CancelScope(shield=True), anyio.move_on_after(self._crew.grace.total_seconds()):
            try:
                if self._unanswered is not None:
                    await self._record_last(self._unanswered)
                if self.run.status is RunStatus.RUNNING:
                    await self._record_last(machine.release(self.run, "the runner was cancelled"))
            except LeaseLost:
                self._lose()

    def _schedule_flush(self) -> None:
        if not self.is_finished:
            self._crew.tasks.start_soon(self._flush_logs, name=f"logs {self.run.id}")

    async def _flush_logs(self) -> None:
        await anyio.sleep(LOG_DELAY_SECONDS)
        if self._is_writing:  # what waits was taken along, and later lines are scheduled anew
            self._crew.tasks.start_soon(self._flush_logs, name=f"logs {self.run.id}")
            return
        logs = self._logs.take()
        if not logs or self.is_finished:
            return
        self._flushed = anyio.Event()
        try:
            await self._crew.storage.record(self._lease, machine.log(self.run, logs))
        except (LeaseLost, StorageUnavailable) as error:
            logger.warning("log lines of run %s were not written: %s", self.run.id, error)
        finally:
            self._flushed.set()
            self._flushed = None

    def _lose(self) -> None:
        self.lost = True
        logger.warning("run %s was lost to another runner; its late result is dropped", self.run.id)

    def _finish(self) -> None:
        if not self.is_finished:
            self.is_finished = True
            self._crew.keeper.let_go(self._holding)
            self._crew.on_finish(self)

    # --- What a stage gets ---------------------------------------------------------------------------------------

    def _checked_inputs(self) -> Mapping[str, Any] | None:
        """Give the inputs with the schema's defaults filled in; None when they do not fit."""
        try:
            return self._agent.fitted_inputs(self.run.inputs)
        except InvalidInputs as error:
            self._invalid = error
            return None

    def _context(self, inputs: Mapping[str, Any] | None, output: Any, evaluation: Evaluation | None) -> StageContext:
        assert inputs is not None
        run, stage = self.run, self.run.current_stage
        assert stage is not None
        self._call = call = _StageCall(self, stage, run.current_attempt)
        return StageContext(
            run_id=run.id,
            agent_name=run.agent_name,
            cycle_id=run.cycle_id,
            inputs=plain.copy(inputs),
            stage=stage,
            attempt=run.current_attempt,
            output=output,
            evaluation=evaluation,
            idempotency_key=f"{run.id}:{run.current_attempt}:{stage.value}",
            sink=call.log,
            retrying=call.failed,
        )

    def log(self, call: "_StageCall", message: str, metadata: Mapping[str, Any]) -> None:
        """Take a log line of the call under way; those of others are dropped. May be called from any thread."""
        if self._call is call and self._logs.add(call.stage, call.attempt, message, metadata):
            self._crew.loop.call_soon(self._schedule_flush)

    def try_failed(self, stage: Stage, attempt: int, message: str) -> None:
        """Write down why a try failed; the next one may log as much again."""
        self._logs.end(stage, attempt)
        self._logs.put(NewEvent(event_type=EventType.LOG, stage=stage, attempt=attempt, message=message))
        self._logs.begin()
        self._schedule_flush()
        timeout = self._agent.stage(stage).timeout
        if timeout is not None:
            self._watch_try(timeout + LONGEST_DELAY)

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


@attrs.frozen(eq=False)
class _StageCall:
    """One call of a stage, as its context reaches back to the work."""

    work: Work
    stage: Stage
    attempt: int

    def log(self, message: str, metadata: Mapping[str, Any]) -> None:
        self.work.log(self, message, metadata)

    def failed(self, message: str) -> None:
        self.work.try_failed(self.stage, self.attempt, message)


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
