"""Tests of numbers, times and values as text."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit_web.dashboard.markup import display_text


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0, "under 1 s"), (38, "38 s"), (252, "4m 12s"), (11_000, "3h 03m"), (187_300, "2d 4h")]
)
def test_duration_as_text(seconds: int, expected: str) -> None:
    """A duration is shown in two units, the larger one first."""
    assert display_text.duration(timedelta(seconds=seconds)) == expected


@given(st.text(), st.integers(8, 50))
def test_shortened_text_is_one_short_line(text: str, max_chars: int) -> None:
    """A shortened text has no line break, and is no longer than asked for (with the mark that it was cut)."""
    short = display_text.shorten(text, max_chars)
    assert "\n" not in short
    assert len(short) <= max_chars + 2


def test_subject_is_the_first_text() -> None:
    """The subject of a run is the first text among its inputs, else its first values."""
    assert display_text.subject({"n": 3, "thesis": "  Robots\nin the Alps "}) == "Robots in the Alps"
    assert display_text.subject({"n": 3, "deep": True}) == "N 3, Deep yes"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, "3"),
        (3.0, "3"),
        (0.85, "0.85"),
        (1234567, "1234567"),
        (1234567.5, "1234567.5"),
        (0.123456789, "0.123456789"),
        (0.00001, "0.00001"),
        (-0.0, "0"),
        (1e20, "100000000000000000000"),
        (1e-9, "1e-09"),
        (1e300, "1e+300"),
    ],
)
def test_number_is_shown_as_it_is(value: float, expected: str) -> None:
    """A number keeps all its digits, and loses only a fraction of zero."""
    assert display_text.number(value) == expected


@given(st.floats(0, 1), st.floats(0, 1))
def test_score_reads_as_on_its_side_of_the_mark(value: float, pass_mark: float) -> None:
    """A score below a mark reads as less than the mark, whatever the two are; one that reaches it never does."""
    shown, shown_mark = float(display_text.score(value, pass_mark)), float(display_text.mark(pass_mark))
    assert shown_mark == pass_mark
    assert (shown < shown_mark, shown > shown_mark) == (value < pass_mark, value > pass_mark)
    assert (float(display_text.distance(value - pass_mark)) == 0) == (abs(value - pass_mark) < 5e-18)


@pytest.mark.parametrize(
    ("value", "pass_mark", "expected"),
    [(0.7999, 0.8, "0.7999"), (0.8, 0.8, "0.80"), (0.8001, 0.8, "0.8001"), (0.5, 0.8, "0.50"), (None, 0.8, "–")],
)
def test_score_has_two_decimals_unless_they_read_as_the_mark(
    value: float | None, pass_mark: float, expected: str
) -> None:
    """0.7999 of 0.80 is not shown as 0.80."""
    assert display_text.score(value, pass_mark) == expected


def test_list_is_plain_if_every_item_is_shown() -> None:
    """A list of more than twelve items, or with lists or objects in it, is not shown in full on one line."""
    assert display_text.is_plain_list([1, "a", None])
    assert not display_text.is_plain_list([1] * 13)
    assert not display_text.is_plain_list([{"a": 1}])


@pytest.mark.parametrize(
    ("schema", "options"),
    [
        ({}, ""),
        ({"required": ["name"], "properties": {"name": True}}, " --input name=..."),
        ({"required": ["it's", "b"]}, """ --input 'it'"'"'s'=... --input b=..."""),
        ({"required": ["a", "b"], "properties": {"a": {"default": 1}, "c": {}}}, " --input b=..."),
        ({"required": list("abcde")}, " --inputs inputs.json"),
        ({"required": ["a=b"]}, " --inputs inputs.json"),
        ({"required": ["a\nb"]}, " --inputs inputs.json"),
    ],
    ids=str,
)
def test_a_printed_command_has_the_required_inputs(schema: dict[str, Any], options: str) -> None:
    """It works once they are filled in; those with a default may be left out."""
    assert display_text.run_command("an agent", schema) == f"loopkit-cli run 'an agent'{options}"
