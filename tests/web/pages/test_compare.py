"""Feedback beside changes: which change answers what, what nobody asked for, and what is left open."""

from __future__ import annotations

from typing import Any

import pytest

from loopkit_web import compare
from loopkit_web.compare import Answer
from loopkit_web.rendering import diff
from loopkit_web.views.judging import Criterion, Judgement

BEFORE = "Pro costs $29 per host.\n\nThe free tier ends at 50 GB a month.\n\nNotes."
AFTER = f"{BEFORE.replace('50 GB', '100 GB')}\n\nA poem about clouds and their shapes."


def judgement(score: float | None, feedback: str = "", **criteria: tuple[float, str]) -> Judgement:
    found = tuple(Criterion(name=name, score=one[0], mark=0.7, feedback=one[1]) for name, one in criteria.items())
    return Judgement(attempt=1, score=score, feedback=feedback, criteria=found)


def matched(before: Judgement, after: Judgement, texts: tuple[str, str] = (BEFORE, AFTER)) -> tuple[list[Answer], Any]:
    changes = compare.deltas(before, after, 0.8)
    said = compare.points(before)
    found = compare.answers(diff.line_diff(*texts), said, changes)
    answers = [one for one in found if isinstance(one, Answer)]
    return answers, compare.left_open(said, answers, changes)


def test_a_change_answers_the_point_it_speaks_of() -> None:
    """A change beside the feedback whose words it shares; one that nothing asked for says so; the rest is open."""
    before = judgement(0.5, "The free tier is 100 GB a month, not 50. Name the price in euro.")
    answers, left = matched(before, judgement(0.6))
    assert [one.verdict for one in answers] == ["answered", "unasked"]
    assert answers[0].points[0].text == "The free tier is 100 GB a month, not 50."
    assert [point.text for point in left] == ["Name the price in euro."]


@pytest.mark.parametrize(
    ("after", "verdict"), [(0.62, "answered"), (0.5, "half"), (0.48, "half"), (0.40, "worse"), (0.9, "answered")]
)
def test_the_criterion_decides_how_well(after: float, verdict: str) -> None:
    """A criterion that rose was answered; one that stayed was half answered; one that regressed got worse."""
    before = judgement(0.5, limits=(0.5, "The free tier is 100 GB a month, not 50."))
    answers, _ = matched(before, judgement(0.6, limits=(after, "")))
    assert answers[0].verdict == verdict
    assert [delta.name for delta in answers[0].criteria] == ["limits"]


def test_what_has_reached_its_mark_is_not_open() -> None:
    """A point that no change answers counts as settled once its criterion passes."""
    before = judgement(0.5, tone=(0.6, "Warmer, please, like a letter."))
    assert [point.criterion for point in matched(before, judgement(0.6, tone=(0.6, "")))[1]] == ["tone"]
    assert matched(before, judgement(0.6, tone=(0.8, "")))[1] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (-0.14, "regressed"),
        (-0.05, "regressed"),
        (-0.03, "slightly worse"),
        (0.0, "the same"),
        (0.02, "slightly better"),
        (0.3, "better"),
    ],
)
def test_a_change_in_words(change: float, words: str) -> None:
    """From -0.05 on a criterion has regressed."""
    delta = compare.Delta(name="c", mark=0.7, before=0.5, after=0.5 + change)
    assert delta.words == words
    assert delta.has_regressed == (words == "regressed")


def test_the_first_line_answers_the_question() -> None:
    """Yes or no, by how much, and what speaks against it."""
    said = [compare.Point(text="a point")]
    rose = compare.deltas(judgement(0.5), judgement(0.7), 0.8)
    assert compare.sentence(rose, [], []) == "Yes. The score rose by 0.20."
    fell = compare.deltas(judgement(0.7, tone=(0.8, "")), judgement(0.6, tone=(0.6, "")), 0.8)
    assert compare.sentence(fell, said, said) == (
        "No. The score fell by 0.10, and 1 of 1 points raised was left open and tone regressed."
    )
    unknown = compare.deltas(judgement(None), judgement(0.6), 0.8)
    assert compare.sentence(unknown, [], []) == "One side has no score, so only the texts can be compared."


def test_feedback_is_cut_into_points() -> None:
    """Sentences and lines of a list are points; a point that names a criterion belongs to it."""
    found = compare.points(
        judgement(0.5, "- Name a source.\n- Shorter!\n\nThe evidence is thin. It ends at 1.5 GB.", evidence=(0.2, ""))
    )
    assert [point.text for point in found] == [
        "Name a source.",
        "Shorter!",
        "The evidence is thin.",
        "It ends at 1.5 GB.",
    ]
    assert [point.criterion for point in found] == [None, None, "evidence", None]
