"""Conversion between form fields and run inputs, both ways.

A field is named by the JSON pointer of its value: ``/thesis``, ``/exclude/0``. An empty field is left out of the
inputs, unless its list, checkbox or group requires a value. Text that is not a number or not a time remains text, so
that validation of the inputs reports it and the form shows it again.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from loopkit.core import strict_json
from loopkit.errors import Fault
from loopkit_web.dashboard.forms.widgets import (
    Schema,
    Widget,
    is_nullable,
    items_of,
    option_text,
    options_of,
    properties_of,
    resolved,
    widget_of,
)

__all__ = [
    "AS_JSON",
    "FORM_PREFIX",
    "JSON_PREFIX",
    "FieldValues",
    "FilledForm",
    "add_row",
    "default_inputs",
    "fill_defaults",
    "fill_fields",
    "is_as_json",
    "json_text",
    "member_pointer",
    "parse_fields",
    "read_inputs",
    "remove_row",
    "row_numbers",
]

FieldValues = Mapping[str, tuple[str, ...]]
"""Texts of a form's fields, by the pointer of their value."""

FORM_PREFIX: Final = "inputs"
"""Prefix of the names of all fields for inputs; the pointer follows."""
JSON_PREFIX: Final = "json"
"""Prefix of the names of fields for JSON that stand in place of a control which cannot hold the value."""
AS_JSON: Final = "="
"""Prefix of the pointers of these fields in the values."""
_OMITTED: Final = object()
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
_MAX_NUMBER_CHARS: Final = 300
_LOCAL_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?")
_MAX_ROWS: Final = 500


def member_pointer(pointer: str, name: str) -> str:
    """Return the pointer of an object's member."""
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"


def is_as_json(values: FieldValues, pointer: str) -> bool:
    """Return whether a value has a field for JSON in place of its control.

    An input without a name always has: the pointer of its control would be that of the field of further inputs.
    """
    return AS_JSON + pointer in values or pointer == "/"


