"""Tests of the points of feedback."""

import pytest

from loopkit_web.dashboard.markup import diff
from loopkit_web.dashboard.views.evaluations import Criterion, EvaluationView
from loopkit_web.dashboard.views.feedback_points import (
    Point,
    hunk_words,
    is_praise,
    mentioned_share,
    points_of,
    word_counts,
)


def test_feedback_is_split_into_points() -> None:
    """Sentences and list items are points; a point that mentions a criterion belongs to it."""
    points = points_of(
        EvaluationView(
            attempt=1,
            score=0.5,
            feedback="- Name a source.\n- Shorter!\n\nThe evidence is thin. It ends at 1.5 GB.",
            criteria=(Criterion(name="evidence", score=0.2, pass_mark=0.7),),
        )
    )
    assert [point.text for point in points] == [
        "Name a source.",
        "Shorter!",
        "The evidence is thin.",
        "It ends at 1.5 GB.",
    ]
    assert [point.criterion for point in points] == [None, None, "evidence", None]


def test_share_of_the_worked_example() -> None:
    """The example of the module's docstring: two changed words, and three unchanged ones that count 0.6 each."""
    point = Point(text="The free tier is 100 GB a month, not 50.")
    [hunk] = diff.line_diff("The free tier ends at 50 GB a month.", "The free tier ends at 100 GB a month.")
    assert isinstance(hunk, diff.Hunk)
    assert point.words == {"fre", "tier", "100", "month", "50"}
    assert mentioned_share(point, hunk_words(hunk), word_counts([point])) == pytest.approx(3.8 / 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Nothing is missing.", True),
        ("Nothing to add.", True),
        ("The limits are right now.", True),
        ("Fine since attempt 2.", True),
        ("Well written, no further remarks.", True),
        ("Great work.", True),
        ("Good reach, but half the figures have no source.", False),
        ("A good source is missing.", False),
        ("It is not clear who pays.", False),
        ("Make it good.", False),
        ("Cut the text to 700 words.", False),
        ("Is this right?", False),
        ("No sources.", False),
        ("Shorter!", False),
        ("", False),
    ],
)
def test_praise_asks_for_nothing(text: str, expected: bool) -> None:
    """A sentence that praises is no point; one that also asks for something is."""
    assert is_praise(text) is expected


def test_praise_is_no_point() -> None:
    """Neither a sentence of praise nor what is said of a criterion with its full score is a point."""
    criteria = (
        Criterion(name="style", score=1.0, pass_mark=0.7, feedback="Reads like the house style."),
        Criterion(name="facts", score=0.6, pass_mark=0.7, feedback="The limits are right now. Date the prices."),
    )
    evaluation = EvaluationView(attempt=1, score=0.5, feedback="Nothing is missing. Shorter!", criteria=criteria)
    assert [point.text for point in points_of(evaluation)] == ["Date the prices.", "Shorter!"]
