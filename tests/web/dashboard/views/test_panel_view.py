"""Checks and judges as the evaluation tab shows them: from stored evaluations, whoever wrote them."""

import json
from typing import Any

import pytest

from loopkit_web.dashboard.markup.text_allowance import TextAllowance
from loopkit_web.dashboard.views.evaluations import evaluation_view
from loopkit_web.dashboard.views.panel_view import (
    NO_ANSWERS,
    CheckAnswer,
    JudgeScore,
    PanelAnswers,
    panel_answers,
    panel_rows,
)
from tests.web.dashboard.value_helpers import make_evaluation


def judge(name: str, **fields: Any) -> JudgeScore:
    defaults: dict[str, Any] = {"score": 0.5, "samples": (), "weight": None, "words": "", "has_failed": False}
    return JudgeScore(name=name, **{**defaults, **fields})


def test_a_panel_as_loopkit_stores_it() -> None:
    """Checks, judges with their samples, a failed shadow, and the score without a missed mark."""
    document = {
        "checks": {"sources": {"ok": True, "feedback": ""}, "prose": {"ok": False, "feedback": "passive"}},
        "judges": {
            "facts": {"score": 0.7, "weight": 2, "samples": [0.6, 0.8], "feedback": "thin"},
            "other": {"score": None, "weight": 0, "samples": [], "feedback": "", "error": "timed out"},
        },
        "raw": 0.9,
    }
    answers = panel_answers(document)
    facts = judge("facts", score=0.7, weight=2.0, samples=(0.6, 0.8), words="thin")
    other = judge("other", score=None, weight=0.0, words="timed out", has_failed=True)
    assert answers == PanelAnswers(
        checks=(CheckAnswer(name="sources", ok=True, words=""), CheckAnswer(name="prose", ok=False, words="passive")),
        judges=(facts, other),
        raw=0.9,
    )
    assert (facts.spread, other.spread, facts.is_shadow, other.is_shadow) == ((0.6, 0.8), None, False, True)


@pytest.mark.parametrize(
    "document",
    [
        {"checks": [1], "judges": "x", "raw": "high"},
        {"checks": {"a": 1, "b": {"ok": "yes"}, "c": None}, "judges": {"a": 0.5, "b": {"score": "x"}, "c": {}}},
        {"judges": {"a": {"score": True}, "b": {"error": 5}}, "raw": None},
    ],
)
def test_what_is_not_as_loopkit_stores_it_is_left_out(document: dict[str, Any]) -> None:
    """Other programs write evaluations too."""
    assert panel_answers(document) == NO_ANSWERS


def test_counts_and_texts_are_bounded() -> None:
    """However much an evaluation holds, a page can show what is read of it, and says that it is not whole."""
    parts = {
        f"{number} " + "n" * 5_000: {"score": 0.5, "samples": [0.5] * 1_000, "feedback": "f" * 5_000}
        for number in range(200)
    }
    answers = panel_answers({"judges": parts, "checks": {name: {"ok": True} for name in parts}})
    assert (len(answers.judges), len(answers.checks), answers.is_cut) == (100, 100, True)
    assert (len(answers.judges[0].samples), len(answers.judges[0].words) < 1_100) == (32, True)
    allowance = TextAllowance(10_000)
    rows = panel_rows([answers.judges] * 8, allowance)
    assert len(rows) == 100
    assert sum(len(row.words) for row in rows) < 10_300


def test_a_row_holds_all_attempts() -> None:
    """A part that an attempt lacks leaves a gap; the newest words are shown."""
    first = [judge("a", words="one"), judge("gone", words="x")]
    rows = panel_rows([first, [judge("new")], [judge("a", score=0.9)]], TextAllowance(1_000))
    assert [(row.name, [cell and cell.score for cell in row.cells], row.words) for row in rows] == [  # type: ignore[union-attr]
        ("a", [0.5, None, 0.9], "one"),
        ("new", [None, 0.5, None], ""),
        ("gone", [0.5, None, None], "x"),
    ]


def test_the_beginning_of_a_large_evaluation_is_read() -> None:
    """Of an evaluation of which only a part was read, the whole members count."""
    content = json.dumps(
        {"score": 0.4, "checks": {"a": {"ok": False, "feedback": "x"}}, "judges": {"b": {"score": 0.5}}}
    )
    view = evaluation_view(make_evaluation(content), 0.8)
    assert [check.name for check in view.panel.checks] == ["a"]
    assert [part.name for part in view.panel.judges] == ["b"]
