"""Tests of the comparison of two attempts."""

import pytest

from loopkit_web.dashboard.markup import diff
from loopkit_web.dashboard.views import comparison
from loopkit_web.dashboard.views.comparison import CriterionChange, MatchedChange, Verdict
from loopkit_web.dashboard.views.evaluations import Criterion, EvaluationView
from loopkit_web.dashboard.views.feedback_points import Point, points_of

BEFORE = "Pro costs $29 per host.\n\nThe free tier ends at 50 GB a month.\n\nNotes."
AFTER = f"{BEFORE.replace('50 GB', '100 GB')}\n\nA poem about clouds and their shapes."


def evaluation(score: float | None, feedback: str = "", **criteria: tuple[float, str]) -> EvaluationView:
    """Return an evaluation; each criterion is given by its score and feedback, and has the pass mark 0.7."""
    return EvaluationView(
        attempt=1,
        score=score,
        feedback=feedback,
        criteria=tuple(
            Criterion(name=name, score=criterion_score, pass_mark=0.7, feedback=text)
            for name, (criterion_score, text) in criteria.items()
        ),
    )


def matched(before: EvaluationView, after: EvaluationView) -> tuple[list[MatchedChange], list[Point]]:
    """Return the changes from BEFORE to AFTER, matched with the earlier feedback, and the points that stay open."""
    changes = comparison.criterion_changes(before, after, 0.8)
    points = points_of(before)
    parts = comparison.match_changes(diff.line_diff(BEFORE, AFTER), points, changes)
    found = [part for part in parts if isinstance(part, MatchedChange)]
    return found, comparison.open_points(points, found, changes)


def test_change_is_matched_with_the_point_it_mentions() -> None:
    """A change is shown with the feedback whose words it shares; one without such feedback says so."""
    before = evaluation(0.5, "The free tier is 100 GB a month, not 50. Name the price in euro.")
    changes, still_open = matched(before, evaluation(0.6))
    assert [change.verdict for change in changes] == [Verdict.ADDRESSED, Verdict.UNRELATED]
    assert changes[0].points[0].text == "The free tier is 100 GB a month, not 50."
    assert [point.text for point in still_open] == ["Name the price in euro."]


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (0.62, Verdict.ADDRESSED),
        (0.5, Verdict.PARTLY),
        (0.48, Verdict.PARTLY),
        (0.40, Verdict.REGRESSED),
        (0.9, Verdict.ADDRESSED),
    ],
)
def test_criterion_decides_the_verdict(after: float, verdict: Verdict) -> None:
    """A criterion that rose was addressed, one that did not was partly addressed; one that regressed says so."""
    before = evaluation(0.5, limits=(0.5, "The free tier is 100 GB a month, not 50."))
    changes, _ = matched(before, evaluation(0.6, limits=(after, "")))
    assert changes[0].verdict is verdict
    assert [criterion.name for criterion in changes[0].criteria] == ["limits"]


def test_point_is_closed_when_its_criterion_passes() -> None:
    """A point that no change mentions is closed once its criterion has reached its pass mark."""
    before = evaluation(0.5, tone=(0.6, "Warmer, please, like a letter."))
    assert [point.criterion for point in matched(before, evaluation(0.6, tone=(0.6, "")))[1]] == ["tone"]
    assert matched(before, evaluation(0.6, tone=(0.8, "")))[1] == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (-0.14, "regressed"),
        (-0.05, "regressed"),
        (-0.03, "slightly worse"),
        (0.0, "unchanged"),
        (0.02, "slightly better"),
        (0.3, "better"),
    ],
)
def test_change_as_text(change: float, text: str) -> None:
    """From -0.05 on a criterion has regressed."""
    criterion = CriterionChange(name="c", pass_mark=0.7, before=0.5, after=0.5 + change)
    assert criterion.text == text
    assert criterion.has_regressed == (text == "regressed")


def test_headline_answers_the_question() -> None:
    """The headline says yes or no, by how much, and what speaks against the later attempt."""
    points = [Point(text="a point")]
    rose = comparison.criterion_changes(evaluation(0.5), evaluation(0.7), 0.8)
    assert comparison.headline(rose, [], []) == "Yes. The score rose by 0.20."
    fell = comparison.criterion_changes(evaluation(0.7, tone=(0.8, "")), evaluation(0.6, tone=(0.6, "")), 0.8)
    assert comparison.headline(fell, points, points) == (
        "No. The score fell by 0.10; the only point of the feedback is still open and tone regressed."
    )
    unknown = comparison.criterion_changes(evaluation(None), evaluation(0.6), 0.8)
    assert comparison.headline(unknown, [], []) == "One side has no score, so only the outputs can be compared."


def test_scores_of_different_scales_are_not_compared() -> None:
    """Both scores are given, without a change or a better or worse."""
    changes = comparison.criterion_changes(
        evaluation(0.5, tone=(0.9, "")), evaluation(0.7, tone=(0.2, "")), 0.8, is_comparable=False
    )
    assert [(change.before, change.after, change.change, change.text) for change in changes] == [
        (0.9, 0.2, None, "not comparable"),
        (0.5, 0.7, None, "not comparable"),
    ]
    assert not any(change.has_regressed for change in changes)
