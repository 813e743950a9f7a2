"""What stands in a form's fields, as inputs, and inputs as what stands in the fields.

A field is named by the JSON pointer of its value: ``/thesis``, ``/exclude/0``. An empty field is left out of the
inputs, unless the list, the flag or the group it belongs to says otherwise. What cannot be a number or JSON stays the
text it is, so that the check of the inputs finds it and the form shows it again.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from loopkit.core import plain
from loopkit.errors import Fault
from loopkit_web.forms.shapes import (
    Schema,
    is_nullable,
    items_of,
    option_text,
    options_of,
    properties_of,
    resolved,
    shape_of,
)

__all__ = ["Raw", "given", "pointer_of", "raw_of", "read", "rows_of", "with_row", "without_row"]

Raw = Mapping[str, tuple[str, ...]]
"""Values by the pointer of their field."""

_LEFT_OUT: Final = object()
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?")
_MAX_ROWS: Final = 500
FORM_PREFIX: Final = "inputs"


def pointer_of(pointer: str, name: str) -> str:
    """Give the pointer of a member."""
    return f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"


def given(fields: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Give the inputs' fields of a form as it came in; lines end as they do everywhere but in forms."""
    raw: dict[str, tuple[str, ...]] = {}
    for name, value in fields:
        if name == FORM_PREFIX or name.startswith(FORM_PREFIX + "/"):
            pointer = name.removeprefix(FORM_PREFIX)
            raw[pointer] = (*raw.get(pointer, ()), value.replace("\r\n", "\n"))
    return raw


# --- Fields to inputs ------------------------------------------------------------------------------------------------


def read(schema: Schema, raw: Raw) -> tuple[dict[str, Any], dict[str, tuple[str, ...]], list[Fault]]:
    """Give the inputs of a filled form, its fields with empty rows taken out, and what is no JSON."""
    reader = _Reader(schema, raw)
    value = reader.value(resolved(schema, schema), "", 0, is_required=True)
    return (value if isinstance(value, dict) else {}), reader.kept, reader.faults


class _Reader:
    def __init__(self, root: Schema, raw: Raw) -> None:
        self._root = root
        self.kept = dict(raw)
        self.faults: list[Fault] = []

    def _text(self, pointer: str) -> str:
        return (self.kept.get(pointer) or ("",))[-1]

    def value(self, schema: Schema, pointer: str, depth: int, *, is_required: bool) -> Any:
        """Give what the fields below a pointer stand for; nothing where they are empty and may be left out."""
        match shape_of(schema, depth):
            case "group":
                return self._group(schema, pointer, depth, is_required)
            case "list":
                return self._list(schema, pointer, depth, is_required)
            case "choices":
                chosen = [_chosen(items_of(schema, self._root), text) for text in self.kept.get(pointer, ())]
                return chosen if chosen or is_required else _LEFT_OUT
            case "flag":
                return self._flag(schema, pointer, is_required)
            case "json":
                return self._json(pointer, is_required)
            case shape:
                return self._scalar(schema, shape, pointer, is_required)

    def _group(self, schema: Schema, pointer: str, depth: int, is_required: bool) -> Any:
        needed = schema.get("required", [])
        found: dict[str, Any] = {}
        for name, inner in properties_of(schema).items():
            place = pointer_of(pointer, name)
            value = self.value(resolved(inner, self._root), place, depth + 1, is_required=name in needed)
            if value is not _LEFT_OUT:
                found[name] = value
        if pointer == "" and (rest := self._json("/", False)) is not _LEFT_OUT:
            found = {**rest, **found} if isinstance(rest, dict) else found
        if is_required or any(self._says_something(value) for value in found.values()):
            return found
        return _LEFT_OUT

    @staticmethod
    def _says_something(value: Any) -> bool:
        """An optional group counts as filled by more than unticked boxes and empty lists."""
        return value not in (False, [], {})

    def _list(self, schema: Schema, pointer: str, depth: int, is_required: bool) -> Any:
        items = items_of(schema, self._root)
        rows = rows_of(self.kept, pointer)
        found: list[Any] = []
        kept: dict[str, tuple[str, ...]] = {}
        for row in rows:
            place = f"{pointer}/{row}"
            value = self.value(items, place, depth + 1, is_required=False)
            if value is not _LEFT_OUT:
                kept |= _moved(self.kept, place, f"{pointer}/{len(found)}")
                found.append(value)
        for name in [name for name in self.kept if name.startswith(pointer + "/")]:
            del self.kept[name]
        self.kept |= kept
        return found if found or is_required else _LEFT_OUT

    def _flag(self, schema: Schema, pointer: str, is_required: bool) -> Any:
        if self._text(pointer):
            return True
        return False if is_required or schema.get("default") is True else _LEFT_OUT

    def _json(self, pointer: str, is_required: bool) -> Any:
        text = self._text(pointer).strip()
        if not text:
            return _LEFT_OUT
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            self.faults.append(Fault(pointer.rstrip("/"), f"is not JSON: {error}"))
            return _LEFT_OUT
        if pointer in ("", "/") and not isinstance(value, dict):
            self.faults.append(Fault("", "must be a JSON object"))
            return _LEFT_OUT
        if faults := plain.faults(value):
            self.faults += [Fault(pointer.rstrip("/") + fault.pointer, fault.detail) for fault in faults]
            return _LEFT_OUT
        return value

    def _scalar(self, schema: Schema, shape: str, pointer: str, is_required: bool) -> Any:
        text = self._text(pointer)
        if not text.strip():
            return None if is_required and is_nullable(schema) else _LEFT_OUT
        if shape == "choice":
            return _chosen(schema, text)
        if shape in ("whole", "number"):
            return _number(text)
        return _moment(text) if shape == "moment" else text


