"""Tests of differences between sequences within a number of steps."""

import random
from collections.abc import Sequence
from difflib import SequenceMatcher

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit_web.dashboard.markup.opcodes import StepAllowance, opcodes, similarity

LINES = st.lists(st.sampled_from("abcdefg"), max_size=40)


def check(a: Sequence[str], b: Sequence[str], codes: Sequence[tuple[bool, int, int, int, int]]) -> None:
    """Check that the ranges cover both sequences in order, and that those called equal are."""
    end_a = end_b = 0
    for is_equal, a1, a2, b1, b2 in codes:
        assert (a1, b1) == (end_a, end_b)
        assert is_equal == (a[a1:a2] == b[b1:b2]) or not is_equal
        assert a2 > a1 or b2 > b1
        end_a, end_b = a2, b2
    assert (end_a, end_b) == (len(a), len(b))


@given(LINES, LINES)
def test_with_enough_steps_the_ranges_are_those_of_difflib(a: list[str], b: list[str]) -> None:
    """Short sequences are compared as closely as the standard library does."""
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    expected = [(tag == "equal", *rest) for tag, *rest in matcher.get_opcodes()]
    found = opcodes(a, b, StepAllowance())
    assert found == expected
    assert similarity(found, len(a) + len(b)) == pytest.approx(matcher.ratio())


@given(LINES, LINES, st.integers(0, 200))
def test_with_any_number_of_steps_nothing_is_lost(a: list[str], b: list[str], left: int) -> None:
    """The ranges cover both sequences, and no more steps are taken than are left."""
    steps = StepAllowance(left)
    check(a, b, opcodes(a, b, steps))
    assert steps.left >= 0


def test_blank_lines_between_rewritten_paragraphs_cost_no_more_than_the_steps() -> None:
    """Eight hundred paragraphs that were all rewritten, which would take 256 million steps."""
    draw = random.Random(3)

    def paragraphs() -> list[str]:
        return [line for _ in range(800) for line in (" ".join(draw.choices("abcdefghij", k=8)), "")]

    a, b = paragraphs(), paragraphs()
    steps = StepAllowance(100_000)
    check(a, b, opcodes(a, b, steps))
    assert steps.left >= 0


def test_without_steps_equal_beginnings_and_ends_are_found() -> None:
    """Two long sequences with one difference in the middle, each element of which occurs many times."""
    a = ["x", "y"] * 2_000
    b = [*a[:2_000], "z", *a[2_000:]]
    codes = opcodes(a, b, StepAllowance(0))
    assert codes == [
        (True, 0, 2_000, 0, 2_000),
        (False, 2_000, 2_000, 2_000, 2_001),
        (True, 2_000, 4_000, 2_001, 4_001),
    ]


def test_elements_that_occur_once_split_long_sequences() -> None:
    """Where repeated elements cost too many steps, those that occur once keep both sequences together."""
    same = [f"heading {n}" for n in range(50)]
    a = [line for n, heading in enumerate(same) for line in (heading, *["", f"old {n}"] * 20)]
    b = [line for n, heading in enumerate(same) for line in (heading, *["", f"new {n}"] * 20)]
    codes = opcodes(a, b, StepAllowance(20_000))
    equal = {line for is_equal, a1, a2, _, _ in codes if is_equal for line in a[a1:a2]}
    assert set(same) <= equal
