"""Forms made of schemas: which control fits what, and that what is typed and what is stored are the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.core.inputs import InputsSchema
from loopkit.errors import Fault
from loopkit_web import forms
from loopkit_web.forms.shapes import shape_of

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["thesis", "done", "who"],
    "additionalProperties": False,
    "properties": {
        "thesis": {"type": "string"},
        "code/name~1": {"type": "string", "maxLength": 9},
        "kind": {"enum": ["a", 2, True]},
        "count": {"type": "integer", "minimum": 1, "maximum": 9},
        "share": {"type": ["number", "null"]},
        "done": {"type": "boolean"},
        "loud": {"type": "boolean", "default": True},
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "names": {"type": "array", "items": {"type": "string"}},
        "tags": {"type": "array", "uniqueItems": True, "items": {"enum": ["x", "y", "z"]}},
        "who": {
            "type": "object",
            "required": ["name"],
            "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        },
        "staff": {"type": "array", "items": {"$ref": "#/$defs/person"}},
        "extra": {"oneOf": [{"type": "string"}, {"type": "array"}]},
        "key": {"type": "string", "writeOnly": True},
    },
    "$defs": {"person": {"type": "object", "properties": {"name": {"type": "string"}, "n": {"type": "number"}}}},
}
WORD = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1, max_size=8).filter(str.strip)
INPUTS = st.fixed_dictionaries(
    {
        "thesis": WORD,
        "done": st.booleans(),
        "who": st.fixed_dictionaries({"name": WORD}, optional={"age": st.integers()}),
    },
    optional={
        "code/name~1": WORD,
        "kind": st.sampled_from(["a", 2, True]),
        "count": st.integers(1, 9),
        "share": st.floats(0, 1),
        "day": st.dates().map(str),
        "at": st.just("2026-11-22T10:30:00Z"),
        "names": st.lists(WORD, min_size=1, max_size=3),
        "tags": st.lists(st.sampled_from("xyz"), min_size=1, unique=True).map(sorted),
        "staff": st.lists(st.fixed_dictionaries({"name": WORD}, optional={"n": st.integers()}), min_size=1, max_size=2),
        "extra": st.just(["any", {"json": 1}]),
        "loud": st.booleans(),
    },
)


@given(INPUTS)
def test_inputs_survive_the_form(inputs: dict[str, Any]) -> None:
    """The form that is filled with a run's inputs gives the same inputs back, but for secrets."""
    raw = forms.raw_of(SCHEMA, inputs)
    found, _, faults = forms.read(SCHEMA, raw)
    assert faults == []
    # a box that is not ticked says no where yes is the default
    assert found == {"loud": False, **inputs}


@pytest.mark.parametrize(
    ("schema", "shape"),
    [
        ({"type": "string"}, "long"),
        ({"type": "string", "maxLength": 100}, "text"),
        ({"type": "string", "maxLength": 500}, "long"),
        ({"type": "string", "format": "email"}, "text"),
        ({"type": "string", "format": "password"}, "secret"),
        ({"type": ["integer", "null"]}, "whole"),
        ({"const": 3}, "choice"),
        ({"type": "array", "items": {"type": "string"}}, "list"),
        ({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}, "json"),
        ({"type": "array"}, "json"),
        ({"type": "object"}, "json"),
        ({"allOf": [{"type": "string"}]}, "json"),
        ({"type": ["string", "integer"]}, "json"),
        ({}, "json"),
    ],
)
def test_the_control_fits_the_schema(schema: dict[str, Any], shape: str) -> None:
    """What may have lines gets a field with lines; what no control fits is typed as JSON."""
    assert shape_of(schema) == shape


def test_an_empty_optional_field_is_left_out() -> None:
    """Nothing typed is nothing sent: no empty texts, lists or groups."""
    empty = dict.fromkeys(("/code~1name~01", "/count", "/share", "/names/0", "/names/1", "/extra", "/day"), ("",))
    found, kept, faults = forms.read(SCHEMA, {**empty, "/thesis": ("a",), "/who/name": ("b",)})
    assert faults == []
    assert found == {"thesis": "a", "done": False, "loud": False, "who": {"name": "b"}}
    assert not [name for name in kept if name.startswith("/names")]


def test_what_cannot_be_read_is_kept_for_its_fault() -> None:
    """A number that is none, a choice that is none and JSON that is none come back as they were typed."""
    raw = {"/count": ("many",), "/kind": ("b",), "/extra": ("{",), "/names/3": ("x",), "/names/7": ("y",)}
    found, kept, faults = forms.read(SCHEMA, raw)
    assert (found["count"], found["kind"], found["names"]) == ("many", "b", ["x", "y"])
    assert kept["/extra"] == ("{",)
    assert kept["/names/1"] == ("y",), "rows are numbered as the faults number them"
    assert [fault.pointer for fault in faults] == ["/extra"]
    pointers = {fault.pointer for fault in InputsSchema(SCHEMA).faults(found)}
    assert {"/count", "/kind"} <= pointers


def test_a_fault_stands_at_its_control_or_the_one_around_it() -> None:
    """A fault deep inside a value that is typed as JSON is told at that field."""
    faults = [Fault("/who/age", "is wrong"), Fault("/extra/0/json", "is deep"), Fault("/staff/0/n", "is no number")]
    controls = forms.controls_of(SCHEMA, {"/staff/0/n": ("x",)}, faults)
    told = {one.pointer: one.faults for top in controls for one in top.walk() if one.faults}
    assert told == {"/who/age": ("is wrong",), "/extra": ("is deep",), "/staff/0/n": ("is no number",)}


def test_secrets_are_never_shown_again() -> None:
    """Neither a run's nor what was just typed."""
    controls = forms.controls_of(SCHEMA, {"/key": ("hunter2",)})
    assert all(one.value == "" for top in controls for one in top.walk() if one.shape == "secret")
    assert "/key" not in forms.raw_of(SCHEMA, {"key": "hunter2"})


def test_inputs_without_a_form_are_one_json_field() -> None:
    """A schema without properties takes a JSON object; further inputs beside a form have a field as well."""
    [control] = forms.controls_of({"type": "object"}, {"": ('{"a": 1}',)})
    assert (control.shape, control.name) == ("json", "inputs")
    assert forms.read({"type": "object"}, {"": ('{"a": 1}',)})[0] == {"a": 1}
    assert forms.read({"type": "object"}, {"": ("[1]",)})[2] == [Fault("", "must be a JSON object")]
    open_schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    raw = forms.raw_of(open_schema, {"a": "x", "b": [1]})
    assert forms.read(open_schema, raw)[0] == {"a": "x", "b": [1]}


def test_rows_come_and_go() -> None:
    """A list grows by an empty row and loses the one that is named."""
    raw = forms.with_row({"/names/0": ("a",)}, "/names")
    assert raw == {"/names/0": ("a",), "/names/1": ("",)}
    assert forms.without_row(raw, "/names/0") == {"/names/1": ("",)}


def test_every_control_has_an_id_of_its_own() -> None:
    """Names with slashes, tildes and blanks make no two fields one."""
    names = ["a b", "a/b", "a~b", "a.b", "a-b", "ä", "a"]
    controls = forms.controls_of({"type": "object", "properties": {name: {"type": "string"} for name in names}}, {})
    assert len({control.id for control in controls}) == len(names) + 1
