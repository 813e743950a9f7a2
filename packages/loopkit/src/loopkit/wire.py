"""Wire form of values, the JSON that other programs see: camelCase names, ISO 8601 times in UTC with milliseconds.

Nothing else in loopkit converts names (:func:`camel`) or times (:func:`instant`, :func:`parse_instant`). A document of
a few fixed keys, such as the one that the program of a stage reads, is written out where it is built; a test checks
that each of its keys is the name of its value as :func:`camel` converts it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import attrs

from loopkit.core import strict_json
from loopkit.core.journal import Artifact, RunEvent
from loopkit.core.ledger.calls import CallState, StoredCall
from loopkit.core.ledger.sums import NANOS_PER_USD, SUM_NAMES, RunUsage
from loopkit.core.run import Run, Stage
from loopkit.errors import Fault

if TYPE_CHECKING:
    import cattrs

__all__ = [
    "RunUsage",
    "UsageCall",
    "artifact",
    "camel",
    "document",
    "event",
    "fault",
    "fields",
    "instant",
    "parse_instant",
    "run",
    "usage",
    "usage_call",
]

_INTERNAL: Final[Mapping[type, frozenset[str]]] = {
    Run: frozenset(
        {"fencing_token", "lease_id", "lost_leases", "definition", "is_cut", "unreadable"}
        | frozenset(SUM_NAMES)  # they are the object `usage`
    ),
    RunEvent: frozenset({"is_cut"}),
    Artifact: frozenset({"is_json", "length"}),
}
"""Fields that only loopkit needs, left out of the wire form."""


def camel(name: str) -> str:
    """Convert ``final_score`` to ``finalScore``."""
    first, *rest = name.split("_")
    return first + "".join(part.title() for part in rest)


def instant(moment: datetime) -> str:
    """Convert an aware time to ``YYYY-MM-DDTHH:MM:SS.mmmZ``."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime:
    """Parse a time in ISO 8601, or ``YYYY-MM-DD HH:MM:SS``; without an offset it is UTC.

    Raises:
        ValueError: the text is not a time.
    """
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def fields(cls: type) -> list["attrs.Attribute[Any]"]:
    """Return the fields of an attrs class that its wire form has, in order; :func:`camel` converts their names."""
    internal = _INTERNAL.get(cls, frozenset())
    return [field for field in attrs.fields(cls) if field.name not in internal]


def _is_enum(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, Enum)


@cache
def _converter() -> "cattrs.Converter":
    import cattrs  # slow to load, and not needed to read or write times
    from cattrs.gen import make_dict_unstructure_fn, override

    converter = cattrs.Converter()
    converter.register_unstructure_hook(datetime, instant)
    converter.register_unstructure_hook_func(_is_enum, lambda member: member.value)
    for cls in (Run, RunEvent, Artifact):
        renamed: dict[str, Any] = {
            field.name: override(rename=camel(field.name), omit=field.name in _INTERNAL.get(cls, frozenset()))
            for field in attrs.fields(cls)
        }
        if cls is Run:
            # Another program may have stored any JSON value as inputs.
            renamed["inputs"] = override(unstruct_hook=strict_json.mapping)
            renamed["policy"] = override(
                rename="policy", unstruct_hook=lambda value: value if isinstance(value, Mapping) else None
            )
            renamed["tags"] = override(rename="tags", unstruct_hook=sorted)
        converter.register_unstructure_hook(cls, make_dict_unstructure_fn(cls, converter, **renamed))
    return converter


@attrs.frozen(kw_only=True)
class UsageCall:
    """Model call of a run, or usage that a stage reported."""

    id: str
    stage: Stage
    attempt: int
    judge: str | None
    sample: int | None
    try_: int
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    usd: float | None
    """Price in US dollars; None: not known."""
    seconds: float | None
    state: CallState
    created_at: datetime


def usage_call(value: StoredCall) -> UsageCall:
    """Return a row of the ledger as it is shown."""
    names = (field.name for field in attrs.fields(UsageCall))
    own = {name: getattr(value, name) for name in names if name not in ("try_", "usd")}
    usd = None if value.cost_nanos is None else value.cost_nanos / NANOS_PER_USD
    return UsageCall(**own, try_=value.try_number, usd=usd)


def run(value: Run) -> dict[str, Any]:
    """Return a run as a JSON object."""
    return {**_document(value), "usage": usage(value.usage)}


def usage(value: RunUsage) -> dict[str, Any]:
    """Return the sums over model calls and stages as a JSON object; ``usd`` is null when no call is priced."""
    return {camel(field.name): getattr(value, field.name) for field in attrs.fields(RunUsage)}


def event(value: RunEvent) -> dict[str, Any]:
    """Return an event as a JSON object."""
    return _document(value)


def artifact(value: Artifact) -> dict[str, Any]:
    """Return an artifact as a JSON object, its content as text."""
    return _document(value)


def document(value: Any) -> Any:
    """Return any value of loopkit's as JSON: attrs classes as objects with camelCase names, times as text."""
    match value:
        case Run():
            return run(value)
        case RunEvent() | Artifact():
            return _document(value)
        case datetime():
            return instant(value)
        case Enum():
            return value.value
        case str() | int() | float() | None:
            return value
        case Mapping():
            return {str(key): document(item) for key, item in value.items()}
        case Sequence():
            return [document(item) for item in value]
        case _:
            return {camel(field.name): document(getattr(value, field.name)) for field in attrs.fields(type(value))}


def fault(value: Fault) -> dict[str, str]:
    """Return a fault as a JSON object."""
    return {"pointer": value.pointer, "detail": value.detail}


def _document(value: object) -> dict[str, Any]:
    document: dict[str, Any] = _converter().unstructure(value)
    return document
