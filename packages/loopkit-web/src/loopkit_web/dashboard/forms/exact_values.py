"""Values of a form that is filled with the inputs of a run, so that it returns the same inputs if nothing is changed.

A control cannot hold every value that its schema allows: a text field has no null and no empty text, a list no empty
row, a time field no offset. So the form is filled, read again as a browser would send it, and compared with the inputs.
Every input that came back otherwise gets a field for JSON in place of its control. An input that even that cannot
carry (a password, which is never shown again) is named, so that the page can say so beforehand.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from loopkit import wire
from loopkit_web.dashboard.forms.controls import Control, build_controls
from loopkit_web.dashboard.forms.field_values import (
    AS_JSON,
    FieldValues,
    fill_fields,
    json_text,
    member_pointer,
    parse_fields,
    read_inputs,
)
from loopkit_web.dashboard.forms.widgets import Schema, Widget, properties_of, resolved, widget_of

__all__ = ["ExactValues", "fill_exactly", "sent_fields"]

_LINE_END: Final = re.compile(r"\r\n|\r|\n")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?")


@attrs.frozen(kw_only=True)
class ExactValues:
    """Fields filled with inputs."""

    values: FieldValues
    lost: Sequence[str]
    """Names of the inputs that the form does not return as they are."""


def fill_exactly(schema: Schema, inputs: Mapping[str, Any], depth: int = 0) -> ExactValues:
    """Return the values of the fields for these inputs, with JSON where a control cannot hold a value.

    Args:
        depth: depth that the inputs begin with; see :func:`.widgets.first_depth`.
    """
    values = fill_fields(schema, inputs, depth)
    root = resolved(schema, schema)
    if widget_of(root, depth) is Widget.GROUP:
        secret = {name for name, member in properties_of(root).items() if _has_password(member, schema, depth)}
        for name in _changed(schema, values, inputs, depth):
            if name in properties_of(root) and name not in secret:
                values = _with_json(values, name, inputs)
    return ExactValues(values=values, lost=_changed(schema, values, inputs, depth))


def _with_json(values: FieldValues, name: str, inputs: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the fields with the value of one input as JSON; an input that is not given has an empty field."""
    pointer = member_pointer("", name)
    others = {key: texts for key, texts in values.items() if key != pointer and not key.startswith(pointer + "/")}
    return {**others, AS_JSON + pointer: (json_text(inputs[name]) if name in inputs else "",)}


def _has_password(schema: Any, root: Schema, depth: int = 0) -> bool:
    """Return whether a control of the schema, or one in it, is for a password."""
    member = resolved(schema, root)
    widget = widget_of(member, depth + 1)
    if widget is not Widget.GROUP:
        return widget is Widget.PASSWORD
    return any(_has_password(child, root, depth + 1) for child in properties_of(member).values())


def _changed(schema: Schema, values: FieldValues, inputs: Mapping[str, Any], depth: int) -> list[str]:
    """Return the names of the inputs that come back otherwise from a form with these values."""
    fields = sent_fields(build_controls(schema, values, depth))
    returned = read_inputs(schema, parse_fields(fields), depth).inputs
    return [name for name in dict.fromkeys([*inputs, *returned]) if _text(inputs, name) != _text(returned, name)]


def _text(inputs: Mapping[str, Any], name: str) -> str:
    return json.dumps(inputs[name], sort_keys=True) if name in inputs else ""


def sent_fields(controls: Iterable[Control]) -> Iterator[tuple[str, str]]:
    """Yield the names and values that a browser sends for these controls if nothing is changed."""
    for control in controls:
        for text in _sent_texts(control):
            yield _LINE_END.sub("\r\n", control.name), _LINE_END.sub("\r\n", text)
        yield from sent_fields(control.children)


def _sent_texts(control: Control) -> Sequence[str]:
    chosen = [option.value for option in control.options if option.is_chosen]
    match control.widget:
        case Widget.GROUP | Widget.LIST:
            return ()
        case Widget.CHECKBOX:
            return ("on",) if control.value else ()
        case Widget.CHECKBOXES:
            return chosen
        case Widget.SELECT:
            has_empty = not control.is_required or not control.value
            first = "" if has_empty or not control.options else control.options[0].value
            return (chosen[-1] if chosen else first,)
        case Widget.MULTILINE | Widget.JSON:
            return (control.value,)
        case Widget.PASSWORD:
            return ("",)
        case Widget.DATE:
            return (control.value if _is_time(control.value, _DATE) else "",)
        case Widget.DATETIME:
            return (control.value if _is_time(control.value, _TIME) else "",)
        case _:
            return (_LINE_END.sub("", control.value),)


def _is_time(text: str, form: re.Pattern[str]) -> bool:
    """Return whether a browser keeps a text in its field for dates or times; it clears what is none."""
    if not text.isascii() or not form.fullmatch(text):
        return False
    try:
        wire.parse_instant(text)
    except ValueError:
        return False
    return True
