"""Tests of the conversion between form fields and inputs."""

from typing import Any

from hypothesis import given

from loopkit.core.inputs import InputsSchema
from loopkit.errors import Fault
from loopkit_web.dashboard import forms
from tests.web.dashboard.forms.schema_helpers import INPUTS, SCHEMA


@given(INPUTS)
def test_inputs_survive_the_form(inputs: dict[str, Any]) -> None:
    """A form that is filled with a run's inputs returns the same inputs, except passwords."""
    filled = forms.read_inputs(SCHEMA, forms.fill_fields(SCHEMA, inputs))
    assert filled.faults == []
    # an unticked checkbox means false where the default is true
    assert filled.inputs == {"loud": False, **inputs}


def test_empty_optional_field_is_left_out() -> None:
    """Nothing typed means nothing sent: no empty texts, lists or groups."""
    empty = dict.fromkeys(("/code~1name~01", "/count", "/share", "/names/0", "/names/1", "/extra", "/day"), ("",))
    filled = forms.read_inputs(SCHEMA, {**empty, "/thesis": ("a",), "/who/name": ("b",)})
    assert filled.faults == []
    assert filled.inputs == {"thesis": "a", "done": False, "loud": False, "who": {"name": "b"}}
    assert not [name for name in filled.values if name.startswith("/names")]


def test_unreadable_text_is_kept_for_its_fault() -> None:
    """Text that is not a number, not one of the choices or not JSON is returned as it was typed."""
    values = {"/count": ("many",), "/kind": ("b",), "/extra": ("{",), "/names/3": ("x",), "/names/7": ("y",)}
    filled = forms.read_inputs(SCHEMA, values)
    inputs = filled.inputs
    assert (inputs["count"], inputs["kind"], inputs["names"]) == ("many", "b", ["x", "y"])
    assert filled.values["/extra"] == ("{",)
    assert filled.values["/names/1"] == ("y",), "rows are numbered as the faults number them"
    assert [fault.pointer for fault in filled.faults] == ["/extra"]
    pointers = {fault.pointer for fault in InputsSchema(SCHEMA).faults(inputs)}
    assert {"/count", "/kind"} <= pointers


def test_inputs_without_properties_are_read_from_json() -> None:
    """A schema without properties takes a JSON object; beside a form, a JSON object takes further inputs."""
    assert forms.read_inputs({"type": "object"}, {"": ('{"a": 1}',)}).inputs == {"a": 1}
    assert forms.read_inputs({"type": "object"}, {"": ("[1]",)}).faults == [Fault("", "must be a JSON object")]
    open_schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    values = forms.fill_fields(open_schema, {"a": "x", "b": [1]})
    assert forms.read_inputs(open_schema, values).inputs == {"a": "x", "b": [1]}


def test_rows_are_added_and_removed() -> None:
    """A list gets an empty row, and loses the row that is named."""
    values = forms.add_row({"/names/0": ("a",)}, "/names")
    assert values == {"/names/0": ("a",), "/names/1": ("",)}
    assert forms.remove_row(values, "/names/0") == {"/names/1": ("",)}


def test_defaults_fill_their_fields() -> None:
    """An empty form has the defaults of the schema's properties in it."""
    schema = {"type": "object", "properties": {"n": {"type": "integer", "default": 3}, "m": {"type": "integer"}}}
    assert forms.fill_defaults(schema) == {"/n": ("3",)}
