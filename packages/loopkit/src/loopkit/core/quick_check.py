"""A quick check of inputs: a function that returns True only for values that surely fit a JSON Schema.

Inputs are checked when a run is submitted and again when it is claimed, and the ``jsonschema`` library takes 20 us for
an object with one property. Most schemas use a handful of keywords that a closure for each part checks in 1 us. The
check never says what is wrong: a value that it does not accept, and every schema with a keyword that is not listed
here, goes to the library.
"""

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

__all__ = ["QuickCheck", "quick_check"]

QuickCheck = Callable[[object], bool]
"""Returns True for a JSON value that surely fits, False for one that may or may not fit."""

_Keywords = Mapping[str, Any]

_ANNOTATIONS: Final = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
)
"""Keywords that no value can fail."""


def quick_check(schema: object) -> QuickCheck | None:
    """Build the check of a valid schema; return None if the schema has something that only the library knows."""
    if schema is True:
        return _accept
    if not isinstance(schema, Mapping):
        return None
    keywords = {name: value for name, value in schema.items() if name not in _ANNOTATIONS}
    if not keywords:
        return _accept
    kind = keywords.pop("type", None)
    build = _BUILDERS.get(kind) if isinstance(kind, str) else None
    return None if build is None else build(keywords)


def _accept(value: object) -> bool:
    return True


def _string_check(keywords: _Keywords) -> QuickCheck | None:
    if not _are_known(keywords, {"minLength", "maxLength", "enum"}):
        return None
    shortest, longest = keywords.get("minLength", 0), keywords.get("maxLength", math.inf)
    allowed = keywords.get("enum")
    if allowed is not None and not all(isinstance(choice, str) for choice in allowed):
        return None

    def fits(value: object) -> bool:
        return isinstance(value, str) and shortest <= len(value) <= longest and (allowed is None or value in allowed)

    return fits


def _number_check(types: type | tuple[type, ...]) -> Callable[[_Keywords], QuickCheck | None]:
    def build(keywords: _Keywords) -> QuickCheck | None:
        if not _are_known(keywords, {"minimum", "maximum"}):
            return None
        least, most = keywords.get("minimum", -math.inf), keywords.get("maximum", math.inf)

        def fits(value: object) -> bool:
            # A bool is an int in Python and no number in JSON.
            return isinstance(value, types) and not isinstance(value, bool) and least <= value <= most

        return fits

    return build


def _boolean_check(keywords: _Keywords) -> QuickCheck | None:
    return None if keywords else lambda value: isinstance(value, bool)


def _array_check(keywords: _Keywords) -> QuickCheck | None:
    item_check = quick_check(keywords.get("items", True))
    if item_check is None or not _are_known(keywords, {"items", "minItems", "maxItems"}):
        return None
    least, most = keywords.get("minItems", 0), keywords.get("maxItems", math.inf)

    def fits(value: object) -> bool:
        return isinstance(value, list) and least <= len(value) <= most and all(map(item_check, value))

    return fits


def _object_check(keywords: _Keywords) -> QuickCheck | None:
    if not _are_known(keywords, {"properties", "required", "additionalProperties"}):
        return None
    checks: dict[str, QuickCheck] = {}
    for name, schema in keywords.get("properties", {}).items():
        check = quick_check(schema)
        if check is None:
            return None
        checks[name] = check
    required = frozenset(keywords.get("required", ()))
    # None, for ``false`` as well as for an unknown keyword: the library looks at an object with other properties.
    check_of_others = quick_check(keywords.get("additionalProperties", True))

    def fits(value: object) -> bool:
        if not isinstance(value, dict) or not required <= value.keys():
            return False
        for name, part in value.items():
            check = checks.get(name, check_of_others)
            if check is None or not check(part):
                return False
        return True

    return fits


def _are_known(keywords: _Keywords, known: Collection[str]) -> bool:
    return all(name in known for name in keywords)


_BUILDERS: Final[Mapping[str, Callable[[_Keywords], QuickCheck | None]]] = {
    "object": _object_check,
    "array": _array_check,
    "string": _string_check,
    "boolean": _boolean_check,
    "integer": _number_check(int),
    "number": _number_check((int, float)),
}
