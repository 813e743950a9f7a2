"""Feedback of a panel: one text for the reviser, the worst first, made by code from what checks and judges said.

It is the only place that makes it, for every attempt alike. A reviser repairs what it is told precisely, so a line
names the check, criterion or judge and gives the reason as it was said.
"""

from collections.abc import Iterator, Mapping, Sequence

from loopkit.core.panel.panel_results import CheckResult, CriterionScore, JudgeResult, read_criteria
from loopkit.core.panel.panel_rules import PanelRules, rounded
from loopkit.core.values import value

__all__ = ["BaseCriteria", "panel_feedback"]

FAILED_CHECK = "does not hold"
"""Feedback of a failed check that gave none."""


@value
class BaseCriteria:
    """Criteria of the attempt from which a revision was made, with ``revise_from: best``."""

    attempt: int
    criteria: object
    """Value of the key ``criteria`` of its evaluation."""


def panel_feedback(
    rules: PanelRules,
    checks: Sequence[CheckResult],
    judges: Sequence[JudgeResult],
    *,
    merged: Sequence[CriterionScore] = (),
    base: BaseCriteria | None = None,
) -> str:
    """Return the feedback of a panel.

    Args:
        rules: the panel's rules.
        checks: answers of the checks; the failed ones are all that is said, where there are any.
        judges: results of the judges; of shadows and of those with an error nothing is said.
        merged: criteria of the whole panel, which are compared with those of ``base``.
        base: criteria of the attempt that was revised; None: nothing is compared.
    """
    failed = [check for check in checks if not check.ok]
    if failed:
        return "\n".join(f"{check.name}: {check.feedback or FAILED_CHECK}" for check in failed)
    answered = [result for result in judges if result.rule.is_counted and result.error is None]
    fallen = [] if base is None else list(_fallen_lines(merged, base))
    if len(rules.counted) == 1 and answered and not answered[0].rule.criteria and answered[0].feedback:
        return "\n".join([answered[0].feedback, *fallen])
    lines = sorted((line for result in answered for line in _lines(result)), key=lambda line: -line[0])
    return "\n".join([*(text for _, text in lines), *fallen])


def _lines(result: JudgeResult) -> Iterator[tuple[float, str]]:
    """Yield the lines about one judge, each with what it costs; a judge's own words stand for its criteria."""
    assert result.score is not None
    if result.feedback and not result.rule.criteria:
        if loss := rounded(result.rule.weight * (1 - result.score)):
            yield loss, f"{result.rule.name}: {result.feedback}"
        return
    for criterion in result.criteria:
        weight = 1.0 if criterion.weight is None else criterion.weight
        if (loss := rounded(weight * (1 - criterion.score))) and (criterion.feedback or result.rule.criteria):
            yield loss, f"{criterion.name}: {criterion.feedback or f'{criterion.score:.2f} of 1'}"


def _fallen_lines(merged: Sequence[CriterionScore], base: BaseCriteria) -> Iterator[str]:
    before: Mapping[str, float] = {criterion.name: criterion.score for criterion in read_criteria(base.criteria)}
    for criterion in merged:
        if criterion.name in before and rounded(criterion.score - before[criterion.name]) < 0:
            fall = f"from {before[criterion.name]:.2f} in attempt {base.attempt} to {criterion.score:.2f}"
            yield f"{criterion.name} fell {fall}: keep what was better there"
