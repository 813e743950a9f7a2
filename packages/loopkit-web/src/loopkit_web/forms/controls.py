"""The controls of a form, in the order of the schema, with what stands in them and what is wrong with it."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from loopkit.errors import Fault
from loopkit_web.forms.filling import FORM_PREFIX, Raw, pointer_of, rows_of
from loopkit_web.forms.shapes import (
    Schema,
    items_of,
    option_text,
    options_of,
    properties_of,
    resolved,
    shape_of,
)
from loopkit_web.rendering import words

__all__ = ["Control", "Option", "controls_of"]


@attrs.frozen
class Option:
    """One value to choose."""

    value: str
    is_chosen: bool


@attrs.frozen(kw_only=True)
class Control:
    """One control, or a group or list of them."""

    pointer: str
    shape: str
    label: str
    hint: str = ""
    help: str = ""
    is_required: bool = False
    value: str = ""
    options: tuple[Option, ...] = ()
    children: tuple["Control", ...] = ()
    faults: tuple[str, ...] = ()
    placeholder: str = ""
    is_row: bool = False

    @property
    def name(self) -> str:
        """What the field is called in the form."""
        return FORM_PREFIX + self.pointer

    @property
    def id(self) -> str:
        """What the field is called on the page."""
        return "f" + re.sub(r"[^A-Za-z0-9_-]", lambda found: f".{ord(found[0]):x}", self.pointer.replace("/", "-"))

    @property
    def is_open(self) -> bool:
        """True for the field that takes further inputs where something is in it, or wrong with it."""
        return bool(self.value or self.faults)

    def walk(self) -> Iterator["Control"]:
        """Give this control and every one in it."""
        yield self
        for child in self.children:
            yield from child.walk()


def controls_of(schema: Schema, raw: Raw, faults: Iterable[Fault] = ()) -> list[Control]:
    """Give the controls of inputs of this schema.

    Args:
        raw: what stands in the fields, by pointer.
        faults: what is wrong, by pointer into the inputs; one that no control has goes to the one around it.
    """
    root = resolved(schema, schema)
    if shape_of(root) != "group":
        top = [
            Control(
                pointer="", shape="json", label="Inputs", hint="a JSON object", is_required=True, value=_text(raw, "")
            )
        ]
    else:
        top = list(_members(schema, root, "", raw, 0))
        if root.get("additionalProperties", True) is not False:
            top.append(
                Control(pointer="/", shape="json", label="Further inputs", hint="a JSON object", value=_text(raw, "/"))
            )
    return _with_faults(top, faults)


def _text(raw: Raw, pointer: str) -> str:
    return (raw.get(pointer) or ("",))[-1]


def _members(root: Schema, schema: Schema, pointer: str, raw: Raw, depth: int) -> Iterator[Control]:
    needed = schema.get("required", [])
    for name, inner in properties_of(schema).items():
        found = resolved(inner, root)
        place = pointer_of(pointer, name)
        label = found.get("title") if isinstance(found.get("title"), str) else words.label(name)
        yield _control(root, found, place, raw, depth + 1, label=label, is_required=name in needed)


def _control(
    root: Schema,
    schema: Schema,
    pointer: str,
    raw: Raw,
    depth: int,
    *,
    label: Any,
    is_required: bool,
    is_row: bool = False,
) -> Control:
    shape = shape_of(schema, depth)
    control = Control(
        pointer=pointer,
        shape=shape,
        label=str(label),
        hint=_hint(schema, shape),
        help=_said(schema, "description"),
        is_required=is_required,
        value=_text(raw, pointer) if shape != "secret" else "",
        placeholder=_example(schema),
        is_row=is_row,
    )
    match shape:
        case "group":
            return attrs.evolve(control, children=tuple(_members(root, schema, pointer, raw, depth)))
        case "list":
            return attrs.evolve(control, children=tuple(_rows(root, schema, control, raw, depth)))
        case "choice":
            return attrs.evolve(control, options=_options(schema, raw.get(pointer, ())))
        case "choices":
            return attrs.evolve(control, options=_options(items_of(schema, root), raw.get(pointer, ())))
        case _:
            return control


def _rows(root: Schema, schema: Schema, control: Control, raw: Raw, depth: int) -> Iterator[Control]:
    """Give a list's rows, with an empty one where there is none."""
    items = items_of(schema, root)
    for index, row in enumerate(rows_of(raw, control.pointer) or [0]):
        label = f"{control.label} {index + 1}"
        place = f"{control.pointer}/{row}"
        yield _control(root, items, place, raw, depth + 1, label=label, is_required=False, is_row=True)


def _options(schema: Schema, chosen: Sequence[str]) -> tuple[Option, ...]:
    return tuple(Option(text, text in chosen) for text in map(option_text, options_of(schema)))


def _said(schema: Schema, key: str) -> str:
    value = schema.get(key)
    return value if isinstance(value, str) else ""


def _example(schema: Schema) -> str:
    examples = schema.get("examples")
    return option_text(examples[0]) if isinstance(examples, list) and examples else ""


_BOUNDS = {
    "whole": ("minimum", "maximum", ""),
    "number": ("minimum", "maximum", ""),
    "text": ("minLength", "maxLength", " characters"),
    "long": ("minLength", "maxLength", " characters"),
    "list": ("minItems", "maxItems", " of them"),
    "choices": ("minItems", "maxItems", " of them"),
}


def _hint(schema: Schema, shape: str) -> str:
    """Give the bounds of a value in words."""
    if shape == "moment":
        return "UTC"
    if shape == "json":
        return "JSON"
    low_key, high_key, unit = _BOUNDS.get(shape, ("", "", ""))
    low, high = schema.get(low_key), schema.get(high_key)
    if "Length" in low_key:
        low = low if isinstance(low, int) and low > 1 else None
    if low is not None and high is not None:
        return f"{words.plain(low)} to {words.plain(high)}{unit}"
    if low is not None:
        return f"at least {words.plain(low)}{unit}"
    return f"at most {words.plain(high)}{unit}" if high is not None else ""


# --- Faults ----------------------------------------------------------------------------------------------------------


def _with_faults(controls: Sequence[Control], faults: Iterable[Fault]) -> list[Control]:
    places = {control.pointer for top in controls for control in top.walk()}
    by_place: defaultdict[str, list[str]] = defaultdict(list)
    for fault in faults:
        by_place[_nearest(fault.pointer, places)].append(fault.detail)
    return [_marked(control, by_place) for control in controls]


def _nearest(pointer: str, places: set[str]) -> str:
    """Give the control that a fault belongs to: its own, or the innermost around it."""
    place = pointer
    while place and place not in places:
        place = place.rpartition("/")[0]
    if place or "" in places:
        return place
    return "/" if "/" in places else next(iter(sorted(places)), "")


def _marked(control: Control, by_place: Mapping[str, Sequence[str]]) -> Control:
    children = tuple(_marked(child, by_place) for child in control.children)
    return attrs.evolve(control, children=children, faults=tuple(by_place.get(control.pointer, ())))
