"""JSON trees, differences, charts and words: what values become before a template draws them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.core.run import Run, RunStatus
from loopkit_web.rendering import charts, diff, json_tree, words

BEGINNING = datetime(2026, 11, 22, 9, tzinfo=UTC)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)
TEXT = st.text(alphabet="ab \n", max_size=60)


def run(**fields: Any) -> Run:
    given: dict[str, Any] = {"id": "run_1", "agent_name": "a", "cycle_id": "c", "status": RunStatus.RUNNING}
    given |= {"max_attempts": 3, "pass_threshold": 0.8, "inputs": {}, "created_at": BEGINNING, "started_at": BEGINNING}
    return Run(**given | fields)


# --- Words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "under 1 s"), (38, "38 s"), (252, "4m 12s"), (11_000, "3h 03m"), (187_300, "2d 4h")]
)
def test_the_words_of_a_span(seconds: int, expected: str) -> None:
    """Two units, the larger first."""
    assert words.duration(timedelta(seconds=seconds)) == expected


@given(st.text(), st.integers(8, 50))
def test_a_shortened_text_is_one_short_line(text: str, most: int) -> None:
    """No line break, and no longer than asked for (with the mark that something follows)."""
    short = words.shorten(text, most)
    assert "\n" not in short
    assert len(short) <= most + 2


def test_the_subject_is_the_first_text() -> None:
    """What a run is about is said by its first text, else by its first values."""
    assert words.subject({"n": 3, "thesis": "  Robots\nin the Alps "}) == "Robots in the Alps"
    assert words.subject({"n": 3, "deep": True}) == "N 3, Deep yes"


# --- JSON ----------------------------------------------------------------------------------------------------------


def nodes(node: json_tree.Node) -> int:
    return 1 + sum(map(nodes, node.children))


@given(JSON)
def test_a_tree_says_what_the_document_holds(value: Any) -> None:
    """As many children as there are, by their names."""
    node = json_tree.tree(value)
    if isinstance(value, dict):
        assert [child.key for child in node.children] == list(value)
        assert node.count == len(value)


def test_a_tree_is_bounded() -> None:
    """A document of a million values, or one nested without end, becomes a page that can be sent."""
    assert nodes(json_tree.tree([[0] * 1000] * 1000)) < 5_000
    deep: Any = 0
    for _ in range(500):
        deep = {"k": deep}
    assert nodes(json_tree.tree(deep)) < 60


def test_json_inside_a_text_is_opened() -> None:
    """A string that is a document is shown as one, and said to be one."""
    node = json_tree.tree({"reply": '{"a": [1, 2]}', "not": "{a}"})
    assert node.children[0].inside_text
    assert node.children[0].children[0].key == "a"
    assert node.children[1].kind == "string"


# --- Differences -----------------------------------------------------------------------------------------------------


def side(parts: list[Any], name: str, kind: str) -> list[str]:
    """Give one side of a difference again, line by line; what is the same is taken from what was before."""
    found: list[str] = []
    for part in parts:
        lines = part.lines if isinstance(part, diff.Same) else getattr(part, name)
        found += [line.text for line in lines if line.kind in ("same", kind)]
    return found


@given(TEXT, TEXT)
def test_a_difference_holds_both_texts(before: str, after: str) -> None:
    """From its parts both texts can be read again: nothing is lost and nothing is made up."""
    parts = diff.line_diff(before, after)
    assert side(parts, "before", "removed") == before.splitlines()
    assert side(parts, "after", "added") == after.splitlines()


@given(TEXT)
def test_equal_texts_have_no_changes(text: str) -> None:
    """Nothing changed means no hunk."""
    assert not any(isinstance(part, diff.Hunk) for part in diff.line_diff(text, text))


def test_words_are_marked_inside_a_changed_line() -> None:
    """Only what differs is marked; a line that has nothing in common is marked whole."""
    [hunk] = diff.line_diff("The tier ends at 50 GB.", "The tier ends at 100 GB.")
    assert isinstance(hunk, diff.Hunk)
    assert (hunk.removed, hunk.added) == ("50", "100")
    [other] = diff.line_diff("abc", "xyz uvw")
    assert isinstance(other, diff.Hunk)
    assert (other.removed, other.added) == ("abc", "xyz uvw")


def test_json_is_compared_by_path() -> None:
    """Each value that changed, came or went, with its path; the rest is counted."""
    parts = diff.json_diff({"a": {"b": 1, "c": "x"}, "l": [1]}, {"a": {"b": 2, "c": "x"}, "l": [1, 2]})
    hunks = [part for part in parts if isinstance(part, diff.Hunk)]
    assert [(one.path, one.removed, one.added) for one in hunks] == [("/a/b", "1", "2"), ("/l/1", "", "2")]
    assert parts[-1] == diff.Same(count=2)


def test_too_much_to_compare_is_said() -> None:
    """Beyond 20,000 words or 4,000 lines nothing is compared."""
    assert diff.is_too_large("a " * 20_001, "")
    assert diff.is_too_large("", "\n" * 4_000)
    assert not diff.is_too_large("a b\n" * 3_000, "")


# --- Charts ------------------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 40))
def test_a_dot_above_the_line_has_passed(score: float, mark: float, most: int) -> None:
    """In a row, and in the plot, a dot stands above the pass mark's line exactly when its score reached the mark."""
    passed = run(pass_threshold=mark, max_attempts=most)
    spark = charts.spark(passed, {1: score})
    assert (spark.dots[0].y < 12) == (score >= mark)
    assert spark.width <= 160
    plot = charts.plot(passed, [1], {1: score})
    assert (plot.dots[0].y <= plot.mark_y + 0.05) or score < mark
    assert 0 <= plot.floor <= max(score, 0)


def test_a_ring_has_a_piece_an_attempt() -> None:
    """Done, now and not yet, in order; more than eight attempts share eight pieces."""
    assert [arc.kind for arc in charts.arcs(2, 3)] == ["done", "now", "rest"]
    assert len(charts.arcs(30, 40)) == 8
