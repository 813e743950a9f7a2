"""One held run: its stages are called and their outcomes recorded, until it ends, is released, or is lost.

A stage runs in the task that works the run, so a stage that does nothing costs next to nothing. Writes go through the
run's :class:`~loopkit.runner.run_writer.RunWriter`; a stage that does not stop is left behind by its
:class:`~loopkit.runner.stage_watch.StageWatch`.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

import anyio
from anyio import to_thread

from loopkit.agents.agent import Agent, StageContext
from loopkit.agents.context import BestAttempt, HistoryEntry, make_context
from loopkit.agents.error_text import printable
from loopkit.agents.evaluators.panel_spec import Panel
from loopkit.agents.stages.cancellation import Cancellation
from loopkit.core import machine, strict_json
from loopkit.core.attempts import PastAttempt, with_artifact
from loopkit.core.journal import Artifact, Change, EventType, NewArtifact, NewEvent
from loopkit.core.ledger.budget import NO_BUDGET, NO_LIMITS, BudgetLeft, budget_left
from loopkit.core.ledger.spent import NOTHING_SPENT
from loopkit.core.outcome import Errored, Evaluated, Outcome
from loopkit.core.panel.panel_feedback import BaseCriteria
from loopkit.core.policy import policy_of, read_policy
from loopkit.core.resumption import decide_resumption
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.core.stage_material import known_outcome, revised_attempt, stage_material
from loopkit.core.values import value
from loopkit.errors import InvalidConfig, InvalidInputs, LeaseLost, RunNotFound, StorageUnavailable
from loopkit.runner.accounts.stage_book import StageBook
from loopkit.runner.end_report import report_end
from loopkit.runner.keeper import Interrupt
from loopkit.runner.run_writer import RETRY_SECONDS, RunWriter
from loopkit.runner.runner_context import RunnerContext
from loopkit.runner.stage_watch import LONGEST_DELAY, StageWatch
from loopkit.runner.verdicts.panel_call import PanelCall
from loopkit.runner.verdicts.part_call import PartCall
from loopkit.storage import Held, Ledger

__all__ = ["HeldRun"]

logger = logging.getLogger("loopkit.runner")

T = TypeVar("T")

END_GRACE: Final = timedelta(seconds=1)
"""Longest grace time of a runner that ends at once: a person waits for it at the terminal."""


def _ignore(held_run: "HeldRun") -> None:
    """Ignore what happens to a run."""


class HeldRun:
    """One held run on its way to its end.

    Args:
        context: the runner's parts.
        agent: the agent of the run.
        held: the run as it was claimed.
        since: monotonic seconds of the runner's clock, taken before the claim was sent.
        on_ending: called just before the write that frees a slot, so that the next claim can share its commit.
        on_finish: called once when the run is over for this runner.
    """

    def __init__(
        self,
        context: RunnerContext,
        agent: Agent,
        held: Held,
        *,
        since: float,
        on_ending: Callable[["HeldRun"], object] = _ignore,
        on_finish: Callable[["HeldRun"], object] = _ignore,
    ) -> None:
        self.is_finished = False
        self.is_lost = False
        """True when another runner holds the run or may hold it; nothing more is written to it."""
        self._context = context
        self._agent = agent
        self._on_finish = on_finish
        self._artifacts = held.artifacts
        self._policy = policy_of(held.run.policy)
        self._kept_lease = context.keeper.keep(held.lease, since=since, interrupt=self._interrupt_from_keeper)
        self._writer = RunWriter(context, self._kept_lease, held.run, on_ending=lambda: on_ending(self))
        self._scope = anyio.CancelScope()
        self._interrupt: Interrupt | None = None
        self._watch: StageWatch | None = None
        """Watch over the call of a stage that is under way."""
        self._cancellation: Cancellation | None = None
        """Cancellation of that call, as its code sees it."""
        self._is_reading = False
        """True while the artifacts that did not come with the claim are read."""
        context.environment.metrics.count_claim(agent.name)
        self._note_changed_definition()
        _warn_of_early_takeover(held, context)

    @property
    def run(self) -> Run:
        """The run as the last change left it."""
        return self._writer.run

    async def work(self) -> None:
        """Work the run; when this returns, or ``is_finished`` is true, ``run`` is as it was left."""
        try:
            with self._scope:  # cancelled during a write only if the store does not answer any more
                await self._call_stages()
            await self._write_stop()
        except LeaseLost:
            self._lose()
        except anyio.get_cancelled_exc_class():
            await self._release()
            raise
        finally:
            self._finish()

    def interrupt(self, why: Interrupt) -> None:
        """Stop the stage under way; a lost lease outweighs a cancel request, and a cancel request the runner's end.

        A write under way is waited for, unless the lease has run out because the store does not answer.
        """
        if self.is_finished:
            return
        if self._interrupt is None or self._interrupt < why:
            self._interrupt = why
            if self._is_reading:
                self._scope.cancel()
            if self._watch is not None and not self._scope.cancel_called:
                self._scope.cancel()
                if self._cancellation is not None:
                    self._cancellation.cancel_all()
                self._context.tasks.start_soon(self._leave_behind, self._watch, name=f"grace {self.run.id}")
        if why is Interrupt.LOST:
            self._writer.is_lease_lost = True
            if self._context.keeper.is_overdue(self._kept_lease):
                self._scope.cancel()
                self._writer.cancel_last_writes()

    async def _call_stages(self) -> None:
        """Call one stage after the other, until the run ends or something interrupts it."""
        stage_input = await self._begin()
        while stage_input is not None and self._may_call_a_stage():
            if self._context.keeper.is_overdue(self._kept_lease):
                # A process that was frozen finds out here at the earliest.
                await self._writer.record(machine.released_change(self.run, "the lease was not renewed in time"))
                return
            outcome = self._known_outcome(stage_input)
            if outcome is None:
                assert self.run.current_stage is not None
                await self._agent.stage(self.run.current_stage).prepare()
                inputs = await stage_input.copied_inputs()
                if not self._may_call_a_stage():
                    return
                outcome = await self._call_stage(stage_input, inputs)
            if self._interrupt is not None or self.is_finished:
                return
            stage_input = await self._record(outcome, stage_input)

    async def _begin(self) -> "_StageInput | None":
        """Return the input of the first stage; None when there is nothing to call: the run's end is written, or due."""
        if self._artifacts is None and self._is_interrupted():
            return None
        artifacts = await self._read_artifacts()
        await self._read_ledger()
        resumption = decide_resumption(self.run, artifacts, self._writer.ledger.unknowns)
        self._writer.run = resumption.run
        change = resumption.change
        if (fault := _row_fault(self.run)) is not None:
            message = f"the row of this run cannot be read: {fault}"
            change = machine.advance(self.run, Errored(printable(message)))
        if change is None:
            try:
                inputs = await self._checked_inputs()
            except InvalidInputs as error:
                change = machine.advance(self.run, Errored(printable(str(error))))
            else:
                fault = self._agent.threshold_fault(self.run.pass_threshold)
                if fault is None:
                    return _StageInput(inputs, strict_json.is_large(inputs), resumption.attempts)
                change = machine.advance(self.run, Errored(f"the pass threshold {fault}"))
        await self._writer.record(change)
        return None

    async def _checked_inputs(self) -> Mapping[str, Any]:
        """Return the inputs with defaults. Large ones are checked in a thread: other runs go on meanwhile.

        Raises:
            InvalidInputs: they do not fit the agent's schema.
        """
        check, inputs = self._agent.inputs_with_defaults, self.run.inputs
        return await to_thread.run_sync(check, inputs) if strict_json.is_large(inputs) else check(inputs)

    async def _read_artifacts(self) -> Sequence[Artifact]:
        """Return the artifacts of the run; read them, while the lease is renewed, if they did not come with the claim.

        Raises:
            LeaseLost: another runner may hold the run.
        """
        if self._artifacts is None:
            self._artifacts = tuple(await self._read(self._context.storage.list_artifacts))
        return self._artifacts

    async def _read_ledger(self) -> None:
        """Read the model calls of earlier holders, where the run's budget asks for what the sums do not tell.

        Raises:
            LeaseLost: another runner may hold the run.
        """
        storage, budget = self._context.storage, self._policy.budget
        has_limit = budget.usd is not None or budget.tokens is not None
        if has_limit and self.run.fencing_token > 1 and isinstance(storage, Ledger):
            self._writer.ledger.load(await self._read(storage.list_calls))

    async def _read(self, read: Callable[[str], Awaitable[Sequence[T]]]) -> Sequence[T]:
        """Read something of the run, again and again until the store answers, while the lease is renewed."""
        self._is_reading = True
        try:
            while True:
                try:
                    return await read(self.run.id)
                except StorageUnavailable as error:
                    logger.warning("run %s: %s; trying again", self.run.id, error)
                    await anyio.sleep(RETRY_SECONDS)
                except RunNotFound as error:
                    raise LeaseLost(self.run.id) from error
        finally:
            self._is_reading = False

    def _known_outcome(self, stage_input: "_StageInput") -> Outcome | None:
        """Return the outcome of the stage where its policy says that it need not be called."""
        if not self._policy.stop.repeat or self.run.current_stage is not Stage.EVALUATING:
            return None
        return known_outcome(self.run, stage_input.attempts)

    def _may_call_a_stage(self) -> bool:
        if self._interrupt is not None or self.is_finished or self._context.stopping.asked:
            return False
        return self._writer.run.status is RunStatus.RUNNING

    def _is_interrupted(self) -> bool:
        return self._interrupt is not None or self.is_finished

    async def _call_stage(self, stage_input: "_StageInput", inputs: Mapping[str, Any]) -> Outcome:
        writer, environment = self._writer, self._context.environment
        run = writer.run
        stage = run.current_stage
        assert stage is not None
        spec, budget = self._agent.stage(stage), self._policy.budget
        left = NO_LIMITS if budget is NO_BUDGET else budget_left(budget, run.spending)
        seconds_left = None if stage is Stage.EVALUATING else left.seconds
        timeout = spec.timeout if seconds_left is None else _shorter(spec.timeout, seconds_left)
        grace = self._context.grace + spec.grace
        self._watch = watch = StageWatch(self._context, run, timeout, grace=grace, end_run=self._end_without_stage)
        call = _StageCall(writer, watch, stage, run.current_attempt)
        context = call.context(
            run,
            stage_input,
            inputs,
            deps=self._context.deps.get(run.agent_name),
            budget=left,
            seconds_left=seconds_left,
            book=StageBook(writer, watch, environment.ids),
        )
        self._cancellation = context.cancellation
        writer.begin_logs()
        watch.begin_try()
        ended_as = "interrupted"
        began_at = environment.clock.monotonic()
        writer.ledger.begin_stage(began_at)
        try:
            if isinstance(spec, Panel):
                outcome = await self._panel_call(spec, stage_input, context).evaluate()
            else:
                outcome = await environment.call_stage(spec, context)
            ended_as = "error" if isinstance(outcome, Errored) else "ok"
        finally:
            ended_at = environment.clock.monotonic()
            environment.metrics.observe_stage(run.agent_name, stage, ended_at - began_at, outcome=ended_as)
            self._watch = None
            watch.end()
            writer.ledger.end_stage(ended_at)
            writer.end_logs(stage, call.attempt)
        return outcome.in_stage(stage) if isinstance(outcome, Errored) else outcome

    def _panel_call(self, panel: Panel, stage_input: "_StageInput", context: StageContext) -> PanelCall:
        """Return the evaluation of the current output by a panel."""
        calls = PartCall(
            context=self._context, writer=self._writer, stage_context=context, end_run=self._end_without_stage
        )
        base = revised_attempt(self.run, stage_input.attempts)
        criteria = None if base is None or base.evaluation is None else base.evaluation.rest.get("criteria")
        return PanelCall(panel=panel, calls=calls, base=None if base is None else BaseCriteria(base.number, criteria))

    async def _record(self, outcome: Outcome, stage_input: "_StageInput") -> "_StageInput":
        """Record the outcome of a stage and return the input of the next stage.

        What was spent decides about a budget alone here; the writer books it with any change.
        """
        writer = self._writer
        change = machine.advance(
            writer.run,
            outcome,
            output_suffix=self._agent.output_suffix,
            attempts=stage_input.attempts,
            spent=NOTHING_SPENT if self._policy.budget is NO_BUDGET else writer.ledger.spent(),
        )
        await writer.record(change)
        return stage_input if change.artifact is None else stage_input.after(change.artifact, outcome)

    async def _write_stop(self) -> None:
        """Write what the interrupt, or a stop request, means for a run that has not ended."""
        if not self.is_finished and self.run.status is RunStatus.RUNNING:
            await self._writer.record_last(self._stop_change())

    def _stop_change(self) -> Change:
        if self._interrupt is Interrupt.CANCEL:
            return machine.cancelled_change(self.run)
        return machine.released_change(self.run, "the runner stops")

    async def _release(self) -> None:
        try:
            await self._writer.release("the runner was cancelled")
        except LeaseLost:
            self._lose()

    async def _leave_behind(self, watch: StageWatch) -> None:
        is_end = self._interrupt is Interrupt.END
        await watch.leave_behind(self._stop_change, at_most=END_GRACE if is_end else None)

    async def _end_without_stage(self, change: Change) -> None:
        """Write the run's last change although a stage is still under way."""
        try:
            await self._writer.record_last(change)
        except LeaseLost:
            self._lose()
        self._finish()

    def _interrupt_from_keeper(self, why: Interrupt) -> None:
        """Interrupt the run from the thread of the keeper."""
        self._context.loop.call_soon(self.interrupt, why)

    def _lose(self) -> None:
        self.is_lost = True
        logger.warning("run %s was lost to another runner; its late result is dropped", self.run.id)

    def _finish(self) -> None:
        if self.is_finished:
            return
        self.is_finished = True
        self._writer.close()
        if self._watch is not None:
            self._watch.end()
        self._context.keeper.drop(self._kept_lease)
        report_end(self.run, self._writer.reason, is_lost=self.is_lost, metrics=self._context.environment.metrics)
        self._on_finish(self)

    def _note_changed_definition(self) -> None:
        if self.run.definition not in (None, self._agent.definition):
            message = f"The definition of agent {self._agent.name!r} has changed since this run began"
            self._writer.add_event(
                NewEvent(event_type=EventType.LOG, message=message, metadata={"reason": "definition_changed"})
            )


