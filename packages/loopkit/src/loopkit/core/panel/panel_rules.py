"""Rules of a panel: what its configuration says about names, weights, pass marks and how many must answer.

They hold what decides a score, and nothing of how a check or a judge is asked.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from statistics import median
from typing import Final

import attrs

from loopkit.core.values import value

__all__ = [
    "LOWEST_THRESHOLD",
    "Combine",
    "CriterionRule",
    "JudgeRule",
    "PanelRules",
    "combined_score",
    "is_close",
    "rounded",
    "weighted_mean",
]

DECIMALS: Final = 9
"""Decimals to which every computed number is rounded, before it is compared or stored."""

LOWEST_THRESHOLD: Final = 0.02
"""Least pass threshold with checks or a binding pass mark: below it their held scores would pass."""


class Combine(StrEnum):
    """Way in which the scores of the counted judges become one."""

    MEAN = "mean"
    """Mean by weight."""
    MEDIAN = "median"
    """Middle one, or the mean of the middle two; weights do not matter."""
    MIN = "min"
    """Lowest; weights do not matter."""


@value(kw_only=True)
class CriterionRule:
    """Weight of a criterion that a prompt judge is asked for, and the score that it must reach."""

    weight: float = 1.0
    pass_mark: float | None = None
    """Score, 0.0..1.0, below which the whole score is held under the threshold; None: none."""


@value(kw_only=True)
class JudgeRule:
    """Part of a judge in the score."""

    name: str
    weight: float = 1.0
    """0: a shadow, whose scores are stored and never counted."""
    criteria: Mapping[str, CriterionRule] = attrs.field(factory=dict)
    """Criteria that it is asked for; empty where it gives a score of its own."""

    @property
    def is_counted(self) -> bool:
        """True when its score counts."""
        return self.weight > 0


@value(kw_only=True)
class PanelRules:
    """Rules by which the answers of checks and judges become one evaluation."""

    checks: Sequence[str] = ()
    """Names of the checks, in order."""
    judges: Sequence[JudgeRule] = ()
    combine: Combine = Combine.MEAN
    quorum: int | None = None
    """Counted judges that must answer; None: all."""
    is_lone: bool = False
    """True for a prompt that stands alone as the evaluator: its criteria and samples are at the top of the document."""

    @property
    def counted(self) -> tuple[JudgeRule, ...]:
        """Judges whose scores count."""
        return tuple(judge for judge in self.judges if judge.is_counted)

    @property
    def needed(self) -> int:
        """Number of counted judges that must answer."""
        return len(self.counted) if self.quorum is None else self.quorum

    @property
    def holds_scores(self) -> bool:
        """True when a check or a binding pass mark may hold a score below the pass threshold."""
        marks = (criterion.pass_mark for judge in self.counted for criterion in judge.criteria.values())
        return bool(self.checks) or any(mark is not None for mark in marks)


def rounded(number: float) -> float:
    """Return a computed number as it is compared and stored."""
    return round(number, DECIMALS)


def weighted_mean(scores: Iterable[tuple[float, float]]) -> float:
    """Return the mean of pairs of a score and its weight, which is greater than 0."""
    pairs = list(scores)
    return rounded(math.fsum(score * weight for score, weight in pairs) / math.fsum(weight for _, weight in pairs))


def combined_score(combine: Combine, scores: Sequence[tuple[float, float]]) -> float:
    """Return one score for pairs of a counted judge's score and weight; there is at least one."""
    if combine is Combine.MEDIAN:
        return rounded(median(score for score, _ in scores))
    if combine is Combine.MIN:
        return rounded(min(score for score, _ in scores))
    return weighted_mean(scores)


def is_close(first_score: float, pass_threshold: float, close: float | None) -> bool:
    """Determine whether a judge's first score asks for its further samples; without ``close`` it always does."""
    return close is None or rounded(abs(first_score - pass_threshold)) <= close
