"""The quick check accepts nothing that the library refuses, and accepts what common schemas allow."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.core.quick_check import quick_check

TOPIC: dict[str, Any] = {
    "type": "object",
    "title": "A topic",
    "properties": {
        "topic": {"type": "string", "minLength": 1, "maxLength": 5, "description": "What it is about"},
        "tone": {"type": "string", "enum": ["dry", "warm"], "default": "dry"},
        "words": {"type": "integer", "minimum": 1, "maximum": 100},
        "share": {"type": "number", "maximum": 1},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "draft": {"type": "boolean"},
        "anything": {},
    },
    "required": ["topic"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("inputs", "fits"),
    [
        ({"topic": "bees"}, True),
        ({"topic": "bees", "tone": "warm", "words": 100, "share": 0.5, "tags": ["a", "b"], "draft": True}, True),
        ({"topic": "bees", "anything": {"a": [None]}}, True),
        ({}, False),
        ({"topic": ""}, False),
        ({"topic": "beetles"}, False),
        ({"topic": "bees", "tone": "loud"}, False),
        ({"topic": "bees", "words": 0}, False),
        ({"topic": "bees", "words": True}, False),
        ({"topic": "bees", "share": 1.5}, False),
        ({"topic": "bees", "tags": ["a", "b", "c"]}, False),
        ({"topic": "bees", "tags": [1]}, False),
        ({"topic": "bees", "draft": 0}, False),
        ({"topic": "bees", "other": 1}, False),
        ([], False),
    ],
)
def test_a_common_schema_is_checked(inputs: object, fits: bool) -> None:
    """Each keyword counts."""
    check = quick_check(TOPIC)
    assert check is not None
    assert check(inputs) is fits


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "patternProperties": {"^x": {}}},
        {"type": "object", "properties": {"a": {"type": "string", "format": "date"}}},
        {"type": "string", "minimum": 3},
        {"type": ["string", "null"]},
        {"type": "integer", "enum": [1, 2]},
        {"type": "string", "enum": ["a", 1]},
        {"type": "array", "items": {"$ref": "#"}},
        {"properties": {"a": {}}},
        {"$ref": "#/$defs/a", "$defs": {"a": {}}},
        False,
    ],
)
def test_a_schema_with_anything_else_is_left_to_the_library(schema: object) -> None:
    """There is no quick check for it at all."""
    assert quick_check(schema) is None


def limits(least: str, most: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={least: values, most: values})


SMALL = st.integers(0, 3)
NAMES = st.sampled_from("abc")
LEAVES = st.one_of(
    limits("minLength", "maxLength", SMALL).map(lambda keywords: {"type": "string", **keywords}),
    st.just({"type": "string", "enum": ["", "ab"]}),
    limits("minimum", "maximum", SMALL | st.floats(-2, 3)).map(lambda keywords: {"type": "number", **keywords}),
    limits("minimum", "maximum", SMALL).map(lambda keywords: {"type": "integer", **keywords}),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {}, True, {"title": "any"}, {"minLength": 2}]),
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    array = st.fixed_dictionaries(
        {"type": st.just("array")}, optional={"items": inner, "minItems": SMALL, "maxItems": SMALL}
    )
    parts = {
        "properties": st.dictionaries(NAMES, inner, max_size=2),
        "required": st.lists(NAMES, unique=True, max_size=2),
        "additionalProperties": inner | st.just(False),
    }
    return array | st.fixed_dictionaries({"type": st.just("object")}, optional=parts)


SCHEMAS = st.recursive(LEAVES, nested, max_leaves=5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 4)
    | st.floats(-2, 4)
    | st.sampled_from(["", "a", "ab", "\U0001f41d" * 3]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=5,
)


@given(SCHEMAS, VALUES)
def test_what_is_accepted_is_valid(schema: Any, value: Any) -> None:
    """Another implementation of JSON Schema accepts each value that the quick check accepts."""
    check = quick_check(schema)
    if check is not None and check(value):
        assert jsonschema_rs.is_valid(schema, value)
