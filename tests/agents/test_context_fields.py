"""Values in the context of a stage can be read by attribute and by name."""

import pytest

from loopkit.agents.context import BestAttempt, HistoryEntry
from loopkit.core.ledger.budget import BudgetLeft
from loopkit.core.outcome import Evaluation
from loopkit.testing import context


def test_fields_are_read_by_name_too() -> None:
    """A field has the same value both ways; a name that is none is a KeyError, methods included."""
    entry, left = HistoryEntry(1, 0.5, "so"), BudgetLeft(tokens=3)
    best = BestAttempt(2, "text", Evaluation(0.6))
    assert (entry["score"], entry["feedback"], left["tokens"], left["usd"]) == (entry.score, "so", 3, None)
    assert best["evaluation"]["score"] == 0.6
    assert dict(entry) == {"attempt": 1, "score": 0.5, "feedback": "so"}
    assert {**left} == left.document()
    assert (list(best), len(best), "output" in best) == (["attempt", "output", "evaluation"], 3, True)
    assert {entry, HistoryEntry(1, 0.5, "so")} == {entry}
    for name in ("Score", "document", "__class__"):
        with pytest.raises(KeyError):
            left[name]


def test_no_history_is_an_empty_list() -> None:
    """As in the document that programs get."""
    assert context().history == []
    assert context().document()["history"] == []
