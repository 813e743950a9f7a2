"""A form that is filled with inputs and sent as it comes returns them, for every valid instance of a foreign suite."""

import json

from loopkit.core.inputs import InputsSchema
from loopkit.errors import InvalidConfig
from loopkit_web.dashboard.forms.controls import build_controls
from loopkit_web.dashboard.forms.exact_values import fill_exactly, sent_fields
from loopkit_web.dashboard.forms.field_values import parse_fields, read_inputs
from tests.json_schema_helpers import Group, groups


def test_valid_instances_come_back() -> None:
    """What comes back otherwise is named beforehand: an order of keys that a schema's ``const`` fixes."""
    returned, lost = 0, []
    for group in groups():
        if not is_usable(group):
            continue
        for description, inputs, valid in group.cases:
            if not valid:
                continue
            filled = fill_exactly(group.schema, inputs)
            fields = parse_fields(sent_fields(build_controls(group.schema, filled.values)))
            assert read_inputs(group.schema, fields).faults == []
            if filled.lost:
                lost.append(f"{group.name}: {description}")
            else:
                texts = [json.dumps(one, sort_keys=True) for one in (read_inputs(group.schema, fields).inputs, inputs)]
                assert texts[0] == texts[1], group.name
                returned += 1
    assert lost == ["const: const with object: same object with different property order is valid"]
    assert returned > 1_300, "the suite is there"


def is_usable(group: Group) -> bool:
    """Return whether an agent can be made with the schema."""
    try:
        InputsSchema(group.schema)
    except InvalidConfig:
        return False
    return True
