"""Tests of stored evaluations, which other programs write too."""

import json

import pytest

from loopkit_web.dashboard.views.evaluations import Criterion, evaluation_view, evaluation_views
from tests.web.dashboard.value_helpers import make_artifact, make_evaluation


def test_criteria_have_their_own_pass_mark_or_the_threshold() -> None:
    """A criterion is a number, or an object with score, feedback and pass mark; without one the threshold counts."""
    content = '{"score": 0.5, "criteria": {"a": 0.6, "b": {"score": 0.7, "feedback": "thin", "pass_mark": 0.9}}}'
    view = evaluation_view(make_evaluation(content), 0.65)
    assert view.criteria == (
        Criterion(name="a", score=0.6, pass_mark=0.65),
        Criterion(name="b", score=0.7, pass_mark=0.9, feedback="thin"),
    )
    assert [criterion.name for criterion in view.below] == ["b", "a"]


@pytest.mark.parametrize(
    ("content", "score"),
    [
        ("0.4", 0.4),
        ("not JSON", None),
        ('{"score": true, "feedback": 3, "criteria": [1]}', None),
        ('{"score": 7, "criteria": {"a": "high", "b": null}}', 1.0),
    ],
)
def test_unusual_evaluations_are_read_as_far_as_possible(content: str, score: float | None) -> None:
    """Fields of a wrong type are left out, and scores are clamped to 0..1."""
    view = evaluation_view(make_evaluation(content), 0.8)
    assert (view.score, view.feedback, view.criteria) == (score, "", ())


def test_only_evaluations_are_read() -> None:
    """Outputs among the artifacts are skipped; the evaluations are returned by attempt."""
    artifacts = [make_artifact("text"), make_evaluation("0.4"), make_evaluation("0.9", attempt=2)]
    assert {number: view.score for number, view in evaluation_views(artifacts, 0.8).items()} == {1: 0.4, 2: 0.9}


def test_a_criterion_without_a_score_is_left_out() -> None:
    """A number that is no score is not shown as 1, and the view says that it is not whole."""
    content = '{"score": 0.5, "criteria": {"a": 7, "b": {"scor": 1}, "c": "x", "d": -0.1, "e": 1}}'
    view = evaluation_view(make_evaluation(content), 0.8)
    assert [(criterion.name, criterion.score) for criterion in view.criteria] == [("e", 1.0)]
    assert view.is_cut


def test_criteria_beyond_a_hundred_are_left_out() -> None:
    """However many criteria an evaluation has, 100 are read, and the view says that it is not whole."""
    criteria = {f"criterion {number}": 0.5 for number in range(16_000)}
    view = evaluation_view(make_evaluation(json.dumps({"score": 0.4, "criteria": criteria})), 0.8)
    assert len(view.criteria) == 100
    assert view.is_cut
    assert view.criterion("criterion 99") is view.criteria[-1]
    assert view.criterion("criterion 100") is None


def test_texts_of_an_evaluation_are_bounded() -> None:
    """Feedback and names of criteria are cut where a page could not show them."""
    criteria = {"n" * 5_000: {"score": 0.5, "feedback": "f" * 50_000}}
    content = json.dumps({"score": 0.4, "feedback": "f" * 50_000, "criteria": criteria})
    view = evaluation_view(make_evaluation(content), 0.8)
    assert view.is_cut
    assert len(view.feedback) < 17_000
    assert len(view.criteria[0].feedback) < 1_100
    assert len(view.criteria[0].name) < 300
