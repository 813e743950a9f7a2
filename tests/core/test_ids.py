"""Ids: what sorts like what, and how cycle ids count."""

from datetime import date, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.clock import SystemClock, truncate
from loopkit.core import ids
from loopkit.core.run import NewRun
from loopkit.system_ids import SystemIds

DAY = date(2031, 4, 5)
NUMBERS = st.integers(0, 2**128 - 1)


@given(NUMBERS, NUMBERS)
def test_run_ids_sort_like_their_numbers(first: int, second: int) -> None:
    """As text, byte by byte, and no two numbers share one."""
    assert (ids.run_id(first) < ids.run_id(second)) == (first < second)
    assert (ids.run_id(first) == ids.run_id(second)) == (first == second)


@given(NUMBERS)
def test_a_run_id_can_be_typed(number: int) -> None:
    """``run_`` and 26 characters without those that look alike."""
    text = ids.run_id(number)
    assert text.startswith("run_")
    assert len(text) == 30
    assert set(text[4:]) <= set("0123456789abcdefghjkmnpqrstvwxyz")


def test_ids_of_the_system_grow_and_cannot_be_guessed() -> None:
    """Run numbers rise within a process; nonces are 128 bits."""
    source = SystemIds()
    numbers = [source.run_number() for _ in range(2000)]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] < 2**128
    nonces = {source.nonce() for _ in range(100)}
    assert len(nonces) == 100
    assert {len(nonce) for nonce in nonces} == {32}


@given(st.dates(date(1000, 1, 1)), st.integers(0, 10**14))
def test_a_cycle_id_is_read_back(day: date, number: int) -> None:
    """Past 999 as well, and never for another day."""
    text = ids.cycle_id(day, number)
    assert ids.cycle_number(text, day) == number
    other = day - timedelta(days=1) if day > date(1000, 1, 1) else day + timedelta(days=1)
    assert ids.cycle_number(text, other) == 0


def test_a_request_is_the_same_by_what_was_sent() -> None:
    """What an agent adds to it makes no difference, and an option of None is one that was not sent."""
    digest = ids.request_digest("a", {"x": 1}, cycle_id=None)
    new = NewRun(agent_name="a", inputs={"x": 1, "y": 2}, request_digest=digest)
    assert ids.fingerprint(new) == digest == ids.request_digest("a", {"x": 1})
    assert len({digest, ids.request_digest("a", {"x": 2}), ids.request_digest("a", {"x": 1}, cycle_id="c")}) == 3
    assert ids.fingerprint(attrs.evolve(new, request_digest=None)) != digest


@pytest.mark.parametrize(("number", "text"), [(1, "001"), (42, "042"), (999, "999"), (1000, "1000"), (12345, "12345")])
def test_a_cycle_id_has_at_least_three_digits(number: int, text: str) -> None:
    """And grows."""
    assert ids.cycle_id(DAY, number) == f"2031-04-05-{text}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2031-04-05",
        "2031-04-05-",
        "2031-04-05-x",
        "2031-04-05-1x",
        "2031-04-05--1",
        "2031-04-05- 1",
        "2031-04-05-+1",
        "2031-04-05-٣",
        "2031-04-05-²",
        "2031-04-05-1.0",
        "2031-4-5-001",
        "x2031-04-05-001",
        "2031-04-05-" + "9" * 16,
    ],
)
def test_other_texts_are_no_cycle_ids(text: str) -> None:
    """They count as nothing, and never raise."""
    assert ids.cycle_number(text, DAY) == 0


ASKED = NewRun(agent_name="a", inputs={"x": 1, "y": [1.5]}, cycle_id="c", retry_of="run_0")


@pytest.mark.parametrize(
    "other",
    [
        {"agent_name": "b"},
        {"inputs": {"x": 2}},
        {"max_attempts": 4},
        {"pass_threshold": 0.5},
        {"cycle_id": None},
        {"retry_of": None},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_request_has_another_fingerprint(other: dict[str, Any]) -> None:
    """Every part of what is asked for counts."""
    assert ids.fingerprint(attrs.evolve(ASKED, **other)) != ids.fingerprint(ASKED)


def test_the_same_request_has_the_same_fingerprint() -> None:
    """The sender, the key and the order of the inputs do not matter."""
    same = attrs.evolve(ASKED, actor="mira", idempotency_key="k", inputs={"y": [1.5], "x": 1})
    assert ids.fingerprint(same) == ids.fingerprint(ASKED)


def test_times_are_cut_to_milliseconds() -> None:
    """Cut, not rounded, so that no stamp lies in the future."""
    now = SystemClock().now()
    assert truncate(now.replace(microsecond=999_999)).microsecond == 999_000
    assert truncate(now) <= now
    assert SystemClock().monotonic() <= SystemClock().monotonic()
