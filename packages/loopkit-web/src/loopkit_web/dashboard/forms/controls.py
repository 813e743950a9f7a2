"""Controls of a form, in the order of the schema, with the values that are in them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from loopkit_web.dashboard.forms.field_values import (
    AS_JSON,
    FORM_PREFIX,
    JSON_PREFIX,
    FieldValues,
    is_as_json,
    member_pointer,
    row_numbers,
)
from loopkit_web.dashboard.forms.widgets import (
    Schema,
    Widget,
    items_of,
    option_text,
    options_of,
    properties_of,
    resolved,
    widget_of,
)
from loopkit_web.dashboard.markup import display_text

__all__ = ["Control", "Option", "build_controls"]


@attrs.frozen
class Option:
    """One value to choose."""

    value: str
    is_chosen: bool


@attrs.frozen(kw_only=True)
class Control:
    """One control, or a group or list of them."""

    pointer: str
    """JSON pointer of its value in the inputs; ``/`` for the field of further inputs."""
    widget: Widget
    label: str
    hint: str = ""
    """Bounds of the value."""
    help: str = ""
    """Description from the schema."""
    is_required: bool = False
    value: str = ""
    options: tuple[Option, ...] = ()
    children: tuple["Control", ...] = ()
    faults: tuple[str, ...] = ()
    placeholder: str = ""
    is_row: bool = False
    """True for an item of a list."""
    is_substitute: bool = False
    """True for a JSON field in place of the control of a value that the control cannot hold."""

    @property
    def name(self) -> str:
        """Name of the field in the form."""
        return (JSON_PREFIX if self.is_substitute else FORM_PREFIX) + self.pointer

    @property
    def id(self) -> str:
        """Id of the field in the page."""
        place = re.sub(r"[^A-Za-z0-9_-]", lambda match: f".{ord(match[0]):x}", self.pointer.replace("/", "-"))
        return ("j" if self.is_substitute else "f") + place

    @property
    def is_open(self) -> bool:
        """True if the field of further inputs is shown unfolded: it has a value or a fault."""
        return bool(self.value or self.faults)

    def walk(self) -> Iterator["Control"]:
        """Yield this control and every control in it, in the order of the page."""
        yield self
        for child in self.children:
            yield from child.walk()


def build_controls(schema: Schema, values: FieldValues, depth: int = 0) -> list[Control]:
    """Build the controls for inputs of this schema, which begin with a depth (:func:`.widgets.first_depth`).

    A schema without properties gets one JSON field for all inputs; one that allows additional properties, a JSON field
    for further inputs at the end.
    """
    root = resolved(schema, schema)
    if widget_of(root, depth) is not Widget.GROUP:
        return [_object_control("", "Inputs", values, is_required=True)]
    controls = list(_members(schema, root, "", values, depth))
    if root.get("additionalProperties", True) is not False or _text(values, "/"):
        controls.append(_object_control("/", "Further inputs", values, is_required=False))
    return controls


def _object_control(pointer: str, label: str, values: FieldValues, *, is_required: bool) -> Control:
    return Control(
        pointer=pointer,
        widget=Widget.JSON,
        label=label,
        hint="a JSON object",
        is_required=is_required,
        value=_text(values, pointer),
    )


def _text(values: FieldValues, pointer: str) -> str:
    return (values.get(pointer) or ("",))[-1]


def _members(root: Schema, schema: Schema, pointer: str, values: FieldValues, depth: int) -> Iterator[Control]:
    required = schema.get("required", [])
    for name, member_schema in properties_of(schema).items():
        member = resolved(member_schema, root)
        place = member_pointer(pointer, name)
        label = _schema_text(member, "title", display_text.label(name))
        if is_as_json(values, place):
            yield _substitute(member, place, values, label)
            continue
        yield _control(root, member, place, values, depth + 1, label=label, is_required=name in required)


def _substitute(schema: Schema, pointer: str, values: FieldValues, label: str) -> Control:
    return Control(
        pointer=pointer,
        widget=Widget.JSON,
        label=label,
        hint="as JSON, since its usual field cannot hold this value",
        help=_schema_text(schema, "description"),
        value=_text(values, AS_JSON + pointer),
        is_substitute=True,
    )


def _control(
    root: Schema,
    schema: Schema,
    pointer: str,
    values: FieldValues,
    depth: int,
    *,
    label: str,
    is_required: bool,
    is_row: bool = False,
) -> Control:
    widget = widget_of(schema, depth)
    control = Control(
        pointer=pointer,
        widget=widget,
        label=label,
        hint=_hint(schema, widget),
        help=_schema_text(schema, "description"),
        is_required=is_required,
        value=_text(values, pointer) if widget is not Widget.PASSWORD else "",
        placeholder=_example(schema),
        is_row=is_row,
    )
    match widget:
        case Widget.GROUP:
            return attrs.evolve(control, children=tuple(_members(root, schema, pointer, values, depth)))
        case Widget.LIST:
            return attrs.evolve(control, children=tuple(_rows(root, schema, control, values, depth)))
        case Widget.SELECT:
            return attrs.evolve(control, options=_options(schema, values.get(pointer, ())))
        case Widget.CHECKBOXES:
            return attrs.evolve(control, options=_options(items_of(schema, root), values.get(pointer, ())))
        case _:
            return control


def _rows(root: Schema, schema: Schema, control: Control, values: FieldValues, depth: int) -> Iterator[Control]:
    """Yield the rows of a list; an empty row if there is none."""
    items = items_of(schema, root)
    for index, row in enumerate(row_numbers(values, control.pointer) or [0]):
        label = f"{control.label} {index + 1}"
        pointer = f"{control.pointer}/{row}"
        yield _control(root, items, pointer, values, depth + 1, label=label, is_required=False, is_row=True)


def _options(schema: Schema, chosen: Sequence[str]) -> tuple[Option, ...]:
    return tuple(Option(text, text in chosen) for text in map(option_text, options_of(schema)))


def _schema_text(schema: Schema, key: str, default: str = "") -> str:
    value = schema.get(key)
    return value if isinstance(value, str) else default


def _example(schema: Schema) -> str:
    examples = schema.get("examples")
    return option_text(examples[0]) if isinstance(examples, list) and examples else ""


_BOUNDS: Final[Mapping[Widget, tuple[str, str, str]]] = {
    Widget.INTEGER: ("minimum", "maximum", ""),
    Widget.NUMBER: ("minimum", "maximum", ""),
    Widget.TEXT: ("minLength", "maxLength", " characters"),
    Widget.MULTILINE: ("minLength", "maxLength", " characters"),
    Widget.LIST: ("minItems", "maxItems", " items"),
    Widget.CHECKBOXES: ("minItems", "maxItems", " items"),
}
"""Schema keys of the lower and the upper bound, and the unit."""


def _hint(schema: Schema, widget: Widget) -> str:
    """Return the bounds of a value as text: ``1 to 9``, ``at most 80 characters``."""
    if widget is Widget.DATETIME:
        return "UTC"
    if widget is Widget.JSON:
        return "JSON"
    low_key, high_key, unit = _BOUNDS.get(widget, ("", "", ""))
    low: Any = schema.get(low_key)
    high: Any = schema.get(high_key)
    if low_key == "minLength" and not (isinstance(low, int) and low > 1):
        low = None
    if low is not None and high is not None:
        return f"{display_text.plain(low)} to {display_text.plain(high)}{unit}"
    if low is not None:
        return f"at least {display_text.plain(low)}{unit}"
    return f"at most {display_text.plain(high)}{unit}" if high is not None else ""
