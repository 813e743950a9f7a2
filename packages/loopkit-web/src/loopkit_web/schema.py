"""JSON Schema (2020-12) of attrs classes: what the OpenAPI document says of a body is what a body is checked with.

A field's bounds stand beside it, in keywords of JSON Schema: ``limit: int = documented(50, minimum=1)``.
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

__all__ = ["Reflector", "documented", "fields", "sometimes"]

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


def documented(default: Any = attrs.NOTHING, **keywords: Any) -> Any:
    """Make an attrs field with these JSON Schema keywords."""
    return attrs.field(default=default, metadata={"schema": keywords})


def sometimes(default: Any) -> Any:
    """Make an attrs field of a reply that is not always in it."""
    return attrs.field(default=default, metadata={"sometimes": True})


def fields(cls: type) -> dict[str, "attrs.Attribute[Any]"]:
    """Give the fields of an attrs class by their name on the wire."""
    return {wire.camel(field.name): field for field in wire.fields(cls)}


class Reflector:
    """Collects the schemas of the classes it is asked for, each under its name in ``components``."""

    def __init__(self, prefix: str = "#/components/schemas/") -> None:
        self.components: dict[str, Schema] = {}
        self._prefix = prefix

    def schema(self, kind: Any) -> Schema:
        """Give the schema of a type; that of an attrs class is a reference."""
        if kind in _SCALARS:
            return dict(_SCALARS[kind])
        if isinstance(kind, type) and attrs.has(kind):
            return {"$ref": self._prefix + self._component(kind)}
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
            self.components[name] = {}  # holds the place while the class refers to itself
            properties = self.properties(cls)
            described = {"description": cls.__doc__.split("\n\n")[0]} if cls.__doc__ else {}
            required = [key for key, field in fields(cls).items() if not field.metadata.get("sometimes")]
            self.components[name] = {"type": "object", **described, "properties": properties, "required": required}
        return name

    def properties(self, cls: type) -> dict[str, Schema]:
        """Give the schemas of an attrs class's fields by their name on the wire."""
        hints = typing.get_type_hints(cls)
        return {
            name: self.schema(hints[field.name]) | dict(field.metadata.get("schema", {}))
            for name, field in fields(cls).items()
        }

    def accepted(self, cls: type) -> Schema:
        """Give the schema of an attrs class that is sent to us: what has a default may be left out, and no more."""
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
    return {"anyOf": schemas}
