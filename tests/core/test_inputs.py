import socket
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.core.inputs import DIALECT, MAX_FAULTS, InputsSchema
from loopkit.errors import Fault, InvalidConfig


def faults(schema: dict[str, Any], inputs: dict[str, Any]) -> list[Fault]:
    return InputsSchema(schema).faults(inputs)


UNIQUE: dict[str, Any] = {"properties": {"a": {"uniqueItems": True}}}
EQUAL = [Fault("/a", "has items that are equal")]


@pytest.mark.parametrize(
    ("schema", "inputs", "expected"),
    [
        ({}, {"a": 1}, []),
        ({"required": ["a", "b"]}, {"a": 1}, [Fault("/b", "is required")]),
        ({"required": ["a", "b"]}, {}, [Fault("/a", "is required"), Fault("/b", "is required")]),
        (
            {"properties": {"in": {"required": ["a/b", "c~d"]}}},
            {"in": {}},
            [Fault("/in/a~1b", "is required"), Fault("/in/c~0d", "is required")],
        ),
        ({"properties": {"in": {"required": ["a"]}}}, {"in": 5}, []),
        (
            {"properties": {"a": {}}, "patternProperties": {"^x": {}}, "additionalProperties": False},
            {"a": 1, "x1": 1, "b": 1, "c": 1},
            [Fault("/b", "is not a known property"), Fault("/c", "is not a known property")],
        ),
        ({"additionalProperties": {"type": "integer"}}, {"b": "x"}, [Fault("/b", "is not of type 'integer'")]),
        ({"properties": {"a": {"additionalProperties": False}}}, {"a": 5}, []),
        ({"properties": {"a": {"minimum": 3}}}, {"a": 1}, [Fault("/a", "is less than the minimum of 3")]),
        ({"properties": {"a": {"enum": ["x"]}}}, {"a": "y"}, [Fault("/a", "is not one of ['x']")]),
        ({"properties": {"a": {"const": "x"}}}, {"a": "y"}, [Fault("/a", "'x' was expected")]),
        ({"properties": {"a": {"items": {"type": "null"}}}}, {"a": [5]}, [Fault("/a/0", "is not of type 'null'")]),
        (
            {"properties": {"a": {"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]}}},
            {"a": "x"},
            [Fault("/a", "is not of type 'integer', and is not of type 'null'")],
        ),
        (
            {"properties": {"a": {"oneOf": [{"properties": {"b": {"type": "null"}}}, {"anyOf": [{"type": "null"}]}]}}},
            {"a": {"b": 1}},
            [Fault("/a", "/b is not of type 'null', and is not of type 'null'")],
        ),
        (
            {"properties": {"a": {"oneOf": [{"minimum": 1}, {"minimum": 2}]}}},
            {"a": 3},
            [Fault("/a", "is valid under each of {'minimum': 2}, {'minimum': 1}")],
        ),
        (UNIQUE, {"a": [1, 1.0]}, EQUAL),
        (UNIQUE, {"a": [{"b": [1]}] * 2}, EQUAL),
        (UNIQUE, {"a": [1, True, "1", [1], {"1": 1}, None]}, []),
        ({"properties": {"a": {"uniqueItems": False}}}, {"a": [1, 1]}, []),
        (UNIQUE, {"a": "aa"}, []),
        (
            {"allOf": [{"required": ["a"]}, {"required": ["a"]}]},
            {},
            [Fault("/a", "is required")],
        ),
        (
            {"$defs": {"n": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/n"}}},
            {"a": "x"},
            [Fault("/a", "is not of type 'integer'")],
        ),
        (
            {"properties": {"a": {"$ref": "#"}}, "additionalProperties": False},
            {"a": {"b": 1}},
            [Fault("/a/b", "is not a known property")],
        ),
        (
            {"$schema": "https://json-schema.org/draft/2020-12/schema", "required": ["a"]},
            {},
            [Fault("/a", "is required")],
        ),
    ],
)  # fmt: skip
def test_every_fault_has_its_place(schema: dict[str, Any], inputs: dict[str, Any], expected: list[Fault]) -> None:
    """The pointer leads to what is wrong: for a missing or unknown property to the property itself."""
    assert faults(schema, inputs) == expected


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", "2026-11-22", "2026-13-01"),
        ("date-time", "2026-11-22T10:00:00Z", "yesterday"),
        ("email", "a@example.com", "a"),
        ("uri", "https://example.com/a", "a b"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("ipv4", "127.0.0.1", "256.0.0.1"),
        ("regex", "^a+$", "("),
    ],
)
def test_formats_are_asserted(name: str, good: str, bad: str) -> None:
    """A format is a rule, not a remark."""
    schema = {"properties": {"a": {"format": name}}}
    assert faults(schema, {"a": good}) == []
    assert [fault.pointer for fault in faults(schema, {"a": bad})] == ["/a"]


def test_a_long_value_does_not_make_a_long_fault() -> None:
    """The detail of a fault does not repeat the value."""
    (fault,) = faults({"properties": {"a": {"pattern": "^y"}}}, {"a": "x" * 100_000})
    assert fault == Fault("/a", "does not match '^y'")
    (fault,) = faults({"properties": {"a": {"enum": ["y" * 1_000]}}}, {"a": "x"})
    assert len(fault.detail) <= 300


def test_faults_are_bounded() -> None:
    """An answer does not grow with what was sent."""
    listed = faults({"properties": {"a": {"items": {"type": "string"}}}}, {"a": [1] * (MAX_FAULTS + 1)})
    assert len(listed) == MAX_FAULTS


def test_many_unique_items_are_compared_quickly() -> None:
    """The time grows with the number of items and not with its square, whatever kind they are."""
    assert faults(UNIQUE, {"a": [{"n": number} for number in range(50_000)]}) == []


@pytest.mark.parametrize(
    ("schema", "inputs"),
    [
        ({"properties": {"a": {"$ref": "#/$defs/loop"}}, "$defs": {"loop": {"$ref": "#/$defs/loop"}}}, {"a": 1}),
        ({"properties": {"a": {"format": "regex"}}}, {"a": "a{99999999999999999999}"}),
    ],
    ids=["endless reference", "pattern too large"],
)
def test_what_cannot_be_checked_is_a_fault(schema: dict[str, Any], inputs: dict[str, Any]) -> None:
    """No inputs bring the check down."""
    (fault,) = faults(schema, inputs)
    assert fault.pointer == ""
    assert fault.detail.startswith("cannot be checked: ")


SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["a"],
    "properties": {
        "a": {"type": "integer", "minimum": 0},
        "b": {"type": "array", "uniqueItems": True, "items": {"type": ["string", "number", "array", "boolean"]}},
        "c": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"d": {"maxLength": 3}},
            "required": ["d"],
        },
    },
    "additionalProperties": {"type": "boolean"},
}
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(-3, 3, width=16) | st.text("ab", max_size=5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4)
)


