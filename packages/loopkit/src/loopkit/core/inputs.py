"""Validation of inputs with a JSON Schema: all faults, each with a pointer to its place.

The schema is JSON Schema draft 2020-12, ``format`` is asserted, and nothing is ever fetched. The ``jsonschema`` library
is imported with the first schema that needs it. Patterns are Python regular expressions, and hostile text can make a
careless one slow; a schema is trusted like the code of the agent, since the same person writes both.
"""

import copy
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, Final

from loopkit.core import strict_json
from loopkit.core.quick_check import quick_check
from loopkit.errors import Fault, InvalidConfig

__all__ = ["InputsSchema"]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
MAX_FAULTS: Final = 1_000
"""Faults that are returned at most; nobody reads more."""

_ANY_OBJECT: Final[Mapping[str, Any]] = {"type": "object"}
_MAX_DETAIL_CHARS: Final = 300


class InputsSchema:
    """JSON Schema of the inputs of an agent.

    Raises:
        InvalidConfig: the schema is not valid, or a reference in it cannot be resolved; ``key`` names the place.
    """

    def __init__(self, schema: Mapping[str, Any] | None = None) -> None:
        self.document: dict[str, Any] = _checked(_ANY_OBJECT if schema is None else schema)
        """A copy of the schema that was passed in."""
        # The schema that accepts any object is checked without loading the library.
        self._validator = None if self.document == _ANY_OBJECT else _validator(self.document)
        self._quick_check = quick_check(self.document)

    def filled(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``inputs`` with the schema's defaults for missing top-level properties."""
        properties = self.document.get("properties", {})
        defaults = {
            name: copy.deepcopy(schema["default"])
            for name, schema in properties.items()
            if name not in inputs and isinstance(schema, dict) and "default" in schema
        }
        return {**inputs, **defaults}

    def default_faults(self) -> list[Fault]:
        """Return why defaults of top-level properties do not fit the schemas that they stand in, one fault each.

        The pointer leads into the schema, to the default.
        """
        if self._validator is None:
            return []
        faults: list[Fault] = []
        for name, value in self.filled({}).items():
            place = "/properties/" + name.replace("~", "~0").replace("/", "~1") + "/default"
            errors = self._validator.descend(value, self.document["properties"][name], path=name)
            faults += [Fault(place, fault.detail) for fault in _collect(islice(errors, 1))]
        return faults

    def faults(self, inputs: Mapping[str, Any]) -> list[Fault]:
        """Return the faults of a JSON object, at most ``MAX_FAULTS``, sorted by pointer."""
        if self._validator is None or (self._quick_check is not None and self._quick_check(inputs)):
            return []
        faults = _collect(islice(self._validator.iter_errors(inputs), MAX_FAULTS))
        return sorted(faults, key=lambda fault: fault.pointer)


def _collect(errors: Iterable[Any]) -> list[Fault]:
    """Return the faults of a check, each once. Its errors are found while they are iterated."""
    try:
        return list(dict.fromkeys(map(_fault, errors)))
    except RecursionError:
        return [Fault("", "cannot be checked: the schema refers to itself without end")]
    except LookupError as error:  # some references are followed for some inputs alone
        return [Fault("", f"cannot be checked: a reference cannot be resolved: {error}"[:_MAX_DETAIL_CHARS])]
    except (ArithmeticError, ValueError) as error:
        return [Fault("", f"cannot be checked: {error}"[:_MAX_DETAIL_CHARS])]


def _checked(schema: object) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise InvalidConfig("must be a JSON Schema, as an object", key="inputs")
    for fault in strict_json.faults(schema, max_bytes=strict_json.MAX_INPUTS_BYTES):
        raise InvalidConfig(fault.detail, key=_key(fault.pointer.split("/")[1:]))
    document: dict[str, Any] = strict_json.loads_or_text(strict_json.dumps(schema))
    if document.get("$schema", DIALECT) != DIALECT:
        raise InvalidConfig(f"must be {DIALECT}", key="inputs.$schema")
    # With "$schema", a reference to the whole schema would be checked without the keywords that are replaced below.
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
    # An explicit registry fetches nothing; this one has the meta-schemas of the drafts.
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
                        reason = f"{keyword} {reference!r} is not found in the schema; nothing is fetched"
                        raise InvalidConfig(reason[:_MAX_DETAIL_CHARS], key="inputs") from error
        waiting += [(resolver.in_subresource(inner), inner) for inner in resource.subresources()]


def _key(path: Any) -> str:
    return ".".join(["inputs", *map(str, path)])


def _fault(error: Any) -> Fault:
    """Convert an error of the library. Its message begins with the value, which the pointer identifies better."""
    return Fault(_pointer(error.absolute_path), _detail(error)[:_MAX_DETAIL_CHARS])


def _pointer(path: Iterable[object]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _detail(error: Any) -> str:
    """Return what is wrong; where all alternatives of an ``anyOf`` or ``oneOf`` fail, the first fault of each."""
    branches: dict[object, Any] = {}
    for inner in error.context if error.validator in ("anyOf", "oneOf") else ():
        branches.setdefault(inner.relative_schema_path[0], inner)
    details = [f"{_pointer(inner.relative_path)} {_detail(inner)}".lstrip() for inner in branches.values()]
    return ", and ".join(dict.fromkeys(details)) or error.message.removeprefix(repr(error.instance)).lstrip()


@cache
def _validator_class() -> Any:
    """Return the library's validator with three keywords replaced that it reports at the wrong place, or slowly."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    keywords = {"required": _required, "additionalProperties": _additional_properties, "uniqueItems": _unique_items}
    return extend(Draft202012Validator, keywords)  # type: ignore[no-untyped-call]


def _required(_validator: Any, required: list[str], instance: Any, _schema: Any) -> Iterator[Any]:
    """Yield an error for each missing property, at the place of the property."""
    if isinstance(instance, dict):
        yield from (_error("is required", name) for name in required if name not in instance)


def _additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """Yield an error for each property that the schema does not allow, at the place of the property."""
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
    """Yield an error when items repeat. The time is linear in their number; the library's is quadratic."""
    if unique and isinstance(instance, list) and len({_identity(item) for item in instance}) < len(instance):
        yield _error("has items that are equal")


def _identity(value: Any) -> Hashable:
    """Return a key that is equal for equal JSON values; 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, dict):
        return ("object", frozenset((name, _identity(item)) for name, item in value.items()))
    if isinstance(value, list):
        return ("array", tuple(map(_identity, value)))
    return ("boolean", value) if isinstance(value, bool) else value


def _error(message: str, *path: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(message, path=path)
