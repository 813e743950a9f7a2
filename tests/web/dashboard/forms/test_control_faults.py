"""Tests of faults at their controls, and in the list above the form."""

from loopkit.errors import Fault
from loopkit_web.dashboard import forms
from loopkit_web.dashboard.forms.control_faults import ListedFault
from tests.web.dashboard.forms.schema_helpers import SCHEMA


def test_fault_is_shown_at_its_control_or_the_one_around_it() -> None:
    """A fault deep inside a value that is typed as JSON is shown at that field."""
    faults = [Fault("/who/age", "is wrong"), Fault("/extra/0/json", "is deep"), Fault("/staff/0/n", "is not a number")]
    controls = forms.mark_faults(forms.build_controls(SCHEMA, {"/staff/0/n": ("x",)}), faults)
    marked = {control.pointer: control.faults for top in controls for control in top.walk() if control.faults}
    assert marked == {"/who/age": ("is wrong",), "/extra": ("is deep",), "/staff/0/n": ("is not a number",)}


def test_faults_are_listed_in_the_order_of_the_form() -> None:
    """The list follows the controls, with their labels; faults inside a value come last, with their pointers."""
    controls = forms.build_controls(SCHEMA, {"/names/0": ("x",)})
    faults = [Fault("/extra/0", "is deep"), Fault("/names/0", "is short"), Fault("/thesis", "is required")]
    assert forms.list_faults(controls, faults) == [
        ListedFault(label="Thesis", detail="is required", target="f-thesis"),
        ListedFault(label="Names 1", detail="is short", target="f-names-0"),
        ListedFault(label="/extra/0", detail="is deep", target="f-extra"),
    ]


def test_fault_of_all_inputs_is_listed_with_a_label() -> None:
    """A fault of the whole inputs is listed with the label of the field for further inputs."""
    controls = forms.build_controls({"type": "object", "properties": {"a": {"type": "string"}}}, {})
    [listed] = forms.list_faults(controls, [Fault("", "must be a JSON object")])
    assert (listed.label, listed.target) == ("Further inputs", "f-")


def test_fault_without_a_field_is_listed_without_a_link() -> None:
    """A form without controls still lists its faults."""
    assert forms.list_faults([], [Fault("/a", "is wrong")]) == [ListedFault(label="/a", detail="is wrong", target=None)]
