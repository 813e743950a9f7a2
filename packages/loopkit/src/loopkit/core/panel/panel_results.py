"""Results of checks and judges: the samples of one judge taken together, criterion by criterion.

A criterion is the mean of its samples; a judge that was asked for criteria is their mean by weight, any other the mean
of its samples. Of several reasons the one that came with the lowest score is kept: it says most to a reviser.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeGuard

from loopkit.core.panel.panel_rules import JudgeRule, PanelRules, weighted_mean
from loopkit.core.panel.verdict import Verdict
from loopkit.core.values import value

__all__ = ["CheckResult", "CriterionScore", "JudgeResult", "failing_judge", "judge_result", "read_criteria"]


@value
class CheckResult:
    """Answer of a check."""

    name: str
    ok: bool
    feedback: str = ""


@value(kw_only=True)
class CriterionScore:
    """Score of one criterion, and why."""

    name: str
    score: float
    """0.0..1.0."""
    feedback: str = ""
    pass_mark: float | None = None
    weight: float | None = None
    """None for a criterion that an evaluator gave by itself: it is shown and has no part in the score."""

    @property
    def is_below_mark(self) -> bool:
        """True when it was asked for and is below its pass mark: the score is then held under the threshold."""
        return self.weight is not None and self.pass_mark is not None and self.score < self.pass_mark


@value(kw_only=True)
class JudgeResult:
    """All samples of one judge taken together, or its error."""

    rule: JudgeRule
    score: float | None = None
    """0.0..1.0; None when it has an error."""
    samples: Sequence[float] = ()
    """Scores of its samples, in order."""
    criteria: Sequence[CriterionScore] = ()
    feedback: str = ""
    error: str | None = None


def judge_result(rule: JudgeRule, verdicts: Sequence[Verdict], error: str | None = None) -> JudgeResult:
    """Return the result of a judge from its verdicts, at least one; with an error they only show what came."""
    samples = tuple(verdict.score for verdict in verdicts)
    if error is not None:
        return JudgeResult(rule=rule, samples=samples, error=error)
    criteria = tuple(_merged_criteria(rule, verdicts))
    if rule.criteria:
        score = weighted_mean((criterion.score, criterion.weight or 0) for criterion in criteria)
    else:
        score = _mean(samples)
    lowest = min(verdicts, key=lambda verdict: verdict.score)
    return JudgeResult(rule=rule, score=score, samples=samples, criteria=criteria, feedback=lowest.feedback)


def failing_judge(rules: PanelRules, results: Sequence[JudgeResult]) -> JudgeResult | None:
    """Return the counted judge whose error is that of the stage; None when enough counted judges have answered."""
    counted = [result for result in results if result.rule.is_counted]
    if sum(result.error is None for result in counted) >= rules.needed:
        return None
    return next(result for result in counted if result.error is not None)


def read_criteria(value: object) -> Iterator[CriterionScore]:
    """Yield the criteria of an evaluation, as an evaluator may give them; what has no score in 0..1 is left out."""
    if not isinstance(value, Mapping):
        return
    for name, item in value.items():
        entry = item if isinstance(item, Mapping) else {"score": item}
        score, feedback, mark = entry.get("score"), entry.get("feedback"), entry.get("pass_mark")
        if _is_share(score):
            yield CriterionScore(
                name=str(name),
                score=float(score),
                feedback=feedback if isinstance(feedback, str) else "",
                pass_mark=float(mark) if _is_share(mark) else None,
            )


def _merged_criteria(rule: JudgeRule, verdicts: Sequence[Verdict]) -> Iterator[CriterionScore]:
    given = [
        {criterion.name: criterion for criterion in read_criteria(verdict.detail.get("criteria"))}
        for verdict in verdicts
    ]
    for name in rule.criteria or dict.fromkeys(name for criteria in given for name in criteria):
        scores = [criteria[name] for criteria in given if name in criteria]
        asked, lowest = rule.criteria.get(name), min(scores, key=lambda criterion: criterion.score)
        yield CriterionScore(
            name=name,
            score=_mean([criterion.score for criterion in scores]),
            feedback=lowest.feedback,
            pass_mark=lowest.pass_mark if asked is None else asked.pass_mark,
            weight=None if asked is None else asked.weight,
        )


def _mean(scores: Sequence[float]) -> float:
    return weighted_mean((score, 1.0) for score in scores)


def _is_share(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
