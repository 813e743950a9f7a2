"""Tests of the controls of a form."""

from loopkit_web.dashboard import forms
from loopkit_web.dashboard.forms.widgets import Widget
from tests.web.dashboard.forms.schema_helpers import SCHEMA


def test_passwords_are_never_shown_again() -> None:
    """Neither a run's password nor one that was just typed is put into its field."""
    controls = forms.build_controls(SCHEMA, {"/key": ("hunter2",)})
    passwords = [control for top in controls for control in top.walk() if control.widget is Widget.PASSWORD]
    assert [control.value for control in passwords] == [""]
    assert "/key" not in forms.fill_fields(SCHEMA, {"key": "hunter2"})


def test_inputs_without_properties_are_one_json_field() -> None:
    """A schema without properties has one field, for a JSON object."""
    [control] = forms.build_controls({"type": "object"}, {"": ('{"a": 1}',)})
    assert (control.widget, control.name) == (Widget.JSON, "inputs")


def test_every_control_has_its_own_id() -> None:
    """Names with slashes, tildes and blanks do not give two fields the same id."""
    names = ["a b", "a/b", "a~b", "a.b", "a-b", "ä", "a"]
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    assert len({control.id for control in forms.build_controls(schema, {})}) == len(names) + 1
