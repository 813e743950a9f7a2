"""Inputs against a JSON Schema: every fault, each with a pointer to its place.

The schema is JSON Schema draft 2020-12, ``format`` is asserted, and nothing is ever fetched. The library behind it is
loaded with the first schema. Patterns are Python's and may take long on text made for that: a schema is written by
who runs the agent, like its code, and trusted like it.
"""

import copy
import re
from collections.abc import Hashable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, Final

from loopkit.core import plain
from loopkit.errors import Fault, InvalidConfig

__all__ = ["InputsSchema"]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MAX_FAULTS: Final = 1_000
"""Faults that are listed; nobody reads more."""

_ANY_OBJECT: Final[Mapping[str, Any]] = {"type": "object"}
_MAX_DETAIL_CHARS: Final = 300


class InputsSchema:
    """What inputs must look like.

    Raises:
        InvalidConfig: it is no valid schema, or refers to what is not in it; ``key`` names the place.
    """

    def __init__(self, schema: Mapping[str, Any] | None = None) -> None:
        self.document: dict[str, Any] = _checked(_ANY_OBJECT if schema is None else schema)
        """The schema, a copy of what was given."""
        # What takes any object needs no library to say so.
        self._validator = None if self.document == _ANY_OBJECT else _validator(self.document)

    def filled(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Give ``inputs`` with the defaults of the schema's top-level properties where they are missing."""
        properties = self.document.get("properties", {})
        defaults = {
            name: copy.deepcopy(schema["default"])
            for name, schema in properties.items()
            if name not in inputs and isinstance(schema, dict) and "default" in schema
        }
        return {**inputs, **defaults}

    def faults(self, inputs: Mapping[str, Any]) -> list[Fault]:
        """Find everything in a plain JSON object that does not fit, at most ``MAX_FAULTS``, by pointer."""
        if self._validator is None:
            return []
        try:
            found = dict.fromkeys(map(_fault, islice(self._validator.iter_errors(inputs), MAX_FAULTS)))
        except RecursionError:
            return [Fault("", "cannot be checked: the schema refers to itself without end")]
        except (ArithmeticError, ValueError) as error:
            return [Fault("", f"cannot be checked: {error}"[:_MAX_DETAIL_CHARS])]
        return sorted(found, key=lambda fault: fault.pointer)


def _checked(schema: object) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise InvalidConfig("must be a JSON Schema, as an object", key="inputs")
    for fault in plain.faults(schema, max_bytes=plain.MAX_INPUTS_BYTES):
        raise InvalidConfig(fault.detail, key=_key(fault.pointer.split("/")[1:]))
    document: dict[str, Any] = plain.loads(plain.dumps(schema))
    if document.get("$schema", DIALECT) != DIALECT:
        raise InvalidConfig(f"must be {DIALECT}", key="inputs.$schema")
    # Without it a reference to the whole schema is read like the rest, by our keywords.
    return {key: value for key, value in document.items() if key != "$schema"}


def _validator(schema: dict[str, Any]) -> Any:
    from jsonschema import SchemaError
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    validator_class = _validator_class()
    try:
        validator_class.check_schema(schema)
    except SchemaError as error:
        raise InvalidConfig(error.message[:_MAX_DETAIL_CHARS], key=_key(error.absolute_path)) from error
    _check_references(schema, REGISTRY)
    # A registry of our own is one that fetches nothing; it knows the drafts' own schemas.
    validator = validator_class(schema, registry=REGISTRY, format_checker=validator_class.FORMAT_CHECKER)
    try:
        list(validator.iter_errors({}))
    except RecursionError as error:
        raise InvalidConfig("refers to itself without end", key="inputs") from error
    return validator


def _check_references(schema: dict[str, Any], registry: Any) -> None:
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root = DRAFT202012.create_resource(schema)
    waiting = [(registry.resolver_with_root(root), root)]
    while waiting:
        resolver, resource = waiting.pop()
        if isinstance(resource.contents, dict):
            for keyword in ("$ref", "$dynamicRef"):
                if (reference := resource.contents.get(keyword)) is not None:
                    try:
                        resolver.lookup(reference)
                    except Unresolvable as error:
                        reason = f"{keyword} {reference!r} leads to nothing in the schema; nothing is fetched"
                        raise InvalidConfig(reason[:_MAX_DETAIL_CHARS], key="inputs") from error
        waiting += [(resolver.in_subresource(inner), inner) for inner in resource.subresources()]


def _key(path: Any) -> str:
    return ".".join(["inputs", *map(str, path)])


def _fault(error: Any) -> Fault:
    """Read the library's error. Its sentence begins with the value itself, which the pointer names better."""
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in error.absolute_path)
    return Fault(pointer, error.message.removeprefix(repr(error.instance)).lstrip()[:_MAX_DETAIL_CHARS])


# --- Keywords that the library reports less well, or slowly -----------------------------------------------------


@cache
def _validator_class() -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    ours = {"required": _required, "additionalProperties": _additional_properties, "uniqueItems": _unique_items}
    return extend(Draft202012Validator, ours)  # type: ignore[no-untyped-call]


def _required(_validator: Any, required: list[str], instance: Any, _schema: Any) -> Iterator[Any]:
    """One error a missing property, at the property's own place."""
    if isinstance(instance, dict):
        yield from (_error("is required", name) for name in required if name not in instance)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """One error a property that the schema does not know, at the property's own place."""
    if not isinstance(instance, dict):
        return
    patterns = list(schema.get("patternProperties", {}))
    for name in instance:
        if name in schema.get("properties", {}) or any(re.search(pattern, name) for pattern in patterns):
            continue
        if allowed is False:
            yield _error("is not a known property", name)
        else:
            yield from validator.descend(instance[name], allowed, path=name)


def _unique_items(_validator: Any, unique: bool, instance: Any, _schema: Any) -> Iterator[Any]:
    """Find repeated items in time that grows with their number, not with its square."""
    if unique and isinstance(instance, list) and len({_identity(item) for item in instance}) < len(instance):
        yield _error("has items that are equal")


def _identity(value: Any) -> Hashable:
    """Give a key that is equal for equal JSON values; 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, dict):
        return ("object", frozenset((name, _identity(item)) for name, item in value.items()))
    if isinstance(value, list):
        return ("array", tuple(map(_identity, value)))
    return ("boolean", value) if isinstance(value, bool) else value


def _error(message: str, *path: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(message, path=path)
