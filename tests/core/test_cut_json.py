"""Tests of values of JSON texts that were cut."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.core.cut_json import loads_beginning

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"topic": "cats", "notes": "They sle', {"topic": "cats", "notes": "They sle"}),
        ('{"topic": "cats", "no', {"topic": "cats"}),
        ('{"topic": "cats", "notes"', {"topic": "cats"}),
        ('{"topic": "cats", "notes":', {"topic": "cats"}),
        ('{"topic": "cats",', {"topic": "cats"}),
        ('{"a": [1, 2, 3', {"a": [1, 2]}),
        ('{"a": [1, 2, 3,', {"a": [1, 2, 3]}),
        ('{"a": [1, [2, {"b"', {"a": [1, [2, {}]]}),
        ('{"a": {"b": 1}, "c": [', {"a": {"b": 1}, "c": []}),
        ('{"score": 0.4', {}),
        ('{"a": "x\\', {"a": "x"}),
        ('{"a": "x\\u00', {"a": "x"}),
        ('{"a": "x\\\\', {"a": "x\\"}),
        ('"a text', "a text"),
        ('["a', ["a"]),
        ("{", {}),
        ("", ""),
        ("plain words", "plain words"),
        ("]", "]"),
    ],
)
def test_the_text_is_closed_where_it_ends(text: str, value: Any) -> None:
    """Whole values are kept, and the beginning of a text; a key without a value and the part of a number are not."""
    assert loads_beginning(text) == value


@given(VALUES, st.integers(1, 200), st.booleans())
def test_every_beginning_of_a_document_is_read(value: Any, length: int, is_ascii: bool) -> None:
    """Wherever an object or a list is cut, its beginning is an object or a list; uncut it is what it was."""
    document = {"value": value}
    text = json.dumps(document, ensure_ascii=is_ascii)
    assert loads_beginning(text) == document
    assert isinstance(loads_beginning(text[:length]), dict)


def test_a_deep_beginning_is_no_error() -> None:
    """Text that is nested too deep stays text."""
    assert isinstance(loads_beginning("[" * 100_000), str)
