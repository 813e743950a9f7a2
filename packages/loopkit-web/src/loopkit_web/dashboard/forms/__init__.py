"""Forms built from JSON Schemas, and inputs read back from them. All of it happens on the server, without a script.

``widgets`` chooses the control for a schema; ``field_values`` converts between fields and inputs; ``controls`` builds
the controls; ``exact_values`` fills a form so that it returns the same inputs; ``control_faults`` shows faults at the
controls. Imports run from the last to the first.
"""

from loopkit_web.dashboard.forms.control_faults import ListedFault, list_faults, mark_faults
from loopkit_web.dashboard.forms.controls import Control, build_controls
from loopkit_web.dashboard.forms.exact_values import ExactValues, fill_exactly
from loopkit_web.dashboard.forms.field_values import (
    FieldValues,
    FilledForm,
    add_row,
    default_inputs,
    fill_defaults,
    fill_fields,
    parse_fields,
    read_inputs,
    remove_row,
)
from loopkit_web.dashboard.forms.widgets import first_depth

__all__ = [
    "Control",
    "ExactValues",
    "FieldValues",
    "FilledForm",
    "ListedFault",
    "add_row",
    "build_controls",
    "default_inputs",
    "fill_defaults",
    "fill_exactly",
    "fill_fields",
    "first_depth",
    "list_faults",
    "mark_faults",
    "parse_fields",
    "read_inputs",
    "remove_row",
]
