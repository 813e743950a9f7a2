"""Choice of the form control for a JSON Schema, and the parts of a schema that controls need.

A value that no control fits is typed as JSON, and validated like every other.
"""

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

__all__ = [
    "Schema",
    "Widget",
    "first_depth",
    "is_nullable",
    "items_of",
    "option_text",
    "options_of",
    "properties_of",
    "resolved",
    "widget_of",
]

Schema = Mapping[str, Any]

_MULTILINE_CHARS: Final = 200
"""Least ``maxLength`` for which a text gets several lines."""
_MAX_DEPTH: Final = 5
"""Levels of groups and lists that have controls of their own; anything deeper is JSON."""
_MAX_OPTIONS: Final = 500
_MAX_CONTROLS: Final = 400
"""Controls of a form; ten options count as one."""
_MAX_HOPS: Final = 16
"""Most references and choices followed one after another; a schema that needs more is taken for a cycle."""
_COMBINING_KEYS: Final = (
    "oneOf",
    "anyOf",
    "allOf",
    "not",
    "if",
    "patternProperties",
    "prefixItems",
    "$dynamicRef",
    "$ref",
)
_ONE_LINE_FORMATS: Final = frozenset(
    {
        "email",
        "idn-email",
        "uri",
        "iri",
        "uri-reference",
        "hostname",
        "ipv4",
        "ipv6",
        "uuid",
        "time",
        "duration",
        "regex",
    }
)


class Widget(StrEnum):
    """Kinds of form controls."""

    TEXT = "text"
    MULTILINE = "multiline"
    PASSWORD = "password"
    DATE = "date"
    DATETIME = "datetime"
    NUMBER = "number"
    INTEGER = "integer"
    CHECKBOX = "checkbox"
    SELECT = "select"
    CHECKBOXES = "checkboxes"
    """Several of a list of values."""
    LIST = "list"
    """Rows of one control each, added and removed by buttons."""
    GROUP = "group"
    JSON = "json"
    """Text field for a value that no other control fits."""


def widget_of(schema: Schema, depth: int = 0) -> Widget:
    """Return the control that fits a schema, whose references are resolved.

    Args:
        depth: number of groups and lists around the value.
    """
    if any(key in schema for key in _COMBINING_KEYS) or depth > _MAX_DEPTH:
        return Widget.JSON
    if options_of(schema):
        return Widget.SELECT
    match _type_of(schema):
        case "string":
            return _text_widget(schema)
        case "integer":
            return Widget.INTEGER
        case "number":
            return Widget.NUMBER
        case "boolean":
            return Widget.CHECKBOX
        case "array":
            return _list_widget(schema, depth)
        case "object" if properties_of(schema):
            return Widget.GROUP
        case _:
            return Widget.JSON


def first_depth(root: Schema, inputs: Mapping[str, Any]) -> int:
    """Return the depth that the inputs begin with, so that a form of them has at most about 400 controls.

    0 for nearly every schema. A schema that refers to itself, or a list of many rows, would have many more: with a
    larger depth its groups and lists become JSON fields sooner, at last the inputs as a whole.
    """
    schema = resolved(root, root)
    for depth in range(_MAX_DEPTH + 1):
        if _controls_left(root, schema, inputs, depth, _MAX_CONTROLS) >= 0:
            return depth
    return _MAX_DEPTH + 1


def _controls_left(root: Schema, schema: Schema, value: Any, depth: int, left: int) -> int:
    """Return how many of the controls are left after those of a value; negative if there are too few."""
    widget = widget_of(schema, depth)
    left -= 1 + len(options_of(schema)) // 10
    if widget is Widget.CHECKBOXES:
        left -= len(options_of(items_of(schema, root))) // 10
    if widget is Widget.GROUP:
        members = value if isinstance(value, Mapping) else {}
        for name, member in properties_of(schema).items():
            if left < 0:
                break
            left = _controls_left(root, resolved(member, root), members.get(name), depth + 1, left)
    if widget is Widget.LIST:
        for item in value if isinstance(value, list) and value else [None]:
            if left < 0:
                break
            left = _controls_left(root, items_of(schema, root), item, depth + 1, left)
    return left