@given(st.dictionaries(st.sampled_from("abcde"), VALUES))
def test_another_library_says_the_same(inputs: dict[str, Any]) -> None:
    """Inputs fit exactly when an independent implementation finds that they fit."""
    second = jsonschema_rs.Draft202012Validator(SCHEMA, validate_formats=True)
    assert (faults(SCHEMA, inputs) == []) == second.is_valid(inputs)


@pytest.mark.parametrize(
    ("schema", "key", "says"),
    [
        ("object", "inputs", "as an object"),
        (True, "inputs", "as an object"),
        ({"type": "objekt"}, "inputs.type", "objekt"),
        ({"properties": {"a": {"minimum": "3"}}}, "inputs.properties.a.minimum", "not of type 'number'"),
        ({"properties": {"a": {"pattern": "("}}}, "inputs.properties.a.pattern", "regex"),
        ({"properties": {"a": {"default": {1, 2}}}}, "inputs.properties.a.default", "set"),
        ({"required": "a"}, "inputs.required", "array"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "inputs.$schema", "2020-12"),
        ({"properties": {"a": {"$ref": "https://example.com/schema"}}}, "inputs", "https://example.com/schema"),
        ({"properties": {"a": {"$ref": "#/$defs/missing"}}}, "inputs", "#/$defs/missing"),
        ({"properties": {"a": {"$dynamicRef": "#missing"}}}, "inputs", "#missing"),
        ({"$ref": "#"}, "inputs", "without end"),
    ],
)
def test_a_schema_that_cannot_work_is_refused(
    schema: Any, key: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is made, with the place in it; nothing is fetched to find out."""

    def connect(*_: object) -> None:
        pytest.fail("something was fetched")

    monkeypatch.setattr(socket, "getaddrinfo", connect)
    with pytest.raises(InvalidConfig) as caught:
        InputsSchema(schema)
    assert caught.value.key == key
    assert says in caught.value.reason


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"$defs": {"a": {"$id": "https://example.com/a"}}, "properties": {"a": {"$ref": "https://example.com/a"}}},
        {"$defs": {"a": {"$anchor": "there"}}, "properties": {"a": {"$ref": "#there"}}},
        {"enum": [{"$ref": "https://example.com/"}, {}], "default": {"$ref": "x"}},
        {"properties": {"$ref": {"type": "string"}}},
        {"properties": {"a": True}},
    ],
)
def test_references_within_the_schema_are_followed(schema: dict[str, Any]) -> None:
    """By name, anchor or pointer; data and property names that look like references are none."""
    assert faults(schema, {}) == []


def test_defaults_are_filled_in_at_the_top() -> None:
    """Only missing properties get one, only at the top, and each time a copy."""
    schema = InputsSchema(
        {
            "properties": {
                "a": {"default": [1]},
                "b": {"properties": {"c": {"default": 1}}},
                "d": True,
                "e": {"default": None},
            }
        }
    )
    given_inputs: dict[str, Any] = {"b": {}}
    filled = schema.filled(given_inputs)
    assert filled == {"a": [1], "b": {}, "e": None}
    filled["a"].append(2)
    assert schema.filled({"a": 0}) == {"a": 0, "e": None}
    assert schema.filled({}) == {"a": [1], "e": None}
    assert given_inputs == {"b": {}}


def test_the_schema_is_a_copy() -> None:
    """Later changes to the schema that was passed in have no effect."""
    document: dict[str, Any] = {"type": "object", "required": []}
    schema = InputsSchema(document)
    document["required"].append("a")
    assert schema.faults({}) == []
    assert schema.document == {"type": "object", "required": []}
    assert InputsSchema().document == {"type": "object"}


def test_a_reference_that_some_inputs_alone_follow_is_a_fault() -> None:
    """A dynamic reference within a part of a schema cannot be resolved; the inputs are refused, with the reason."""
    schema = {"properties": {"value": {"$id": "https://loopkit.test/value", "$ref": DIALECT}}}
    (fault,) = faults(schema, {"value": {"$defs": {"foo": {"type": "integer"}}}})
    assert "a reference cannot be resolved" in fault.detail
