"""Cases of the JSON Schema Test Suite, draft 2020-12, as inputs of an agent (see ``tests/data``)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

DATA = Path(__file__).parent / "data" / "json_schema"


@attrs.frozen(kw_only=True)
class Group:
    """A schema of inputs, and inputs for it."""

    name: str
    """File and description."""
    schema: dict[str, Any]
    cases: list[tuple[str, dict[str, Any], bool]]
    """Description, inputs, and whether they fit."""


def groups() -> Iterator[Group]:
    """Yield each group twice: its schema as that of the inputs, and as that of an input ``value``."""
    for file in sorted(DATA.rglob("*.json")):
        for group in json.loads(file.read_text()):
            name = f"{file.relative_to(DATA).with_suffix('')}: {group['description']}"
            cases = [(case["description"], case["data"], case["valid"]) for case in group["tests"]]
            objects = [(text, value, valid) for text, value, valid in cases if isinstance(value, dict)]
            if isinstance(group["schema"], dict) and objects:
                yield Group(name=name, schema=group["schema"], cases=objects)
            members = [(text, {"value": value}, valid) for text, value, valid in cases]
            yield Group(name=f"{name} (value)", schema=_with_member(group["schema"]), cases=members)


def _with_member(schema: Any) -> dict[str, Any]:
    """Return the schema of inputs with one member; its references still lead into its own schema."""
    if isinstance(schema, dict):
        own = {key: value for key, value in schema.items() if key != "$schema"}
        schema = {"$id": "https://loopkit.test/value", **own}
    return {"type": "object", "properties": {"value": schema}}
