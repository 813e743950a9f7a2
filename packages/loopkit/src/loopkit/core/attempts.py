"""Attempts of a run, read from what is stored of them, and the rules of a policy that compare them."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from loopkit.core import strict_json
from loopkit.core.journal import Artifact, ArtifactType, NewArtifact
from loopkit.core.outcome import Evaluation
from loopkit.core.policy import Policy
from loopkit.core.values import value

__all__ = [
    "Best",
    "PastAttempt",
    "attempts_of",
    "best_attempt",
    "better_score",
    "equal_attempt",
    "evaluation_of",
    "is_flat",
    "read_evaluation",
    "with_artifact",
]

_DECIMALS: Final = 9
"""Decimals to which a computed number is rounded before it is compared."""


Best = tuple[float | None, int | None]
"""Best score and its attempt; None and None before the first score."""


@value
class PastAttempt:
    """One attempt of which something is stored."""

    number: int
    output: Artifact | NewArtifact | None = None
    evaluation: Evaluation | None = None

    @property
    def value(self) -> float:
        """Number that is compared with other attempts: ``raw`` where the evaluation has it, else the score."""
        assert self.evaluation is not None
        raw = strict_json.finite_number(self.evaluation.rest.get("raw"))
        return self.evaluation.score if raw is None else raw


def read_evaluation(artifact: Artifact | NewArtifact) -> Evaluation:
    """Read an evaluation from its artifact; without a usable score (another program wrote it) the score is 0.0."""
    return evaluation_of(strict_json.loads_or_text(artifact.content))


def evaluation_of(value: Any) -> Evaluation:
    """Read an evaluation from the value of its JSON text, as :func:`read_evaluation` does."""
    value = dict(value) if isinstance(value, dict) else {"score": value}
    score = value.pop("score", None)
    feedback = value.pop("feedback", "")
    usable = isinstance(score, int | float) and not isinstance(score, bool) and 0 <= score <= 1
    return Evaluation(float(score) if usable else 0.0, str(feedback), rest=value)


def attempts_of(artifacts: Iterable[Artifact]) -> tuple[PastAttempt, ...]:
    """Return the attempts that artifacts hold, by number."""
    found: dict[int, PastAttempt] = {}
    for artifact in artifacts:
        attempt = found.get(artifact.attempt, PastAttempt(artifact.attempt))
        found[artifact.attempt] = _with_result(attempt, artifact)
    return tuple(found[number] for number in sorted(found))


def with_artifact(
    attempts: Sequence[PastAttempt], artifact: NewArtifact, evaluation: Evaluation | None = None
) -> tuple[PastAttempt, ...]:
    """Return attempts with an artifact added to the newest of them, or as a new one after it.

    ``evaluation``: that of the artifact, where it is at hand; it counts as its text would be read.
    """
    if evaluation is not None and (evaluation.rest or type(evaluation.score) is not float):
        evaluation = None  # JSON need not give it back as it is
    if attempts and attempts[-1].number == artifact.attempt:
        return (*attempts[:-1], _with_result(attempts[-1], artifact, evaluation))
    return (*attempts, _with_result(PastAttempt(artifact.attempt), artifact, evaluation))


def _with_result(
    attempt: PastAttempt, artifact: Artifact | NewArtifact, evaluation: Evaluation | None = None
) -> PastAttempt:
    if artifact.artifact_type is ArtifactType.OUTPUT:
        return PastAttempt(attempt.number, artifact, attempt.evaluation)
    return PastAttempt(attempt.number, attempt.output, read_evaluation(artifact) if evaluation is None else evaluation)


def best_attempt(attempts: Iterable[PastAttempt]) -> PastAttempt | None:
    """Return the evaluated attempt with the highest score, the earliest of equals; None when none is evaluated."""
    evaluated = [attempt for attempt in attempts if attempt.evaluation is not None]
    return max(evaluated, key=lambda attempt: attempt.evaluation.score if attempt.evaluation else 0.0, default=None)


def better_score(best_score: float | None, best_attempt: int | None, score: float, attempt: int) -> Best:
    """Return the better of the best score so far and a new one; of equal scores the earlier stays."""
    if best_score is not None and best_score >= score:
        return best_score, best_attempt
    return score, attempt


def equal_attempt(attempts: Iterable[PastAttempt], content: str, *, is_json: bool) -> PastAttempt | None:
    """Return the earliest attempt whose output is the given one; None when there is none."""
    for attempt in attempts:
        output = attempt.output
        if output is not None and output.is_json == is_json and output.content == content:
            return attempt
    return None


def is_flat(policy: Policy, attempts: Sequence[PastAttempt]) -> bool:
    """Return True when the newest ``patience`` attempts are revisions of which none is better than all before them."""
    patience = policy.stop.patience
    evaluated = [attempt for attempt in attempts if attempt.evaluation is not None]
    if patience is None or len(evaluated) <= patience:
        return False
    newest, before = evaluated[-patience:], evaluated[:-patience]
    if newest[0].number <= policy.drafts:
        return False
    best = max(attempt.value for attempt in before)
    return all(round(attempt.value - best, _DECIMALS) <= policy.stop.min_delta for attempt in newest)
