"""Texts for errors that any database can hold and any terminal can show."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.agents.error_text import MAX_MESSAGE_CHARS, clean_text, describe_error, kind_of
from loopkit.core import strict_json
from loopkit.errors import StageFailed


class Mute(Exception):
    def __str__(self) -> str:
        raise SystemExit("no words")


@given(st.text())
def test_clean_text_can_be_stored_and_shown(text: str) -> None:
    """Whatever a stage writes, the cleaned text fits every database and moves no cursor."""
    cleaned = clean_text(text)
    assert strict_json.text_fault(cleaned) is None
    assert all(character in "\n\t" or character.isprintable() or ord(character) > 0x9F for character in cleaned)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain\ttext\nof two lines", "plain\ttext\nof two lines"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("a\x00b\ud800c\rd", "a\ufffdb\ufffdc\ufffdd"),
        ("line\r\nline", "line\nline"),
        ("x" * 5_000, "x" * MAX_MESSAGE_CHARS + " [cut]"),
        ("x" * (MAX_MESSAGE_CHARS + 1), "x" * MAX_MESSAGE_CHARS + " [cut]"),
        ("x" * MAX_MESSAGE_CHARS, "x" * MAX_MESSAGE_CHARS),
    ],
)
def test_clean(text: str, cleaned: str) -> None:
    """Terminal escapes go, what cannot be stored is replaced, and what is too long is cut and says so."""
    assert clean_text(text) == cleaned


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("boom"), "ValueError: boom"),
        (KeyError("thing"), "KeyError: 'thing'"),
        (MemoryError(), "MemoryError"),
        (Mute(), "Mute: (its message cannot be read)"),
        (StageFailed("exit status 3"), "exit status 3"),
        (
            ExceptionGroup(
                "many", [ValueError("a"), ExceptionGroup("in", [KeyError("b")]), OSError("c"), OSError("d")]
            ),
            "ExceptionGroup: many (4 sub-exceptions) [ValueError: a; KeyError: 'b'; OSError: c]",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_is_described_by_its_type_and_message(error: BaseException, text: str) -> None:
    """Errors of loopkit's own stages speak for themselves; all others are named, groups with their first members."""
    assert describe_error(error) == text


def test_a_long_error_is_short() -> None:
    """No exception can fill the journal."""
    group = BaseExceptionGroup("g" * 9_000, [ValueError("v" * 9_000)] * 9)
    assert len(describe_error(group)) < 2 * MAX_MESSAGE_CHARS


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "nothing"), (True, "a boolean"), ("", "text"), (1, "a number"), (1.5, "a number"), ([], "a list")],
)
def test_kinds_are_named_as_a_person_would(value: object, kind: str) -> None:
    """Error messages speak of text and numbers, not of str and int."""
    assert kind_of(value) == kind
