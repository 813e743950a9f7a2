"""JSON Schema (2020-12) of attrs classes: bodies are validated with the schema that the OpenAPI document shows.

A field declares its bounds as keywords of JSON Schema: ``limit: int = documented(50, minimum=1)``.
"""

import types
import typing
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal

import attrs

from loopkit import wire
from loopkit.core.run import Run

__all__ = ["CLAMPED", "SchemaBuilder", "documented", "fields", "may_be_absent", "repeatable"]

Schema = dict[str, Any]

_SCALARS: Final[Mapping[Any, Schema]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    Any: {},
    object: {},
}


_COMPUTED: Final[Mapping[type, Mapping[str, type]]] = {Run: {"usage": wire.RunUsage}}
"""Members of the wire form that are no fields of the class, with their types."""


CLAMPED: Final[Mapping[str, int]] = {"minimum": -(10**30), "maximum": 10**30}
"""Bounds of a number that is clamped: no client means more, and a parameter is no place for hundreds of digits."""


def documented(default: Any = attrs.NOTHING, **keywords: Any) -> Any:
    """Create an attrs field with these JSON Schema keywords."""
    return attrs.field(default=default, metadata={"schema": keywords})


def may_be_absent(default: Any) -> Any:
    """Create an attrs field that a response may leave out."""
    return attrs.field(default=default, metadata={"may_be_absent": True})


def fields(cls: type) -> dict[str, "attrs.Attribute[Any]"]:
    """Return the fields of an attrs class by their JSON names."""
    return {wire.camel(field.name): field for field in wire.fields(cls)}


def repeatable(cls: type) -> frozenset[str]:
    """Return the JSON names of an attrs class's fields that a query may give more than once: those that are tuples."""
    hints = typing.get_type_hints(cls)
    return frozenset(name for name, field in fields(cls).items() if typing.get_origin(hints[field.name]) is tuple)


class SchemaBuilder:
    """Builder of schemas; those of attrs classes are collected under their names in ``components``."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def schema(self, kind: Any) -> Schema:
        """Return the schema of a type; that of an attrs class is a reference to ``components``."""
        if kind in _SCALARS:
            return dict(_SCALARS[kind])
        if isinstance(kind, type) and attrs.has(kind):
            return {"$ref": f"#/components/schemas/{self._component(kind)}"}
        if isinstance(kind, type) and issubclass(kind, Enum):
            return {"type": "string", "enum": [member.value for member in kind]}
        return self._generic(typing.get_origin(kind), typing.get_args(kind))

    def _generic(self, origin: Any, args: tuple[Any, ...]) -> Schema:
        if origin in (typing.Union, types.UnionType):
            return _either([self.schema(arg) for arg in args])
        if origin is Literal:
            return {"enum": list(args)}
        if issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": self.schema(args[1])}
        if issubclass(origin, Sequence | AbstractSet):
            return {"type": "array", "items": self.schema(args[0])}
        raise TypeError(f"no JSON Schema for {origin}")

    def _component(self, cls: type) -> str:
        name = cls.__name__
        if name not in self.components:
            self.components[name] = {}  # a placeholder, for classes that refer to themselves
            properties = self.properties(cls)
            described = {"description": cls.__doc__.split("\n\n")[0]} if cls.__doc__ else {}
            required = [key for key, field in fields(cls).items() if not field.metadata.get("may_be_absent")]
            required += _COMPUTED.get(cls, {})
            self.components[name] = {"type": "object", **described, "properties": properties, "required": required}
        return name

    def properties(self, cls: type) -> dict[str, Schema]:
        """Return the schemas of an attrs class's fields by their JSON names."""
        hints = typing.get_type_hints(cls)
        properties = {
            name: self.schema(hints[field.name]) | dict(field.metadata.get("schema", {}))
            for name, field in fields(cls).items()
        }
        return properties | {name: self.schema(kind) for name, kind in _COMPUTED.get(cls, {}).items()}

    def accepted(self, cls: type) -> Schema:
        """Return the schema of input for an attrs class: fields with a default are optional, others are refused."""
        required = [name for name, field in fields(cls).items() if field.default is attrs.NOTHING]
        return {
            "type": "object",
            "properties": self.properties(cls),
            "required": required,
            "additionalProperties": False,
        }


def _either(schemas: list[Schema]) -> Schema:
    if all(schema.keys() == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    if len(schemas) == 2 and schemas[0].get("type") == "array" and schemas[1] == {"type": "null"}:
        return {**schemas[0], "type": ["array", "null"]}  # so that the fault of an item has the place of the item
    return {"anyOf": schemas}