def _chosen(schema: Schema, text: str) -> Any:
    return next((value for value in options_of(schema) if option_text(value) == text), text)


def _number(text: str) -> Any:
    """Give a typed number; what is none stays text, for the check to refuse."""
    stripped = text.strip().replace("−", "-")
    if not _NUMBER.fullmatch(stripped) or len(stripped) > 300:
        return text
    value = float(stripped) if any(sign in stripped for sign in ".eE") else int(stripped)
    return text if plain.faults(value) else value


def _moment(text: str) -> str:
    """Give the time of a picker, which has no zone, as UTC."""
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?", text):
        return f"{text}Z" if text.count(":") == 2 else f"{text}:00Z"
    return text


# --- Rows of lists ---------------------------------------------------------------------------------------------------


def rows_of(raw: Raw, pointer: str) -> list[int]:
    """Give the numbers of the rows that a list has in the form, in order."""
    found = {name[len(pointer) + 1 :].split("/")[0] for name in raw if name.startswith(pointer + "/")}
    return sorted(int(part) for part in found if part.isascii() and part.isdigit() and len(part) < 6)[:_MAX_ROWS]


def with_row(raw: Raw, pointer: str) -> dict[str, tuple[str, ...]]:
    """Give the fields with one more empty row in a list."""
    rows = rows_of(raw, pointer)
    return {**raw, f"{pointer}/{rows[-1] + 1 if rows else 0}": ("",)}


def without_row(raw: Raw, place: str) -> dict[str, tuple[str, ...]]:
    """Give the fields without a row of a list, named by its place."""
    return {name: value for name, value in raw.items() if name != place and not name.startswith(place + "/")}


def _moved(raw: Raw, old: str, new: str) -> dict[str, tuple[str, ...]]:
    inside = {name: value for name, value in raw.items() if name == old or name.startswith(old + "/")}
    return {new + name[len(old) :]: value for name, value in inside.items()}


# --- Inputs to fields ------------------------------------------------------------------------------------------------


def raw_of(schema: Schema, inputs: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Give the fields that inputs fill: those of another run, or the schema's defaults."""
    return dict(_flat(schema, resolved(schema, schema), "", inputs, 0))


def _flat(root: Schema, schema: Schema, pointer: str, value: Any, depth: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    shape = shape_of(schema, depth)
    if shape == "group" and isinstance(value, Mapping):
        yield from _flat_group(root, schema, pointer, value, depth)
    elif shape == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _flat(root, items_of(schema, root), f"{pointer}/{index}", item, depth + 1)
    elif shape == "choices" and isinstance(value, list):
        yield pointer, tuple(option_text(item) for item in value)
    elif shape != "secret" and value is not None:
        yield pointer, _filled(shape, value)


def _flat_group(
    root: Schema, schema: Schema, pointer: str, value: Mapping[str, Any], depth: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    known = properties_of(schema)
    for name, inner in known.items():
        if name in value:
            place = pointer_of(pointer, name)
            yield from _flat(root, resolved(inner, root), place, value[name], depth + 1)
    rest = {name: item for name, item in value.items() if name not in known}
    if rest and pointer == "":
        yield "/", (_pretty(rest),)


def _filled(shape: str, value: Any) -> tuple[str, ...]:
    """Give what one value fills its field with."""
    if shape == "flag":
        return ("on",) if value is True else ()
    if shape == "json":
        return (_pretty(value),)
    if shape == "moment" and isinstance(value, str):
        return (re.sub(r"(:00)?(\.0+)?(Z|\+00:00)$", "", value),)
    return (option_text(value),)


def _pretty(value: Any) -> str:
    return "" if value == {} else json.dumps(value, ensure_ascii=False, indent=2)