def _text_widget(schema: Schema) -> Widget:
    value_format = schema.get("format")
    if schema.get("writeOnly") or value_format == "password":
        return Widget.PASSWORD
    if value_format in ("date", "date-time"):
        return Widget.DATE if value_format == "date" else Widget.DATETIME
    max_length = schema.get("maxLength")
    is_short = isinstance(max_length, int) and max_length < _MULTILINE_CHARS
    return Widget.TEXT if value_format in _ONE_LINE_FORMATS or "pattern" in schema or is_short else Widget.MULTILINE


def _list_widget(schema: Schema, depth: int) -> Widget:
    items = schema.get("items")
    if not isinstance(items, Mapping):
        return Widget.JSON
    if schema.get("uniqueItems") and options_of(items):
        return Widget.CHECKBOXES
    not_in_rows = (Widget.JSON, Widget.LIST, Widget.CHECKBOXES, Widget.PASSWORD)
    return Widget.JSON if widget_of(items, depth + 1) in not_in_rows else Widget.LIST


def _type_of(schema: Schema) -> str | None:
    """Return the only type besides null; None if there are several, or none."""
    types = schema.get("type")
    if isinstance(types, list):
        types = [name for name in types if name != "null"]
        return types[0] if len(types) == 1 else None
    return types if isinstance(types, str) else None


def resolved(schema: Any, root: Schema, depth: int = 0) -> Schema:
    """Return a schema with its local reference followed, and with ``anyOf`` [it, null] replaced by the one choice.

    The schema of a list's items is resolved too, as deep as controls go. What is not a schema is an empty one.
    """
    for _ in range(_MAX_HOPS):
        if not isinstance(schema, Mapping):
            return {}
        if isinstance(reference := schema.get("$ref"), str):
            target = _local_target(reference, root)
            if target is None:
                return schema
            schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
        elif (choice := _only_choice(schema)) is not None:
            rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
            schema = {**choice, **rest, "nullable": True}
        elif isinstance(items := schema.get("items"), Mapping) and depth < _MAX_DEPTH:
            return {**schema, "items": resolved(items, root, depth + 1)}
        else:
            return schema
    return {}


def _local_target(reference: str, root: Schema) -> Schema | None:
    if not reference.startswith("#/"):
        return None
    target: Any = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, Mapping) or name not in target:
            return None
        target = target[name]
    return target if isinstance(target, Mapping) else None


def _only_choice(schema: Schema) -> Schema | None:
    """Return the one choice of ``anyOf`` or ``oneOf`` that stands beside null; None if there is no such pair."""
    choices = schema.get("anyOf") or schema.get("oneOf")
    if not isinstance(choices, list) or {"type": "null"} not in choices:
        return None
    others = [choice for choice in choices if choice != {"type": "null"}]
    return others[0] if len(others) == 1 and isinstance(others[0], Mapping) else None


def is_nullable(schema: Schema) -> bool:
    """Return whether null is a valid value."""
    types = schema.get("type")
    return bool(schema.get("nullable")) or (isinstance(types, list) and "null" in types)


def properties_of(schema: Schema) -> Mapping[str, Schema]:
    """Return the properties of an object's schema."""
    properties = schema.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def items_of(schema: Schema, root: Schema) -> Schema:
    """Return the schema of a list's items."""
    return resolved(schema.get("items"), root)


def options_of(schema: Schema) -> Sequence[Any]:
    """Return the values that a schema lists (``const`` or ``enum``) except null; none if there are more than 500."""
    if "const" in schema:
        return [schema["const"]]
    options = schema.get("enum")
    if not isinstance(options, list) or len(options) > _MAX_OPTIONS:
        return []
    return [value for value in options if value is not None]


def option_text(value: Any) -> str:
    """Return a listed value as the form sends it: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