def parse_fields(fields: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Return the fields for inputs among those of a submitted form, with every line end as a line feed."""
    values: dict[str, tuple[str, ...]] = {}
    for name, value in fields:
        if name == FORM_PREFIX or name.startswith(FORM_PREFIX + "/"):
            pointer = name.removeprefix(FORM_PREFIX)
        elif name.startswith(JSON_PREFIX + "/"):
            pointer = AS_JSON + name.removeprefix(JSON_PREFIX)
        else:
            continue
        values[pointer] = (*values.get(pointer, ()), value.replace("\r\n", "\n"))
    return values


@attrs.frozen(kw_only=True)
class FilledForm:
    """Inputs read from a form."""

    inputs: dict[str, Any]
    values: FieldValues
    """The fields, with empty rows removed and the others numbered as the items of the inputs."""
    faults: Sequence[Fault]
    """Fields that hold no JSON; they are missing from the inputs."""


def read_inputs(schema: Schema, values: FieldValues, depth: int = 0) -> FilledForm:
    """Read the inputs from the fields of a form that begins with a depth. They are not validated yet."""
    reader = _Reader(schema, values)
    inputs = reader.read(resolved(schema, schema), "", depth, is_required=True)
    return FilledForm(inputs=inputs if isinstance(inputs, dict) else {}, values=reader.values, faults=reader.faults)


class _Reader:
    """Reader of one form's fields."""

    def __init__(self, root: Schema, values: FieldValues) -> None:
        self._root = root
        self.values = dict(values)
        self.faults: list[Fault] = []

    def _text(self, pointer: str) -> str:
        return (self.values.get(pointer) or ("",))[-1]

    def read(self, schema: Schema, pointer: str, depth: int, *, is_required: bool) -> Any:
        """Return the value of the fields at and below a pointer; `_OMITTED` if they are empty and not required."""
        match widget_of(schema, depth):
            case Widget.GROUP:
                return self._group(schema, pointer, depth, is_required)
            case Widget.LIST:
                return self._list(schema, pointer, depth, is_required)
            case Widget.CHECKBOXES:
                items = items_of(schema, self._root)
                chosen = [_chosen(items, text) for text in self.values.get(pointer, ())]
                return chosen if chosen or is_required else _OMITTED
            case Widget.CHECKBOX:
                return self._checkbox(schema, pointer, is_required)
            case Widget.JSON:
                return self._json(pointer)
            case widget:
                return self._scalar(schema, widget, pointer, is_required)

    def _group(self, schema: Schema, pointer: str, depth: int, is_required: bool) -> Any:
        required = schema.get("required", [])
        members: dict[str, Any] = {}
        for name, member_schema in properties_of(schema).items():
            place = member_pointer(pointer, name)
            if is_as_json(self.values, place):
                value = self._json(AS_JSON + place)
            else:
                member = resolved(member_schema, self._root)
                value = self.read(member, place, depth + 1, is_required=name in required)
            if value is not _OMITTED:
                members[name] = value
        if pointer == "" and isinstance(further := self._json("/"), dict):
            members = {**further, **members}
        # an optional group counts as filled by more than unticked checkboxes and empty lists
        is_filled = any(value not in (False, [], {}) for value in members.values())
        return members if is_required or is_filled else _OMITTED

    def _list(self, schema: Schema, pointer: str, depth: int, is_required: bool) -> Any:
        """Return the items, and renumber their fields without the empty rows."""
        items = items_of(schema, self._root)
        values: list[Any] = []
        renumbered: dict[str, tuple[str, ...]] = {}
        for row in row_numbers(self.values, pointer):
            row_pointer = f"{pointer}/{row}"
            value = self.read(items, row_pointer, depth + 1, is_required=False)
            if value is not _OMITTED:
                renumbered |= _moved(self.values, row_pointer, f"{pointer}/{len(values)}")
                values.append(value)
        for name in [name for name in self.values if name.startswith(pointer + "/")]:
            del self.values[name]
        self.values |= renumbered
        return values if values or is_required else _OMITTED

    def _checkbox(self, schema: Schema, pointer: str, is_required: bool) -> Any:
        if self._text(pointer):
            return True
        return False if is_required or schema.get("default") is True else _OMITTED

    def _json(self, pointer: str) -> Any:
        text = self._text(pointer).strip()
        if not text:
            return _OMITTED
        place = pointer.removeprefix(AS_JSON) if pointer.startswith(AS_JSON) else pointer.rstrip("/")
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            self.faults.append(Fault(place, f"is not JSON: {error}"))
            return _OMITTED
        if pointer in ("", "/") and not isinstance(value, dict):
            self.faults.append(Fault("", "must be a JSON object"))
            return _OMITTED
        if faults := strict_json.faults(value):
            self.faults += [Fault(place + fault.pointer, fault.detail) for fault in faults]
            return _OMITTED
        return value

    def _scalar(self, schema: Schema, widget: Widget, pointer: str, is_required: bool) -> Any:
        text = self._text(pointer)
        if not text.strip():
            return None if is_required and is_nullable(schema) else _OMITTED
        match widget:
            case Widget.SELECT:
                return _chosen(schema, text)
            case Widget.INTEGER | Widget.NUMBER:
                return _number(text)
            case Widget.DATETIME:
                return _utc_time(text)
            case _:
                return text


def _chosen(schema: Schema, text: str) -> Any:
    return next((value for value in options_of(schema) if option_text(value) == text), text)


def _number(text: str) -> Any:
    """Return a typed number; anything else is returned as text, and validation rejects it."""
    stripped = text.strip().replace("−", "-")
    if not _NUMBER.fullmatch(stripped) or len(stripped) > _MAX_NUMBER_CHARS:
        return text
    value = float(stripped) if any(sign in stripped for sign in ".eE") else int(stripped)
    return text if strict_json.faults(value) else value


def _utc_time(text: str) -> str:
    """Return the time of a browser's time field, which has no zone, as UTC; anything else as it is."""
    if _LOCAL_TIME.fullmatch(text):
        return f"{text}Z" if text.count(":") == 2 else f"{text}:00Z"
    return text


def row_numbers(values: FieldValues, pointer: str) -> list[int]:
    """Return the numbers of the rows that a list has in the form, in order; at most 500."""
    parts = {name[len(pointer) + 1 :].split("/")[0] for name in values if name.startswith(pointer + "/")}
    return sorted(int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 6)[:_MAX_ROWS]


def add_row(values: FieldValues, pointer: str) -> dict[str, tuple[str, ...]]:
    """Return the fields with an empty row added to a list."""
    rows = row_numbers(values, pointer)
    return {**values, f"{pointer}/{rows[-1] + 1 if rows else 0}": ("",)}


def remove_row(values: FieldValues, row_pointer: str) -> dict[str, tuple[str, ...]]:
    """Return the fields without one row of a list."""
    return {
        name: texts for name, texts in values.items() if name != row_pointer and not name.startswith(row_pointer + "/")
    }


def _moved(values: FieldValues, old: str, new: str) -> dict[str, tuple[str, ...]]:
    """Return the fields at and below a pointer, named below another one."""
    return {
        new + name[len(old) :]: texts for name, texts in values.items() if name == old or name.startswith(old + "/")
    }


def fill_fields(schema: Schema, inputs: Mapping[str, Any], depth: int = 0) -> dict[str, tuple[str, ...]]:
    """Return the values of the fields for these inputs. Passwords are left out."""
    return dict(_fields(schema, resolved(schema, schema), "", inputs, depth))


def default_inputs(schema: Schema) -> dict[str, Any]:
    """Return the defaults of the schema's properties."""
    return {
        name: member["default"]
        for name, member in properties_of(schema).items()
        if isinstance(member, dict) and "default" in member
    }


def fill_defaults(schema: Schema, depth: int = 0) -> dict[str, tuple[str, ...]]:
    """Return the values of the fields for the defaults of the schema's properties."""
    return fill_fields(schema, default_inputs(schema), depth)


def _fields(
    root: Schema, schema: Schema, pointer: str, value: Any, depth: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    widget = widget_of(schema, depth)
    if widget is Widget.GROUP and isinstance(value, Mapping):
        yield from _group_fields(root, schema, pointer, value, depth)
    elif widget is Widget.LIST and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _fields(root, items_of(schema, root), f"{pointer}/{index}", item, depth + 1)
    elif widget is Widget.CHECKBOXES and isinstance(value, list):
        yield pointer, tuple(option_text(item) for item in value)
    elif widget is not Widget.PASSWORD and value is not None:
        yield pointer, _field_texts(widget, value)


def _group_fields(
    root: Schema, schema: Schema, pointer: str, value: Mapping[str, Any], depth: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    properties = properties_of(schema)
    for name, member_schema in properties.items():
        if name in value and pointer == name == "":
            yield AS_JSON + "/", (json_text(value[name]),)
        elif name in value:
            member = resolved(member_schema, root)
            yield from _fields(root, member, member_pointer(pointer, name), value[name], depth + 1)
    further = {name: item for name, item in value.items() if name not in properties}
    if further and pointer == "":
        yield "/", (json_text(further),)


def _field_texts(widget: Widget, value: Any) -> tuple[str, ...]:
    """Return the texts that one value fills its field with."""
    if widget is Widget.CHECKBOX:
        return ("on",) if value is True else ()
    if widget is Widget.JSON:
        return (json_text(value),)
    if widget is Widget.DATETIME and isinstance(value, str):
        return (re.sub(r"(:00)?(\.0+)?(Z|\+00:00)$", "", value),)
    return (option_text(value),)


def json_text(value: Any) -> str:
    """Return a value as the JSON that its field is filled with."""
    return json.dumps(value, ensure_ascii=False, indent=2)
