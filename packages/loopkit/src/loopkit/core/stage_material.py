"""Stored results that the next stage of a run gets, by the run's policy."""

from collections.abc import Sequence

import attrs

from loopkit.core.attempts import PastAttempt, best_attempt, equal_attempt
from loopkit.core.journal import Artifact, NewArtifact
from loopkit.core.outcome import Evaluated, Evaluation
from loopkit.core.policy import ReviseFrom, policy_of
from loopkit.core.run import Run, Stage
from loopkit.core.values import value

__all__ = ["StageMaterial", "known_outcome", "revised_attempt", "stage_material"]


@value(kw_only=True)
class StageMaterial:
    """Stored results that one call of a stage gets."""

    output: Artifact | NewArtifact | None = None
    """Evaluating: the output to evaluate. Revising: that of the base attempt."""
    evaluation: Evaluation | None = None
    """Evaluating: that of the attempt before. Revising: that of the base attempt."""
    base_attempt: int | None = None
    """Revising: number of the attempt whose output is revised."""
    best: PastAttempt | None = None
    """Revising: the attempt with the highest score so far."""
    history: tuple[PastAttempt, ...] = ()
    """Revising: the evaluated attempts so far, oldest first."""


_NOTHING = StageMaterial()


def stage_material(run: Run, attempts: Sequence[PastAttempt]) -> StageMaterial:
    """Return what the current stage of ``run`` gets; ``attempts`` are all that are stored, by number."""
    if run.current_stage is Stage.EVALUATING:
        current, before = _numbered(attempts, run.current_attempt), _numbered(attempts, run.current_attempt - 1)
        return StageMaterial(
            output=None if current is None else current.output,
            evaluation=None if before is None else before.evaluation,
        )
    if run.current_stage is not Stage.REVISING:
        return _NOTHING
    best, base = best_attempt(attempts), _numbered(attempts, run.current_attempt - 1)
    evaluation = None if base is None else base.evaluation
    if best is not None and best is not base and policy_of(run.policy).revise_from is ReviseFrom.BEST:
        base, evaluation = best, _with_later_tries(best, attempts)
    return StageMaterial(
        output=None if base is None else base.output,
        evaluation=evaluation,
        base_attempt=None if base is None else base.number,
        best=best,
        history=tuple(attempt for attempt in attempts if attempt.evaluation is not None),
    )


def revised_attempt(run: Run, attempts: Sequence[PastAttempt]) -> PastAttempt | None:
    """Return the attempt of which the current output is a revision from the best; None where it is none."""
    policy = policy_of(run.policy)
    if policy.revise_from is not ReviseFrom.BEST or run.current_attempt <= policy.drafts:
        return None
    return best_attempt(attempt for attempt in attempts if attempt.number < run.current_attempt)


def known_outcome(run: Run, attempts: Sequence[PastAttempt]) -> Evaluated | None:
    """Return the evaluation of a draft that equals an earlier output, where the policy has ``repeat``; else None."""
    policy = policy_of(run.policy)
    if not policy.stop.repeat or run.current_attempt > policy.drafts:
        return None
    current = _numbered(attempts, run.current_attempt)
    if current is None or current.output is None:
        return None
    earlier = [attempt for attempt in attempts if attempt.number < run.current_attempt and attempt.evaluation]
    equal = equal_attempt(earlier, current.output.content, is_json=current.output.is_json)
    return Evaluated(equal.evaluation) if equal is not None and equal.evaluation is not None else None


def _numbered(attempts: Sequence[PastAttempt], number: int) -> PastAttempt | None:
    for attempt in reversed(attempts):
        if attempt.number == number:
            return attempt
    return None


def _with_later_tries(base: PastAttempt, attempts: Sequence[PastAttempt]) -> Evaluation | None:
    """Return the evaluation of ``base`` with a line in its feedback for each attempt that came after it."""
    assert base.evaluation is not None
    lines = [
        f"Attempt {later.number} tried to improve this and came to {later.evaluation.score:.2f}: "
        f"{later.evaluation.feedback}"
        for later in attempts
        if later.number > base.number and later.evaluation is not None
    ]
    feedback = "\n".join([base.evaluation.feedback, *lines]) if base.evaluation.feedback else "\n".join(lines)
    return attrs.evolve(base.evaluation, feedback=feedback)
