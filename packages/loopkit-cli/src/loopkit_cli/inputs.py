"""Inputs from the command line and from files, parsed strictly: ambiguous input is refused, never guessed."""

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
"""JSON Schema's names of the Python types of JSON values."""

_MAX_HOPS: Final = 16
"""Most ``$ref``s in a row that are followed: a longer chain is taken for a circle."""


class NotJson(UnusableOption):
    """Values of ``--input`` that must be JSON and are not."""

    def __init__(self, faults: Mapping[str, str], inputs: Mapping[str, Any]) -> None:
        self.faults = dict(faults)
        """What is wrong with each of these inputs, by name."""
        self.inputs = dict(inputs)
        """All inputs, these as the text that was given."""
        super().__init__("\n  ".join(self.lines))

    @property
    def lines(self) -> list[str]:
        """One line for each of these inputs."""
        return [f"--input {name}: {fault}" for name, fault in self.faults.items()]

    @property
    def pointers(self) -> set[str]:
        """Pointers to these inputs, as a schema's faults have them."""
        return {"/" + name.replace("~", "~0").replace("/", "~1") for name in self.faults}


def from_options(pairs: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Parse ``NAME=VALUE`` and ``NAME=@FILE``, each value by the type that the schema declares for its name.

    Raises:
        UnusableOption: a pair has no name, is given twice, or names a file that cannot be read.
        NotJson: values must be JSON and are not; it has all of them.
    """
    inputs: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise UnusableOption(f"--input {pair!r}: write it as NAME=VALUE or NAME=@FILE")
        if name in inputs:
            raise UnusableOption(f"--input {name} is given twice")
        if text.startswith("@"):
            text = _read(text[1:], f"--input {name}")
        try:
            inputs[name] = _typed(name, text, schema)
        except ValueError as error:
            inputs[name], faults[name] = text, str(error)
    if faults:
        raise NotJson(faults, inputs)
    return inputs


def from_file(source: str) -> dict[str, Any]:
    """Read the one JSON object in a file, or on stdin when the source is ``-``.

    Raises:
        UnusableOption: the file cannot be read, or holds anything else.
    """
    try:
        return _object(_read(source, "--inputs"))
    except ValueError as error:
        raise UnusableOption(f"--inputs {source}: {error}") from error


def from_batch(source: str) -> list[tuple[int, dict[str, Any] | ValueError]]:
    """Read JSON lines: for each line that is not blank its number, from 1, and its object or the error in it.

    Raises:
        UnusableOption: the file cannot be read.
    """
    lines: list[tuple[int, dict[str, Any] | ValueError]] = []
    for number, line in enumerate(_read(source, "--batch").split("\n"), 1):
        if not line.strip():
            continue
        try:
            lines.append((number, _object(line)))
        except ValueError as error:
            lines.append((number, error))
    return lines


def strict_json(text: str) -> Any:
    """Parse one JSON value.

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
    mapping: dict[str, Any] = {}
    for name, value in pairs:
        if name in mapping:
            raise ValueError(f"names the key {name!r} twice")
        mapping[name] = value
    return mapping


def _typed(name: str, text: str, schema: Mapping[str, Any]) -> Any:
    kinds = _declared_types(name, schema)
    if kinds == ["string"]:
        return text
    try:
        value = strict_json(text)
    except ValueError as error:
        if kinds and "string" not in kinds:
            wanted = " or ".join(kinds)
            raise ValueError(f"must be {wanted}, written as JSON, but {error}") from error
        return text
    return text if "string" in kinds and _types(value).isdisjoint(kinds) else value


def _types(value: Any) -> set[str]:
    name = _NAMES[type(value)]
    return {name, "number"} if name == "integer" else {name}


def _declared_types(name: str, schema: Mapping[str, Any]) -> list[str]:
    """Return the types that the schema allows for an input; none when it declares none."""
    properties = schema.get("properties")
    declared = properties.get(name) if isinstance(properties, Mapping) else None
    for _ in range(_MAX_HOPS):
        if not isinstance(declared, Mapping) or "type" in declared or "$ref" not in declared:
            break
        declared = _referred(declared["$ref"], schema)
    kind = declared.get("type") if isinstance(declared, Mapping) else None
    return [kind] if isinstance(kind, str) else list(kind or [])


def _referred(reference: str, schema: Mapping[str, Any]) -> Any:
    """Return the part of the schema that a reference names, or None when there is none."""
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root = DRAFT202012.create_resource(schema)
    try:
        return Registry().resolver_with_root(root).lookup(reference).contents
    except Unresolvable:
        return None


def _read(source: str, option: str) -> str:
    if source == "-" and sys.stdin is None:
        raise UnusableOption(f"{option}: - is stdin, which is closed")
    try:
        data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
        return data.decode()
    except OSError as error:
        raise UnusableOption(f"{option}: cannot read {source!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UnusableOption(f"{option}: {source!r} is not UTF-8 text (byte {error.start})") from error
