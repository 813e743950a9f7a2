"""Tests of differences between texts and JSON documents."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from loopkit_web.dashboard.markup import diff
from loopkit_web.dashboard.markup.diff import LineKind

TEXT = st.text(alphabet="ab \n", max_size=60)


def side(parts: Sequence[diff.Part], name: str, kind: LineKind) -> list[str]:
    """Return one side of a difference, line by line; unchanged lines are taken from the earlier text."""
    texts: list[str] = []
    for part in parts:
        lines = part.lines if isinstance(part, diff.Same) else getattr(part, name)
        texts += [line.text for line in lines if line.kind in (LineKind.SAME, kind)]
    return texts


@given(TEXT, TEXT)
def test_difference_holds_both_texts(before: str, after: str) -> None:
    """Both texts can be restored from the parts: nothing is lost and nothing is added."""
    parts = diff.line_diff(before, after)
    assert side(parts, "before", LineKind.REMOVED) == before.splitlines()
    assert side(parts, "after", LineKind.ADDED) == after.splitlines()


@given(TEXT)
def test_equal_texts_have_no_changes(text: str) -> None:
    """Equal texts have no hunk."""
    assert not any(isinstance(part, diff.Hunk) for part in diff.line_diff(text, text))


def test_words_are_marked_inside_a_changed_line() -> None:
    """Only the words that differ are marked; a line that has nothing in common is marked whole."""
    [hunk] = diff.line_diff("The tier ends at 50 GB.", "The tier ends at 100 GB.")
    assert isinstance(hunk, diff.Hunk)
    assert (hunk.removed, hunk.added) == ("50", "100")
    [other] = diff.line_diff("abc", "xyz uvw")
    assert isinstance(other, diff.Hunk)
    assert (other.removed, other.added) == ("abc", "xyz uvw")


def test_json_is_compared_by_path() -> None:
    """Each value that was changed, added or removed is listed with its path; the others are counted."""
    parts = diff.json_diff({"a": {"b": 1, "c": "x"}, "l": [1]}, {"a": {"b": 2, "c": "x"}, "l": [1, 2]})
    assert parts is not None
    hunks = [part for part in parts if isinstance(part, diff.Hunk)]
    assert [(hunk.path, hunk.removed, hunk.added) for hunk in hunks] == [("/a/b", "1", "2"), ("/l/1", "", "2")]
    assert parts[-1] == diff.Same(count=2)


def test_texts_that_are_too_large() -> None:
    """Texts with more than 20,000 words or 4,000 lines are not compared."""
    assert diff.is_too_large("a " * 20_001, "")
    assert diff.is_too_large("", "\n" * 4_000)
    assert not diff.is_too_large("a b\n" * 3_000, "")