@value
class _StageInput:
    """Input of the next stage, read back from what was stored."""

    inputs: Mapping[str, Any]
    are_large: bool
    """True when the inputs are copied in a thread, so that other runs go on meanwhile."""
    attempts: tuple[PastAttempt, ...]

    async def copied_inputs(self) -> Mapping[str, Any]:
        """Return a copy of the inputs, which a stage may change."""
        inputs: Mapping[str, Any] = self.inputs
        if self.are_large:
            inputs = await to_thread.run_sync(strict_json.copy, inputs)
        else:
            inputs = strict_json.copy(inputs)
        return inputs

    def after(self, artifact: NewArtifact, outcome: Outcome) -> "_StageInput":
        """Return the input of the next stage once ``artifact``, that of ``outcome``, is stored."""
        evaluation = outcome.evaluation if isinstance(outcome, Evaluated) else None
        return _StageInput(self.inputs, self.are_large, with_artifact(self.attempts, artifact, evaluation))


@value
class _StageCall:
    """One call of a stage, as its context sees it."""

    writer: RunWriter
    watch: StageWatch
    stage: Stage
    attempt: int

    def context(
        self,
        run: Run,
        stage_input: _StageInput,
        inputs: Mapping[str, Any],
        *,
        deps: object,
        budget: BudgetLeft,
        seconds_left: float | None,
        book: StageBook,
    ) -> StageContext:
        """Build the context of the call; ``inputs``: a copy, which the stage may change."""
        material = stage_material(run, stage_input.attempts)
        return make_context(
            run_id=run.id,
            agent_name=run.agent_name,
            cycle_id=run.cycle_id,
            inputs=inputs,
            stage=self.stage,
            attempt=self.attempt,
            output=material.output and _read_output(material.output),
            evaluation=material.evaluation,
            base_attempt=material.base_attempt,
            best=None if material.best is None else _as_best(material.best),
            history=[_as_history(attempt) for attempt in material.history],
            idempotency_key=f"{run.id}:{self.attempt}:{self.stage.value}",
            sink=self.log,
            retrying=self.note_failed_try,
            deps=deps,
            budget=budget,
            seconds_left=seconds_left,
            book=book,
        )

    def log(self, message: str, metadata: Mapping[str, Any]) -> None:
        """Keep a log line while the call is under way. May be called from any thread."""
        if not self.watch.is_over:
            self.writer.add_log(self.stage, self.attempt, message, metadata)

    def note_failed_try(self, message: str, details: Mapping[str, Any] | None) -> None:
        """Write why and where a try failed, and watch the next one."""
        self.writer.add_failed_try(self.stage, self.attempt, message, details)
        self.watch.begin_try(delay=LONGEST_DELAY)


