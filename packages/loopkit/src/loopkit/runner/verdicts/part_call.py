"""One call of a check, or of one sample of a judge: its context, the watch over its tries, and its verdict."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from loopkit.agents.context import StageContext
from loopkit.agents.evaluators.panel_spec import made_by
from loopkit.agents.stage_spec import StageSpec
from loopkit.core import strict_json
from loopkit.core.journal import Change, EventType, NewEvent
from loopkit.core.outcome import Errored, Evaluated
from loopkit.core.panel.verdict import Verdict, VerdictKind
from loopkit.runner.run_writer import RunWriter
from loopkit.runner.runner_context import RunnerContext
from loopkit.runner.stage_watch import LONGEST_DELAY, StageWatch

__all__ = ["AskedPart", "PartCall"]


@attrs.frozen(kw_only=True)
class AskedPart:
    """Check, or sample of a judge, that is asked for its verdict."""

    kind: VerdictKind
    name: str
    sample: int = 1
    spec: StageSpec
    is_lone: bool = False
    """True for a prompt that evaluates alone: it may know what an evaluator knows, and errors do not name it."""

    @property
    def made_by(self) -> str:
        """Digest of what decides the verdict."""
        return made_by(self.spec)

    def key(self, attempt: int) -> tuple[int, VerdictKind, str, int, str]:
        """Return what names its verdict on the output of an attempt."""
        return attempt, self.kind, self.name, self.sample, self.made_by

    @property
    def labels(self) -> Mapping[str, Any]:
        """Metadata that names it in events."""
        return {self.kind.value: self.name, "sample": self.sample}


@attrs.frozen(kw_only=True)
class PartCall:
    """Caller of checks and judges for the current output of a held run."""

    context: RunnerContext
    writer: RunWriter
    stage_context: StageContext
    """Context of the evaluation, from which each part gets its own."""
    end_run: Callable[[Change], Awaitable[None]]
    """Writes the run's end without a part that does not stop."""

    async def ask(self, part: AskedPart) -> Verdict | Errored:
        """Call a check or judge until a try succeeds or its retries are used up, and return its verdict or error."""
        run = self.writer.run
        name = None if part.is_lone else part.name
        grace = self.context.grace + part.spec.grace
        watch = StageWatch(self.context, run, part.spec.timeout, grace=grace, end_run=self.end_run, part=name)
        watch.begin_try()
        try:
            outcome = await self.context.environment.call_stage(part.spec, self._context(part, watch))
        finally:
            watch.end()
        if isinstance(outcome, Errored):
            return attrs.evolve(outcome, part=name)
        assert isinstance(outcome, Evaluated)
        evaluation = outcome.evaluation
        return Verdict(
            attempt=run.current_attempt,
            kind=part.kind,
            name=part.name,
            sample=part.sample,
            made_by=part.made_by,
            score=evaluation.score,
            feedback=evaluation.feedback,
            detail=dict(evaluation.rest),
        )

    def note_failure(self, part: AskedPart, error: Errored) -> None:
        """Keep an event that says why a check or judge gave no verdict, where that is not the error of the stage."""
        run = self.writer.run
        event = NewEvent(
            event_type=EventType.LOG,
            stage=run.current_stage,
            attempt=run.current_attempt,
            message=f"{part.name} failed: {error.message}",
            metadata={**(error.details or {}), **part.labels},
        )
        self.writer.add_event(event)

    def _context(self, part: AskedPart, watch: StageWatch) -> StageContext:
        """Return what the part may know: nothing of earlier attempts, which would bend its verdict."""
        base = self.stage_context
        is_judge = part.kind is VerdictKind.JUDGE

        def log(message: str, metadata: Mapping[str, Any]) -> None:
            if not watch.is_over:
                base.sink(message, {**part.labels, **metadata})

        def note_failed_try(message: str, details: Mapping[str, Any] | None) -> None:
            if base.retrying is not None:
                base.retrying(f"{part.name}: {message}", {**(details or {}), **part.labels})
            watch.begin_try(delay=LONGEST_DELAY)

        return attrs.evolve(
            base,
            inputs=strict_json.copy(base.inputs),
            output=base.output if isinstance(base.output, str) else strict_json.copy(base.output),
            evaluation=base.evaluation if part.is_lone else None,
            idempotency_key=":".join([base.idempotency_key, part.kind.value, part.name, str(part.sample)]),
            judge=part.name if is_judge else None,
            sample=part.sample if is_judge else None,
            sink=log,
            retrying=note_failed_try,
            cancellation=base.cancellation.branch(),
        )
