"""Tests of marks of direction in values: they end where the value ends."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit_web.dashboard.markup.bidi_text import closed, isolated, with_json_escapes
from loopkit_web.dashboard.markup.display_text import worker_command

MARKS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
CLOSERS = {"\u202c", "\u2069"}
TEXTS = st.text(st.sampled_from([*MARKS, *MARKS, "a", "\u05d0", "1", "\n"]))


def is_balanced(line: str) -> bool:
    """Return whether every mark of a line ends in it, and ends nothing outside, by the rules of UAX 9, section 3.1."""
    pending: list[str] = []
    for mark in line:
        if mark in CLOSERS:
            if not pending or pending.pop() != mark:
                return False
        elif mark in MARKS:
            pending.append("\u2069" if mark in "\u2066\u2067\u2068" else "\u202c")
    return not pending


def without_marks(text: str) -> str:
    return "".join(character for character in text if character not in MARKS)


@given(TEXTS)
def test_marks_end_in_the_line_that_holds_them(text: str) -> None:
    """Each line is balanced, says what it said, and does not change any more."""
    done = closed(text)
    assert all(is_balanced(line) for line in done.split("\n"))
    assert without_marks(done) == without_marks(text)
    assert closed(done) == done
    if all(is_balanced(line) for line in text.split("\n")):
        assert done == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\u202eb", "a\u202eb\u202c"),
        ("a\u2069b\u202c", "ab"),
        ("\u2067\u202ea\u2069b", "\u2067\u202ea\u202c\u2069b"),
        ("\u2067a\u202cb", "\u2067ab\u2069"),
        ("\u202ea\nb", "\u202ea\u202c\nb"),
        ("a\u200eb\u200f", "a\u200eb\u200f"),
    ],
)
def test_marks_are_closed_or_left_out(text: str, expected: str) -> None:
    """What is open at the end is closed; what closes nothing is left out; U+200E and U+200F only are characters."""
    assert closed(text) == expected


@pytest.mark.parametrize("text", ["", "plain", "zwölf 12 €", "東京", "\U0001f600"])
def test_text_of_one_direction_is_as_it_is(text: str) -> None:
    """Nothing is added where there is nothing to isolate."""
    assert isolated(text) == text


@pytest.mark.parametrize("text", ["\u05d0", "\u0627 1", "\U0001e900", "a\u202eb", "\u2069"])
def test_a_part_of_a_sentence_is_isolated(text: str) -> None:
    """A value with another direction stands between marks that isolate it."""
    assert isolated(text) == f"\u2068{closed(text)}\u2069"


@given(TEXTS)
def test_json_with_escapes_is_the_same_json(text: str) -> None:
    """The marks are escapes, and the document is the same."""
    shown = with_json_escapes(json.dumps({text: [text]}, ensure_ascii=False))
    assert json.loads(shown) == {text: [text]}
    assert not set(shown) & set(MARKS)


@pytest.mark.parametrize(
    ("agent", "command"),
    [
        ("", "loopkit-cli worker"),
        ("brief", "loopkit-cli worker --agent brief"),
        ("a; rm -rf ~", "loopkit-cli worker --agent 'a; rm -rf ~'"),
        ("$(it's)", "loopkit-cli worker --agent '$(it'\"'\"'s)'"),
        ("a\u202eb", "loopkit-cli worker"),
        ("a\nb", "loopkit-cli worker"),
        ("x" * 201, "loopkit-cli worker"),
    ],
)
def test_command_names_an_agent_as_one_word(agent: str, command: str) -> None:
    """The command that a page offers to copy runs nothing else, whatever name a row has."""
    assert worker_command(agent) == command
