"""Values as the JSON that other programs see: camelCase names, ISO-8601 times in UTC with milliseconds.

The one place where names and times change their form; nothing else converts values to JSON.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

from loopkit.core import plain
from loopkit.core.journal import Artifact, RunEvent
from loopkit.core.run import Run
from loopkit.errors import Fault

_KEPT_INSIDE: Final[Mapping[type, frozenset[str]]] = {
    Run: frozenset({"fencing_token", "lease_id", "lost_leases", "definition"}),
    Artifact: frozenset({"is_json"}),
}
"""Fields that are loopkit's own and not on the wire."""


def camel(name: str) -> str:
    """Give ``final_score`` as ``finalScore``."""
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def instant(moment: datetime) -> str:
    """Give an aware time as ``YYYY-MM-DDTHH:MM:SS.mmmZ``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime:
    """Read a time in ISO 8601, or ``YYYY-MM-DD HH:MM:SS``; one without an offset is UTC.

    Raises:
        ValueError: the text is no time.
    """
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def fields(cls: type) -> list["attrs.Attribute[Any]"]:
    """Give the fields of an attrs class that are on the wire, in order; their names there are :func:`camel`'s."""
    kept_inside = _KEPT_INSIDE.get(cls, frozenset())
    return [field for field in attrs.fields(cls) if field.name not in kept_inside]


def _is_enum(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, Enum)


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_unstructure_hook(datetime, instant)
    converter.register_unstructure_hook_func(_is_enum, lambda member: member.value)
    for cls in (Run, RunEvent, Artifact):
        renamed: dict[str, Any] = {
            field.name: override(rename=camel(field.name), omit=field.name in _KEPT_INSIDE.get(cls, frozenset()))
            for field in attrs.fields(cls)
        }
        if cls is Run:
            renamed["inputs"] = override(unstruct_hook=plain.mapping)  # of another program's run they may be anything
        converter.register_unstructure_hook(cls, make_dict_unstructure_fn(cls, converter, **renamed))
    return converter


_CONVERTER: Final = _make_converter()


def run(value: Run) -> dict[str, Any]:
    """Give a run as JSON."""
    return _document(value)


def event(value: RunEvent) -> dict[str, Any]:
    """Give an event as JSON."""
    return _document(value)


def artifact(value: Artifact) -> dict[str, Any]:
    """Give an artifact as JSON, its content as text."""
    return _document(value)


def fault(value: Fault) -> dict[str, str]:
    """Give a fault as JSON."""
    return {"pointer": value.pointer, "detail": value.detail}


def _document(value: object) -> dict[str, Any]:
    document: dict[str, Any] = _CONVERTER.unstructure(value)
    return document
