"""Which control fits a JSON Schema. What no control fits is typed as JSON and checked like everything else."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["Schema", "is_nullable", "items_of", "option_text", "options_of", "properties_of", "resolved", "shape_of"]

Schema = Mapping[str, Any]

LONG_TEXT: Final = 200
"""From this many characters on a text may have lines."""
_MAX_DEPTH: Final = 5
_MAX_OPTIONS: Final = 500
_MAX_HOPS: Final = 16
_MIXED: Final = ("oneOf", "anyOf", "allOf", "not", "if", "patternProperties", "prefixItems", "$dynamicRef", "$ref")
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


def resolved(schema: Any, root: Schema, depth: int = 0) -> Schema:
    """Give a schema with its local reference followed, and with ``null`` beside one other choice left out.

    What it says of a list's items is followed as well, as deep as controls go.
    """
    for _ in range(_MAX_HOPS):
        if not isinstance(schema, Mapping):
            return {}
        if isinstance(reference := schema.get("$ref"), str):
            found = _look_up(reference, root)
            if found is None:
                return schema
            schema = {**found, **{key: value for key, value in schema.items() if key != "$ref"}}
        elif (choice := _only_choice(schema)) is not None:
            rest = {key: value for key, value in schema.items() if key not in ("anyOf", "oneOf")}
            schema = {**choice, **rest, "nullable": True}
        elif isinstance(items := schema.get("items"), Mapping) and depth < _MAX_DEPTH:
            return {**schema, "items": resolved(items, root, depth + 1)}
        else:
            return schema
    return {}


def _look_up(reference: str, root: Schema) -> Schema | None:
    if not reference.startswith("#/"):
        return None
    found: Any = root
    for part in reference[2:].split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found if isinstance(found, Mapping) else None


def _only_choice(schema: Schema) -> Schema | None:
    """Give the one choice of ``anyOf`` that is not null."""
    choices = schema.get("anyOf") or schema.get("oneOf")
    if not isinstance(choices, list) or {"type": "null"} not in choices:
        return None
    others = [choice for choice in choices if choice != {"type": "null"}]
    return others[0] if len(others) == 1 and isinstance(others[0], Mapping) else None


def is_nullable(schema: Schema) -> bool:
    """True where null fits."""
    kinds = schema.get("type")
    return bool(schema.get("nullable")) or (isinstance(kinds, list) and "null" in kinds)


def _type_of(schema: Schema) -> str | None:
    kinds = schema.get("type")
    if isinstance(kinds, list):
        kinds = [kind for kind in kinds if kind != "null"]
        return kinds[0] if len(kinds) == 1 else None
    return kinds if isinstance(kinds, str) else None


def shape_of(schema: Schema, depth: int = 0) -> str:
    """Give the control that fits: ``text``, ``long``, ``secret``, ``date``, ``moment``, ``number``, ``whole``,
    ``flag``, ``choice``, ``choices``, ``list``, ``group``, or ``json`` where none does."""
    if any(key in schema for key in _MIXED) or depth > _MAX_DEPTH:
        return "json"
    if options_of(schema):
        return "choice"
    match _type_of(schema):
        case "string":
            return _text_shape(schema)
        case "integer":
            return "whole"
        case "number":
            return "number"
        case "boolean":
            return "flag"
        case "array":
            return _list_shape(schema, depth)
        case "object" if properties_of(schema):
            return "group"
        case _:
            return "json"


def _text_shape(schema: Schema) -> str:
    form = schema.get("format")
    if schema.get("writeOnly") or form == "password":
        return "secret"
    if form in ("date", "date-time"):
        return "date" if form == "date" else "moment"
    most = schema.get("maxLength")
    if form in _ONE_LINE_FORMATS or "pattern" in schema or (isinstance(most, int) and most < LONG_TEXT):
        return "text"
    return "long"


def _list_shape(schema: Schema, depth: int) -> str:
    items = schema.get("items")
    if not isinstance(items, Mapping):
        return "json"
    if schema.get("uniqueItems") and options_of(items):
        return "choices"
    return "json" if shape_of(items, depth + 1) in ("json", "list", "choices", "secret") else "list"


def properties_of(schema: Schema) -> Mapping[str, Schema]:
    """Give the properties of an object's schema."""
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}


def items_of(schema: Schema, root: Schema) -> Schema:
    """Give the schema of a list's items."""
    return resolved(schema.get("items"), root)


def options_of(schema: Schema) -> Sequence[Any]:
    """Give the values that a schema allows, where it lists them."""
    if "const" in schema:
        return [schema["const"]]
    found = schema.get("enum")
    if not isinstance(found, list) or len(found) > _MAX_OPTIONS:
        return []
    return [value for value in found if value is not None]


def option_text(value: Any) -> str:
    """Give a listed value as a form sends it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
