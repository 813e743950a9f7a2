"""Evaluation by a panel: its score and its document, from the answers of checks and judges.

Worked example, with a pass threshold of 0.8: two checks hold; a judge of weight 2 gives 0.9, one of weight 1 gives 0.6.
The score is (2 * 0.9 + 0.6) / 3 = 0.8, which passes. If a criterion of the first judge is below its pass mark, the
score is held at 0.79 and the document has the 0.8 as ``raw``. If one of the two checks does not hold, no judge is asked
and the score is 0.8 / 2 * 1 / 2 = 0.2.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from loopkit.core.outcome import Evaluation
from loopkit.core.panel.panel_feedback import BaseCriteria, panel_feedback
from loopkit.core.panel.panel_results import CheckResult, CriterionScore, JudgeResult
from loopkit.core.panel.panel_rules import PanelRules, combined_score, rounded, weighted_mean

__all__ = ["evaluate_panel"]

HELD_BELOW: Final = 0.01
"""Distance from the pass threshold at which a score with a missed pass mark is held."""


def evaluate_panel(
    rules: PanelRules,
    checks: Sequence[CheckResult],
    judges: Sequence[JudgeResult],
    *,
    pass_threshold: float,
    base: BaseCriteria | None = None,
) -> Evaluation:
    """Return the evaluation of an output.

    Args:
        rules: the panel's rules.
        checks: answers of all checks.
        judges: results of all judges, shadows too; empty where a check does not hold. Enough of them have answered.
        pass_threshold: threshold of the run.
        base: criteria of the attempt that was revised, with ``revise_from: best``.
    """
    merged = _merged(result for result in judges if result.rule.is_counted and result.error is None)
    score, raw = _score(rules, checks, judges, pass_threshold)
    rest: dict[str, Any] = {}
    if merged:
        rest["criteria"] = {criterion.name: _criterion_document(criterion) for criterion in merged}
    if checks:
        rest["checks"] = {check.name: {"ok": check.ok, "feedback": check.feedback} for check in checks}
    if rules.is_lone:
        rest["samples"] = list(judges[0].samples)
    elif judges:
        rest["judges"] = {result.rule.name: _judge_document(result) for result in judges}
    if raw is not None:
        rest["raw"] = raw
    return Evaluation(score, panel_feedback(rules, checks, judges, merged=merged, base=base), rest=rest)


def _score(
    rules: PanelRules, checks: Sequence[CheckResult], judges: Sequence[JudgeResult], pass_threshold: float
) -> tuple[float, float | None]:
    """Return the score, and the score that it would be without a missed pass mark; None where none is missed."""
    holding = sum(check.ok for check in checks)
    if holding < len(checks):
        return rounded(pass_threshold / 2 * holding / len(checks)), None
    answered = [result for result in judges if result.rule.is_counted and result.error is None]
    scores = [(result.score, result.rule.weight) for result in answered if result.score is not None]
    if not scores:
        return 1.0, None
    score = combined_score(rules.combine, scores)
    if any(criterion.is_below_mark for result in answered for criterion in result.criteria):
        return min(score, rounded(max(0.0, pass_threshold - HELD_BELOW))), score
    return score, None


def _merged(results: Iterable[JudgeResult]) -> list[CriterionScore]:
    """Return the criteria of several judges, each as the mean over those that have it, with the strictest mark."""
    named: dict[str, list[CriterionScore]] = {}
    for result in results:
        for criterion in result.criteria:
            named.setdefault(criterion.name, []).append(criterion)
    return [_mean_criterion(name, scores) for name, scores in named.items()]


def _mean_criterion(name: str, scores: Sequence[CriterionScore]) -> CriterionScore:
    marks = [criterion.pass_mark for criterion in scores if criterion.pass_mark is not None]
    weights = [criterion.weight for criterion in scores if criterion.weight is not None]
    return CriterionScore(
        name=name,
        score=weighted_mean((criterion.score, 1.0) for criterion in scores),
        feedback=min(scores, key=lambda criterion: criterion.score).feedback,
        pass_mark=max(marks, default=None),
        weight=weighted_mean((weight, 1.0) for weight in weights) if weights else None,
    )


def _criterion_document(criterion: CriterionScore) -> Mapping[str, Any]:
    document = {
        "score": criterion.score,
        "feedback": criterion.feedback,
        "pass_mark": criterion.pass_mark,
        "weight": criterion.weight,
    }
    return {key: value for key, value in document.items() if value is not None}


def _judge_document(result: JudgeResult) -> Mapping[str, Any]:
    document: dict[str, Any] = {
        "score": result.score,
        "weight": result.rule.weight,
        "samples": list(result.samples),
        "feedback": result.feedback,
    }
    if result.criteria:
        document["criteria"] = {criterion.name: _criterion_document(criterion) for criterion in result.criteria}
    if result.error is not None:
        document["error"] = result.error
    return document
