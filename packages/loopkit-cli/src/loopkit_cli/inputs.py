"""Inputs from the command line and from files, read strictly: what is not clear is refused, never guessed."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from loopkit.errors import UnusableOption

_NAMES: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    type(None): "null",
}
"""Python's types of JSON values, as JSON Schema calls them."""

_MAX_HOPS: Final = 16
"""References that are followed; more lead round in a circle."""


def from_options(pairs: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Read ``NAME=VALUE`` and ``NAME=@FILE``, each value by the type that the schema gives its name.

    Raises:
        UnusableOption: a pair has no name, comes twice, names a file that cannot be read, or must be JSON and is not.
    """
    inputs: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise UnusableOption(f"--input {pair!r}: write it as NAME=VALUE or NAME=@FILE")
        if name in inputs:
            raise UnusableOption(f"--input {name}: is given twice")
        if text.startswith("@"):
            text = _read(text[1:], f"--input {name}")
        inputs[name] = _typed(name, text, schema)
    return inputs


def from_file(source: str) -> dict[str, Any]:
    """Read the one JSON object in a file, or in stdin where the source is ``-``.

    Raises:
        UnusableOption: the file cannot be read, or holds anything else.
    """
    try:
        return _object(_read(source, "--inputs"))
    except ValueError as error:
        raise UnusableOption(f"--inputs {source}: {error}") from error


def from_batch(source: str) -> list[tuple[int, dict[str, Any] | ValueError]]:
    """Read JSON lines: of each line that is not blank its number, from 1, and its object or what is wrong with it.

    Raises:
        UnusableOption: the file cannot be read.
    """
    found: list[tuple[int, dict[str, Any] | ValueError]] = []
    for number, line in enumerate(_read(source, "--batch").split("\n"), 1):
        if not line.strip():
            continue
        try:
            found.append((number, _object(line)))
        except ValueError as error:
            found.append((number, error))
    return found


def strict_json(text: str) -> Any:
    """Read one JSON value.

    Raises:
        ValueError: it is not JSON, holds NaN or an infinity, names a key twice, or is nested too deeply.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ValueError(f"is not JSON: {error.msg} at {line}column {error.colno}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


def _object(text: str) -> dict[str, Any]:
    value = strict_json(text.removeprefix("\ufeff"))
    if not isinstance(value, dict):
        raise ValueError(f"must be a JSON object, not {_NAMES[type(value)]}")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"holds {name}, which is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"names the key {name!r} twice")
        found[name] = value
    return found


def _typed(name: str, text: str, schema: Mapping[str, Any]) -> Any:
    kinds = _declared_types(name, schema)
    if kinds == ["string"]:
        return text
    try:
        value = strict_json(text)
    except ValueError as error:
        if kinds and "string" not in kinds:
            wanted = " or ".join(kinds)
            raise UnusableOption(f"--input {name}: must be {wanted}, written as JSON, but {error}") from error
        return text
    return text if "string" in kinds and _types(value).isdisjoint(kinds) else value


def _types(value: Any) -> set[str]:
    name = _NAMES[type(value)]
    return {name, "number"} if name == "integer" else {name}


def _declared_types(name: str, schema: Mapping[str, Any]) -> list[str]:
    """Give the types that the schema allows an input to have; none where it does not say."""
    properties = schema.get("properties")
    declared = properties.get(name) if isinstance(properties, Mapping) else None
    for _ in range(_MAX_HOPS):
        if not isinstance(declared, Mapping) or "type" in declared or "$ref" not in declared:
            break
        declared = _referred(declared["$ref"], schema)
    kind = declared.get("type") if isinstance(declared, Mapping) else None
    return [kind] if isinstance(kind, str) else list(kind or [])


def _referred(reference: str, schema: Mapping[str, Any]) -> Any:
    """Give what a reference of the schema leads to, or None where that is not in it."""
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root = DRAFT202012.create_resource(schema)
    try:
        return Registry().resolver_with_root(root).lookup(reference).contents
    except Unresolvable:
        return None


def _read(source: str, option: str) -> str:
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return data.decode()
    except OSError as error:
        raise UnusableOption(f"{option}: cannot read {source!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UnusableOption(f"{option}: {source!r} is not UTF-8 text (byte {error.start})") from error
