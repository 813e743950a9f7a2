"""Tests of the choice of controls."""

from typing import Any

import pytest

from loopkit_web.dashboard.forms import build_controls, fill_fields, read_inputs
from loopkit_web.dashboard.forms.widgets import Widget, first_depth, widget_of


@pytest.mark.parametrize(
    ("schema", "widget"),
    [
        ({"type": "string"}, Widget.MULTILINE),
        ({"type": "string", "maxLength": 100}, Widget.TEXT),
        ({"type": "string", "maxLength": 500}, Widget.MULTILINE),
        ({"type": "string", "format": "email"}, Widget.TEXT),
        ({"type": "string", "format": "password"}, Widget.PASSWORD),
        ({"type": ["integer", "null"]}, Widget.INTEGER),
        ({"const": 3}, Widget.SELECT),
        ({"type": "array", "items": {"type": "string"}}, Widget.LIST),
        ({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}, Widget.JSON),
        ({"type": "array"}, Widget.JSON),
        ({"type": "object"}, Widget.JSON),
        ({"allOf": [{"type": "string"}]}, Widget.JSON),
        ({"type": ["string", "integer"]}, Widget.JSON),
        ({}, Widget.JSON),
    ],
)
def test_control_fits_the_schema(schema: dict[str, Any], widget: Widget) -> None:
    """A text without a small bound gets several lines; a value that no control fits is typed as JSON."""
    assert widget_of(schema) is widget


def nested(*properties: str) -> dict[str, Any]:
    """Return a schema whose members are all of the same kind as the whole."""
    members: dict[str, Any] = {name: {"$ref": "#/$defs/node"} for name in properties}
    node = {"type": "object", "properties": {**members, "v": {"type": "string"}}}
    return {"type": "object", "properties": {"root": {"$ref": "#/$defs/node"}}, "$defs": {"node": node}}


ROWS = {"type": "object", "properties": {"l": {"type": "array", "items": {"type": "string"}}}}


@pytest.mark.parametrize(
    ("schema", "inputs", "depth"),
    [
        (nested("next"), {}, 0),
        (nested(*"abcdefgh"), {}, 3),
        ({"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(300)}}, {}, 0),
        ({"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(5_000)}}, {}, 6),
        ({"type": "object", "properties": {"a": {"enum": list(range(400))}}}, {}, 0),
        (ROWS, {"l": ["x"] * 300}, 0),
        (ROWS, {"l": ["x"] * 600}, 4),
    ],
)
def test_form_of_any_schema_has_a_bounded_number_of_controls(
    schema: dict[str, Any], inputs: dict[str, Any], depth: int
) -> None:
    """Groups and lists that would need too many controls become JSON fields, the innermost ones first."""
    assert first_depth(schema, inputs) == depth
    controls = build_controls(schema, fill_fields(schema, inputs, depth), depth)
    assert sum(1 for control in controls for _ in control.walk()) <= 402


def test_inputs_come_back_from_a_form_of_any_depth() -> None:
    """What a form of a depth was filled with is read from it with the same depth."""
    schema = nested("a", "b")
    inputs = {"root": {"v": "x", "a": {"v": "y", "b": {"v": "z", "a": {"v": "w"}}}}}
    for depth in range(7):
        values = fill_fields(schema, inputs, depth)
        assert read_inputs(schema, values, depth).inputs == inputs
