"""Tests of forms that are filled with the inputs of a run and sent as they are."""

import json
from typing import Any

import pytest

from loopkit_web.dashboard.forms.controls import build_controls
from loopkit_web.dashboard.forms.exact_values import fill_exactly, sent_fields
from loopkit_web.dashboard.forms.field_values import parse_fields, read_inputs
from loopkit_web.dashboard.forms.widgets import Widget

STRING = {"type": "string"}
MEMBERS: list[tuple[Any, Any]] = [
    (STRING, "a"),
    (STRING, ""),
    (STRING, "  "),
    (STRING, "two\nlines\n"),
    (STRING, "\r\n and \r"),
    (STRING, "\n first"),
    ({"type": "string", "maxLength": 9}, "a\nb"),
    ({"type": ["string", "null"]}, None),
    ({"type": ["string", "null"]}, "null"),
    ({"anyOf": [STRING, {"type": "null"}]}, None),
    ({"enum": ["1", 1, None, True, "a\r\nb", {}]}, "1"),
    ({"enum": ["1", 1]}, 1),
    ({"enum": [1, None]}, None),
    ({"enum": ["a\r\nb"]}, "a\r\nb"),
    ({"const": {"a": []}}, {"a": []}),
    ({}, {}),
    ({}, None),
    ({}, [1, {"a": None}]),
    ({}, "text"),
    ({"type": "number"}, 1e-9),
    ({"type": "number"}, 10**300),
    ({"type": "integer"}, 1.0),
    ({"type": "boolean"}, False),
    ({"type": "string", "format": "date"}, "2026-02-28"),
    ({"type": "string", "format": "date"}, "0000-01-01"),
    ({"type": "string", "format": "date-time"}, "2026-11-22T10:30:00Z"),
    ({"type": "string", "format": "date-time"}, "2026-11-22T10:30:00+01:00"),
    ({"type": "string", "format": "date-time"}, "1998-12-31T23:59:60Z"),
    ({"type": "string", "format": "date-time"}, "2026-11-22t10:30:00.123456z"),
    ({"type": "array", "items": STRING}, []),
    ({"type": "array", "items": STRING}, ["a", "", "b"]),
    ({"type": "array", "items": STRING}, ["x"] * 501),
    ({"type": "array", "uniqueItems": True, "items": {"enum": ["a", "b"]}}, ["b", "a"]),
    ({"type": "object", "properties": {"flag": {"type": "boolean"}}}, {}),
    ({"type": "object", "properties": {"flag": {"type": "boolean"}}}, {"flag": False}),
    ({"type": "object", "properties": {"a": STRING}}, {"a": "x", "further": 1}),
]


def returned(schema: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of a form that is filled with these inputs and sent as it is."""
    fields = sent_fields(build_controls(schema, fill_exactly(schema, inputs).values))
    filled = read_inputs(schema, parse_fields(fields))
    assert filled.faults == []
    return filled.inputs


@pytest.mark.parametrize("required", [True, False])
@pytest.mark.parametrize(("member", "value"), MEMBERS)
@pytest.mark.parametrize("name", ["a", "", "a/b~c"])
def test_form_sent_as_it_comes_returns_the_inputs(name: str, member: Any, value: Any, required: bool) -> None:
    """Whatever value a schema allows comes back the same, given or not, beside inputs that have no field."""
    schema = {"type": "object", "properties": {name: member}, "required": [name] if required else []}
    for inputs in ({name: value}, {name: value, "further": None}, {}):
        got = returned(schema, inputs)
        texts = [json.dumps(one, sort_keys=True) for one in (got, inputs)]
        assert texts[0] == texts[1], "1 is neither 1.0 nor true"
        assert fill_exactly(schema, inputs).lost == []


def test_usual_controls_stay() -> None:
    """Only an input whose control cannot hold its value has a field for JSON."""
    schema = {"type": "object", "properties": {"a": STRING, "b": STRING}}
    controls = build_controls(schema, fill_exactly(schema, {"a": "text", "b": ""}).values)
    assert [(control.name, control.widget, control.value) for control in controls[:2]] == [
        ("inputs/a", Widget.MULTILINE, "text"),
        ("json/b", Widget.JSON, '""'),
    ]


def test_passwords_are_named_and_never_shown() -> None:
    """A password is not in the form, not as JSON either; the form names it beforehand, also inside a group."""
    secret = {"type": "string", "writeOnly": True}
    schema = {
        "type": "object",
        "properties": {"key": secret, "login": {"type": "object", "properties": {"user": STRING, "key": secret}}},
    }
    filled = fill_exactly(schema, {"key": "s3cret", "login": {"user": "a", "key": "s3cret"}})
    assert filled.lost == ["key", "login"]
    assert "s3cret" not in repr(filled)


def test_unreadable_json_is_a_fault_of_its_input() -> None:
    """A field for JSON in place of a control reports its fault at the input."""
    schema = {"type": "object", "properties": {"a": STRING}}
    filled = read_inputs(schema, parse_fields([("json/a", "{")]))
    assert [fault.pointer for fault in filled.faults] == ["/a"]
