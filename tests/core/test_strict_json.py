"""Plain JSON: what has no fault can be stored and comes back; what cannot be stored has a fault with a place."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.core import strict_json
from loopkit.core.strict_json import MAX_DEPTH
from loopkit.errors import Fault
from loopkit.testing.strategies import json_values, not_json

LIMITS = (1 << 1024, (1 << 1024) - 1, -(1 << 1024), 1 - (1 << 1024), math.nan, -math.inf, True, None, "\0", "\ud83d")


def nested(depth: int, inner: Any = 1) -> Any:
    """Return a value inside ``depth`` lists."""
    for _ in range(depth):
        inner = [inner]
    return inner


@given(json_values())
def test_plain_values_have_no_fault_and_come_back(value: Any) -> None:
    """Written and read they are the same, to the kind of each number."""
    assert strict_json.faults(value) == []
    assert repr(strict_json.loads_or_text(strict_json.dumps(value))) == repr(value)


@given(json_values(), not_json())
def test_one_bad_part_is_found_anywhere(value: Any, bad: Any) -> None:
    """The fault is found at any depth, and its pointer names the place."""
    document = {"fine": value, "a/b~c": [value, {"x": bad}]}
    faults = strict_json.faults(document)
    assert faults
    assert all(fault.pointer.startswith("/a~1b~0c/1/x") for fault in faults)


@given(
    st.recursive(
        st.floats() | st.text(st.characters()) | st.integers() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner),
    )
)
def test_what_has_no_fault_can_be_written(value: Any) -> None:
    """No fault means that writing works and the text is storable."""
    if not strict_json.faults(value):
        text = strict_json.dumps(value)
        assert strict_json.text_fault(text) is None
        assert strict_json.loads_or_text(text) == value


@pytest.mark.parametrize(
    ("value", "pointer", "detail"),
    [
        ({"a": math.nan}, "/a", "is not a finite number"),
        ({"a": -math.inf}, "/a", "is not a finite number"),
        ({"a": ["b\0"]}, "/a/0", "contains a NUL character"),
        ({"a": "\ud83d"}, "/a", "contains a lone surrogate"),
        ({"a": "ü\0"}, "/a", "contains a NUL character"),
        ({"a": 1 << 1024}, "/a", "is an integer too large for a number"),
        ({"a": b"x"}, "/a", "is of type bytes, which JSON does not have"),
        ({"a": {1, 2}}, "/a", "is of type set, which JSON does not have"),
        ({"a": {2: 1}}, "/a", "has a key that is not text: int"),
        ({"a": {"\0": 1}}, "/a", "has a key that contains a NUL character"),
        (object, "", "is of type type, which JSON does not have"),
        ("x" * 50, "", "is larger than 40 bytes"),
    ],
)
def test_each_fault_says_what_and_where(value: Any, pointer: str, detail: str) -> None:
    """A JSON pointer and a sentence."""
    assert strict_json.faults(value, max_bytes=40) == [Fault(pointer, detail)]


def test_every_fault_is_returned() -> None:
    """All at once, in order, up to a hundred."""
    assert [fault.pointer for fault in strict_json.faults([math.nan, 1, {"k": b""}])] == ["/0", "/2/k"]
    assert len(strict_json.faults([math.nan] * 1000)) == 100


@given(st.lists(st.one_of(st.integers(), st.floats(), st.text(st.characters()), not_json(), st.sampled_from(LIMITS))))
def test_many_values_of_one_kind_are_checked_as_one_by_one(values: list[Any]) -> None:
    """Lists and objects of scalars have the faults that they have when something else stands among them."""
    assert strict_json.faults(values) == strict_json.faults([*values, []])
    named = {str(number): value for number, value in enumerate(values)}
    assert strict_json.faults(named) == strict_json.faults({**named, "last": []})


def test_a_list_is_too_large_from_the_value_that_does_not_fit() -> None:
    """Values that take all of the size without quotes and commas are refused before their text is made."""
    assert strict_json.faults([1] * 10, max_bytes=21) == []
    assert strict_json.faults([1] * 10, max_bytes=20) == [Fault("", "is larger than 20 bytes")]
    assert strict_json.faults(["x" * 600] * 1_000_000, max_bytes=1_000) == [Fault("", "is larger than 1000 bytes")]


def test_depth_has_a_limit() -> None:
    """Exactly so deep is fine; deeper, endless or recursive is a fault and no overflow."""
    assert strict_json.faults(nested(MAX_DEPTH)) == []
    [fault] = strict_json.faults(nested(MAX_DEPTH + 1))
    assert fault.detail == f"is nested more than {MAX_DEPTH} deep"
    assert len(strict_json.faults(nested(100_000))) == 1
    loop: list[Any] = []
    loop.append(loop)
    assert len(strict_json.faults(loop)) == 1


def test_size_counts_bytes() -> None:
    """As UTF-8, quotes included; exactly so many are fine."""
    assert strict_json.faults("ü" * 4, max_bytes=10) == []
    assert strict_json.faults("ü" * 4, max_bytes=9) == [Fault("", "is larger than 9 bytes")]


def test_text_that_is_no_json_is_given_back() -> None:
    """Reading never raises, whatever another program wrote."""
    for text in ("", "no json", "{", "[" * 100_000):
        assert strict_json.loads_or_text(text) == text


def test_what_json_cannot_say_is_read_as_what_it_can() -> None:
    """NaN, infinities and endless nesting would be a trouble to whoever writes them again."""
    assert strict_json.loads_or_text('{"x": NaN, "y": [-Infinity, Infinity, 1e999, -1e400, 1.5]}') == {
        "x": None,
        "y": [None] * 4 + [1.5],
    }
    deep = "[" * 200 + "]" * 200
    for text in (deep, f'{{"x": {deep}}}'):
        assert strict_json.loads_or_text(text) == text
    assert strict_json.loads_or_text(f"[{'[],' * 1_000}1]")[-1] == 1


@pytest.mark.parametrize("value", [10**400, -(10**400), math.inf, -math.inf, math.nan, True, None, "1", [1]])
def test_what_no_float_can_hold_is_no_number(value: object) -> None:
    """Python reads whole numbers of any length."""
    assert strict_json.finite_number(value) is None
    assert (strict_json.finite_number(3), strict_json.finite_number(-0.5)) == (3.0, -0.5)


def test_half_a_pair_is_read_as_a_replacement() -> None:
    """In keys and values, however deep; whole pairs and written backslashes stay."""
    assert strict_json.loads_or_text(r'{"\ud83d": ["a\uDE00", {"b": "\ud83d"}]}') == {
        "\ufffd": ["a\ufffd", {"b": "\ufffd"}]
    }
    assert strict_json.loads_or_text(r'["\ud83d\ude00", "\\ud83d", 1]') == ["\U0001f600", "\\ud83d", 1]


def test_json_is_written_without_blanks_and_as_it_is() -> None:
    """Keys keep their order, and text is not escaped."""
    assert strict_json.dumps({"b": [1, 1.0, None, True], "a": "ü\u2028"}) == '{"b":[1,1.0,null,true],"a":"ü\u2028"}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        strict_json.dumps(math.nan)


@given(json_values())
def test_a_copy_is_equal_and_shares_nothing(value: Any) -> None:
    """Changes to a copy do not change the original."""
    copied = strict_json.copy(value)
    assert copied == value
    text = strict_json.dumps(value)
    if isinstance(copied, dict):
        copied["new"] = 1
        for part in copied.values():
            if isinstance(part, list):
                part.append(1)
    assert strict_json.dumps(value) == text


def test_a_part_that_is_reached_again_and_again_is_not_walked_for_ever() -> None:
    """A small value may be a huge document: what it takes is known before it is written."""
    value: Any = []
    for _ in range(MAX_DEPTH - 1):
        value = [value] * 10
    assert strict_json.faults(value, max_bytes=1_000) == [Fault("", "is larger than 1000 bytes")]
    assert strict_json.faults(["x" * 600] * 2, max_bytes=1_000) == [Fault("", "is larger than 1000 bytes")]


def test_every_kind_of_mapping_is_an_object() -> None:
    """A mapping that is not a dict is written like one."""
    value: Mapping[str, Any] = MappingProxyType({"a": [MappingProxyType({})]})
    assert strict_json.faults(value) == []
    assert strict_json.dumps(value) == '{"a":[{}]}'


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x" * 1_000_000, False),
        ({"a": [1] * 4_000, "b": {"c": "d"}}, False),
        ([1] * 5_001, True),
        ({"a": [[1] * 100] * 60}, True),
        ({"a": {str(n): n for n in range(5_001)}}, True),
    ],
)
def test_a_large_value_has_many_parts(value: object, expected: bool) -> None:
    """Long texts alone make no value large: they are copied and checked as one."""
    assert strict_json.is_large(value) is expected


def test_parts_of_a_text_are_the_text() -> None:
    """The parts of a JSON text, joined, are the text, however long its strings are."""
    value = {"a": [1, 2.5, None, True, {"b": '\U0001f600"' * 50_000}] * 3, "c": "x" * 300_000}
    parts = list(strict_json.dump_parts(value))
    assert "".join(parts) == strict_json.dumps(value)
    assert len(parts) > 2


WIDEST: list[Any] = [
    2**1023,
    -(2**1023),
    1e-300,
    None,
    True,
    "\x1f",
    "",
    {},
    [],
    {"": 2**1023},
    {"\x1f": "\x1f"},
    {"": False},
]


@pytest.mark.parametrize("value", WIDEST, ids=repr)
def test_no_text_is_taken_for_shorter_than_it_is(value: Any) -> None:
    """A value is written to measure it only if it may be too large; many that take the most bytes are not missed."""
    values = [value] * 500
    size = len(strict_json.dumps(values).encode())
    assert strict_json.faults(values, max_bytes=size) == []
    assert strict_json.faults(values, max_bytes=size - 1) == [Fault("", f"is larger than {size - 1} bytes")]