def _shorter(timeout: timedelta | None, seconds: float) -> timedelta:
    """Return the shorter of two durations; a timeout of None is no limit."""
    limit = timedelta(seconds=seconds)
    return limit if timeout is None else min(timeout, limit)


def _read_output(artifact: Artifact | NewArtifact) -> Any:
    """Return an output as the stage returned it: text, or the mapping or list that was stored as JSON."""
    return strict_json.loads_or_text(artifact.content) if artifact.is_json else artifact.content


def _as_best(attempt: PastAttempt) -> BestAttempt:
    assert attempt.evaluation is not None
    return BestAttempt(attempt.number, attempt.output and _read_output(attempt.output), attempt.evaluation)


def _as_history(attempt: PastAttempt) -> HistoryEntry:
    assert attempt.evaluation is not None
    return HistoryEntry(attempt.number, attempt.evaluation.score, attempt.evaluation.feedback)


def _row_fault(run: Run) -> str | None:
    """Return what cannot be read in the run's row, as a sentence; None when all can."""
    if run.unreadable is None:
        try:
            read_policy(run.policy)
        except InvalidConfig as error:
            return f"policy: {error}"
    return run.unreadable


def _warn_of_early_takeover(held: Held, context: RunnerContext) -> None:
    """Log a warning if the run was taken over from a runner that may have been alive."""
    limit = context.storage.stalled_after
    if held.previous_heartbeat is not None and limit < 2 * held.previous_heartbeat:
        logger.warning(
            "run %s was taken over after %s without a heartbeat, but its holder renewed its lease only every %s; "
            "set --stalled-after to at least twice the longest heartbeat interval of all runners",
            held.run.id,
            limit,
            held.previous_heartbeat,
        )
