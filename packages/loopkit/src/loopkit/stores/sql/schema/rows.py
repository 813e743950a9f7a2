"""Rows as values. A row may be another program's: loopkit's own columns may be NULL in it, and its times and JSON come
in the forms that the contract of the tables allows.

Each kind of row has the order of one tuple of names (:data:`RUN_NAMES` and those after it): its SELECT, its positions
and its reader are made from that tuple. A name added to it needs no other change here unless it holds a time or JSON.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

import attrs
from sqlalchemy import Double, Text, and_, bindparam, cast, false, func, literal_column, select, true
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement

from loopkit import wire
from loopkit.core import strict_json
from loopkit.core.journal import Artifact, ArtifactInfo, ArtifactType, Change, EventType, RunEvent
from loopkit.core.labels.label_text import MAX_TAG_CHARS, MAX_TAGS
from loopkit.core.ledger.calls import CallState, StoredCall
from loopkit.core.panel.verdict import Verdict, VerdictKind
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.core.values import replacer
from loopkit.stores import text_cuts
from loopkit.stores.sql.schema.expressions import AnyColumn, in_sql
from loopkit.stores.sql.schema.tables import artifacts, events, running, runs, tags, usage, verdicts
from loopkit.stores.sql.schema.timestamps import SecondsBetween, present

__all__ = [
    "ARTIFACT_COLUMNS",
    "ARTIFACT_INFO_COLUMNS",
    "ARTIFACT_NAMES",
    "CALL_COLUMNS",
    "CALL_NAMES",
    "CLAIMED_BY",
    "CLAIMED_NAMES",
    "CURRENT_ATTEMPT",
    "CURRENT_STAGE",
    "CUT_ARTIFACT_COLUMNS",
    "CUT_EVENT_COLUMNS",
    "EVENT_COLUMNS",
    "EVENT_SEQ",
    "ID",
    "LAST_WRITE",
    "LEASE_ID",
    "PREVIOUS_HEARTBEAT",
    "RUN_NAMES",
    "STORED_NAMES",
    "VERDICT_COLUMNS",
    "VERDICT_NAMES",
    "WRITTEN_COLUMNS",
    "WRITTEN_EVENT_SEQ",
    "WRITTEN_NAMES",
    "Row",
    "artifact_infos_of",
    "artifacts_of",
    "beginning",
    "call",
    "cut_artifacts_of",
    "cut_event",
    "cut_parameters",
    "cut_run",
    "event",
    "id_beginning",
    "is_stalled",
    "json",
    "last_seen",
    "listed_columns",
    "listed_run",
    "moment",
    "run",
    "run_columns",
    "silent_seconds",
    "tags_column",
    "verdict",
    "written_run",
]

Row = Sequence[Any]
"""Values of a row in the order of its SELECT, as a driver returns them."""

_STATUSES: Final = {member.value: member for member in RunStatus}
_STAGES: Final = {member.value: member for member in Stage}
_EVENT_TYPES: Final = {member.value: member for member in EventType}
_ARTIFACT_TYPES: Final = {member.value: member for member in ArtifactType}

last_seen: Final = func.coalesce(runs.c.heartbeat_at, runs.c.claimed_at, runs.c.started_at, runs.c.created_at)
"""The latest sign of life of a run's holder."""


def silent_seconds() -> ColumnElement[float]:
    """Return the seconds since the holder's last sign of life, by the store's clock; takes the parameter ``now``."""
    return SecondsBetween(last_seen, present())


def is_stalled() -> ColumnElement[bool]:
    """Return the condition of :func:`loopkit.core.run.is_stalled`; takes ``now`` and ``stalled_seconds``.

    A sign of life whose time nobody can read is none.
    """
    is_silent = func.abs(silent_seconds()) > bindparam("stalled_seconds", type_=Double())
    return and_(running, func.coalesce(is_silent, true()))


RUN_NAMES: Final = (
    *("id", "agent_name", "cycle_id", "status", "current_stage", "current_attempt", "max_attempts"),
    *("pass_threshold", "final_score", "best_attempt", "error_message", "inputs", "claimed_at", "claimed_by"),
    *("heartbeat_at", "cancel_requested_at", "started_at", "completed_at", "created_at", "retry_of"),
    *("fencing_token", "lease_id", "lost_leases", "definition", "policy", "end_reason", "title", "tags"),
    *("input_tokens", "output_tokens", "cost_nanos", "unpriced_calls", "stage_seconds", "stalled"),
)
"""Names of the values that :func:`run` reads, in order: fields of :class:`~loopkit.core.run.Run`."""

STORED_NAMES: Final = (*RUN_NAMES, "last_write", "event_seq")
"""Names of the values of a run as the writer reads it back, in order."""

ID: Final = STORED_NAMES.index("id")
CURRENT_STAGE: Final = STORED_NAMES.index("current_stage")
CURRENT_ATTEMPT: Final = STORED_NAMES.index("current_attempt")
CLAIMED_BY: Final = STORED_NAMES.index("claimed_by")
LAST_WRITE: Final = STORED_NAMES.index("last_write")
EVENT_SEQ: Final = STORED_NAMES.index("event_seq")
LEASE_ID: Final = STORED_NAMES.index("lease_id")

CLAIMED_NAMES: Final = (*STORED_NAMES, "previous_heartbeat")
"""Names of the values of a run that a claim wrote, in order; at the end the renewal interval of the holder before."""

PREVIOUS_HEARTBEAT: Final = CLAIMED_NAMES.index("previous_heartbeat")

WRITTEN_NAMES: Final = (
    *("id", "last_write", "cancel_requested_at", "heartbeat_at", "completed_at", "current_attempt", "event_seq"),
)
"""Names of the values that may differ, after a change was written, from what its holder knows, in order."""

WRITTEN_EVENT_SEQ: Final = WRITTEN_NAMES.index("event_seq")

WRITTEN_COLUMNS: Final = tuple(runs.c[name] for name in WRITTEN_NAMES)

EVENT_NAMES: Final = ("id", "run_id", "event_type", "stage", "attempt", "message", "metadata", "created_at")
"""Names of the values that :func:`event` reads, in order."""

EVENT_COLUMNS: Final = tuple(events.c[name] for name in EVENT_NAMES)

ARTIFACT_INFO_NAMES: Final = ("id", "run_id", "attempt", "artifact_type", "filename", "is_json", "created_at")
"""Names of the values that :func:`artifact_infos_of` reads, in order."""

ARTIFACT_INFO_COLUMNS: Final = tuple(artifacts.c[name] for name in ARTIFACT_INFO_NAMES)

ARTIFACT_NAMES: Final = (*ARTIFACT_INFO_NAMES, "content")
"""Names of the values that :func:`artifacts_of` reads, in order."""

ARTIFACT_COLUMNS: Final = tuple(artifacts.c[name] for name in ARTIFACT_NAMES)

CALL_NAMES: Final = (
    *("call_id", "stage", "attempt", "judge", "sample", "try_number", "model", "input_tokens", "output_tokens"),
    *("cached_tokens", "cost_nanos", "seconds", "state", "created_at"),
)
"""Names of the values that :func:`call` reads, in order."""

CALL_COLUMNS: Final = tuple(usage.c[name] for name in CALL_NAMES)

VERDICT_NAMES: Final = ("attempt", "kind", "name", "sample", "made_by", "score", "feedback", "detail")
"""Names of the values that :func:`verdict` reads, in order."""

VERDICT_COLUMNS: Final = tuple(verdicts.c[name] for name in VERDICT_NAMES)

_CANCEL_REQUESTED_AT, _HEARTBEAT_AT, _COMPLETED_AT = map(
    WRITTEN_NAMES.index, ("cancel_requested_at", "heartbeat_at", "completed_at")
)


@in_sql(sqlite="json_group_array({0})", postgresql="json_agg({0})")
class _Array(FunctionElement[object]):
    """The values of a column as a JSON array."""

    inherit_cache = True
    name = "array_of"


def tags_column(*, cut: bool = False) -> AnyColumn:
    """Return the tags of a run as a JSON array, in no order; with ``cut`` their beginnings, of so many at most."""
    of_run = tags.c.run_id == runs.c.id
    if not cut:
        return select(_Array(tags.c.tag)).where(of_run).correlate(runs).scalar_subquery().label("tags")
    # One more tag, and one more character of each, show that they are cut.
    first = select(func.substr(tags.c.tag, 1, MAX_TAG_CHARS + 1).label("tag")).where(of_run).correlate(runs)
    cut_tags = first.order_by(tags.c.tag).limit(MAX_TAGS + 1).subquery("cut_tags")
    return select(_Array(cut_tags.c.tag)).scalar_subquery().label("tags")


def run_columns(*, cut: bool = False) -> list[AnyColumn]:
    """Return the columns of :data:`RUN_NAMES`; they take the parameters ``now`` and ``stalled_seconds``.

    With ``cut`` the texts are cut, for :func:`cut_run`; they take those of :func:`cut_parameters` too.
    """
    own = {"stalled": func.coalesce(is_stalled(), false()).label("stalled"), "tags": tags_column(cut=cut)}
    return [own[name] if name in own else _column(runs.c[name], cut and name in _CUT) for name in RUN_NAMES]


def listed_columns(*, cut: bool) -> list[AnyColumn]:
    """Return the columns of :data:`RUN_NAMES` for :func:`listed_run`: as :func:`run_columns` does, but for the id."""
    _, *others = run_columns(cut=cut)
    return [id_beginning(text_cuts.MAX_ID_CHARS + 1).label("id"), *others]


def id_beginning(chars: int) -> AnyColumn:
    """Return the first characters of a run's id. Sort by the id itself: this is in no index."""
    return func.substr(runs.c.id, literal_column("1"), literal_column(str(chars)))


_CUT: Final = frozenset({*text_cuts.RUN_TEXTS, *text_cuts.RUN_DOCUMENTS, "message", "metadata"})
"""Columns whose texts are cut in a read with ``max_chars``."""


def _column(column: AnyColumn, is_cut: bool) -> AnyColumn:
    return beginning(column).label(column.name) if is_cut else column


def beginning(column: AnyColumn) -> AnyColumn:
    """Return the beginning of a text; takes :func:`cut_parameters`."""
    return func.substr(cast(column, Text), 1, bindparam("cut_at"))


def cut_parameters(max_chars: int) -> dict[str, int]:
    """Return the parameters of a statement that cuts texts: one more character shows that a text is longer."""
    return {"cut_at": max_chars + 1}


CUT_EVENT_COLUMNS: Final = tuple(_column(events.c[name], name in _CUT) for name in EVENT_NAMES)

CUT_ARTIFACT_COLUMNS: Final = (
    *ARTIFACT_INFO_COLUMNS,
    func.substr(artifacts.c.content, bindparam("first"), bindparam("most_chars")).label("content"),
    func.length(artifacts.c.content).label("length"),
)
"""Columns of a part of an artifact: ``most_chars`` characters from the ``first`` one (from 1) on."""


def cut_run(row: Row, max_chars: int) -> Run:
    """Return the run of a row whose texts were cut after ``max_chars`` characters and one more."""
    values = list(row)
    is_cut = False
    for name in (*text_cuts.RUN_TEXTS, *text_cuts.RUN_DOCUMENTS):
        position = _POSITIONS[name]
        text = values[position]
        if isinstance(text, str) and len(text) > max_chars:
            is_cut = True
            values[position] = text[:max_chars]
            if name in text_cuts.RUN_DOCUMENTS:
                values[position] = text_cuts.cut_json_text(text, max_chars)
    whole = run(values)
    shown_tags = text_cuts.cut_tags(whole.tags, max_chars)
    return attrs.evolve(whole, tags=shown_tags, is_cut=is_cut or shown_tags != whole.tags)


def listed_run(row: Row, max_chars: int | None) -> Run:
    """Return the run of a row of :func:`listed_columns`, cut as :func:`cut_run` does where ``max_chars`` is given."""
    return text_cuts.listed_run(run(row) if max_chars is None else cut_run(row, max_chars))


_POSITIONS: Final = {name: position for position, name in enumerate(RUN_NAMES)}


def run(row: Row) -> Run:
    """Return the run of a row that begins with the values of :data:`RUN_NAMES`.

    A value that no program may write, such as a score that is text, is replaced, and the run's ``unreadable`` and
    ``error_message`` name it: one such row must not keep anybody from the others.
    """
    values = dict(zip(RUN_NAMES, row, strict=False))
    status = _STATUSES.get(values["status"])
    created_at = moment(values["created_at"])
    if status is None or created_at is None or not _has_numbers(values):
        return _unreadable_run(values)
    values["status"] = status
    values["current_stage"] = _STAGES.get(values["current_stage"])
    values["inputs"] = json(values["inputs"])
    values["policy"] = json(values["policy"])
    values["title"] = values["title"] if isinstance(values["title"], str) else None
    values["tags"] = _tags(values["tags"])
    for name in _RUN_TIMES:
        if values[name] is not None:
            values[name] = moment(values[name])
    values["created_at"] = created_at
    values["stalled"] = bool(values["stalled"])
    return _with_values(_NO_RUN, *values.values())


def _tags(array: Any) -> tuple[str, ...]:
    """Return the tags of a JSON array, which is NULL or empty without any, in the order of their characters."""
    if array is None or array == "[]":
        return ()
    return tuple(sorted(tag for tag in json(array) if isinstance(tag, str)))


_INTEGERS: Final = {
    "current_attempt": 1,
    "max_attempts": 1,
    "fencing_token": 0,
    "lost_leases": 0,
    "input_tokens": 0,
    "output_tokens": 0,
    "unpriced_calls": 0,
}
"""Columns of whole numbers, with what stands in for a value that is none."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands in for a time that cannot be read."""

_with_values: Final = replacer(Run, *RUN_NAMES)
_NO_RUN: Final = Run(
    id="",
    agent_name="",
    cycle_id="",
    status=RunStatus.QUEUED,
    max_attempts=1,
    pass_threshold=1.0,
    inputs={},
    created_at=_EPOCH,
)
"""Gives the fields that have no column their defaults."""


def _has_numbers(values: Mapping[str, Any]) -> bool:
    """Return True when the numbers of a run's row are numbers; SQLite keeps any text in such a column."""
    return (
        type(values["current_attempt"]) is int
        and type(values["max_attempts"]) is int
        and type(values["fencing_token"]) is int
        and type(values["lost_leases"]) is int
        and isinstance(values["pass_threshold"], int | float)
        and (values["final_score"] is None or isinstance(values["final_score"], int | float))
        and (values["best_attempt"] is None or type(values["best_attempt"]) is int)
        and type(values["input_tokens"]) is int
        and type(values["output_tokens"]) is int
        and type(values["unpriced_calls"]) is int
        and (values["cost_nanos"] is None or type(values["cost_nanos"]) is int)
        and isinstance(values["stage_seconds"], int | float)
    )


def _unreadable_run(values: dict[str, Any]) -> Run:
    """Return the run of a row with stand-ins for what cannot be read in it, and the sentence that names it."""
    stand_ins: dict[str, Any] = {}
    if values["status"] not in _STATUSES:
        stand_ins["status"] = RunStatus.FAILED.value
    if moment(values["created_at"]) is None:
        stand_ins["created_at"] = _EPOCH
    stand_ins |= {name: number for name, number in _INTEGERS.items() if type(values[name]) is not int}
    if not isinstance(values["pass_threshold"], int | float):
        stand_ins["pass_threshold"] = 1.0
    if not isinstance(values["final_score"], int | float | None):
        stand_ins["final_score"] = None
    stand_ins |= {name: None for name in ("best_attempt", "cost_nanos") if not isinstance(values[name], int | None)}
    if not isinstance(values["stage_seconds"], int | float):
        stand_ins["stage_seconds"] = 0.0
    unreadable = "; ".join(f"{name} is {values[name]!r}" for name in stand_ins)
    message = values["error_message"] or f"the row of this run cannot be read: {unreadable}"
    readable = {**values, **stand_ins}
    return attrs.evolve(run([readable[name] for name in RUN_NAMES]), unreadable=unreadable, error_message=message)


_RUN_TIMES: Final = ("claimed_at", "heartbeat_at", "cancel_requested_at", "started_at", "completed_at")


def written_run(row: Row, change: Change) -> Run:
    """Return the run that a change has left, by its row of :data:`WRITTEN_NAMES`."""
    cancel_requested_at, completed_at = row[_CANCEL_REQUESTED_AT], row[_COMPLETED_AT]
    return change.written(
        cancel_requested_at=None if cancel_requested_at is None else moment(cancel_requested_at),
        heartbeat_at=moment(row[_HEARTBEAT_AT]),
        completed_at=None if completed_at is None else moment(completed_at),
    )


def event(row: Row) -> RunEvent:
    """Return the event of a row of :data:`EVENT_NAMES`; an event of an unknown type counts as a log."""
    values = dict(zip(EVENT_NAMES, row, strict=True))
    values["event_type"] = _EVENT_TYPES.get(values["event_type"], EventType.LOG)
    values["stage"] = _STAGES.get(values["stage"])
    values["metadata"] = _mapping(json(values["metadata"]))
    values["created_at"] = moment(values["created_at"]) or _EPOCH
    return RunEvent(**values)


def cut_event(row: Row, max_chars: int) -> RunEvent:
    """Return the event of a row whose texts were cut after ``max_chars`` characters and one more."""
    whole = event([None if name in _CUT else value for name, value in zip(EVENT_NAMES, row, strict=True)])
    message, metadata = (row[EVENT_NAMES.index(name)] for name in ("message", "metadata"))
    is_cut = any(isinstance(text, str) and len(text) > max_chars for text in (message, metadata))
    if isinstance(metadata, str):
        is_longer = len(metadata) > max_chars
        metadata = text_cuts.cut_json_text(metadata, max_chars) if is_longer else json(metadata)
    shown = message[:max_chars] if isinstance(message, str) else message
    return attrs.evolve(whole, message=shown, metadata=_mapping(metadata), is_cut=is_cut)


def cut_artifacts_of(stored: Iterable[Row]) -> list[Artifact]:
    """Return the parts of artifacts in rows of :data:`CUT_ARTIFACT_COLUMNS`, as :func:`artifacts_of` does."""
    parts = []
    for row in stored:
        values = _artifact_values((*ARTIFACT_NAMES, "length"), row)
        if values is not None:
            values["length"] = None if len(values["content"]) == values["length"] else values["length"]
            parts.append(Artifact(**values))
    return parts


def artifacts_of(stored: Iterable[Row]) -> list[Artifact]:
    """Return the artifacts of rows of :data:`ARTIFACT_NAMES`; one of a type that loopkit does not know is left out."""
    return [Artifact(**values) for row in stored if (values := _artifact_values(ARTIFACT_NAMES, row)) is not None]


def artifact_infos_of(stored: Iterable[Row]) -> list[ArtifactInfo]:
    """Return the descriptions in rows of :data:`ARTIFACT_INFO_NAMES`, as :func:`artifacts_of` does."""
    names = ARTIFACT_INFO_NAMES
    return [ArtifactInfo(**values) for row in stored if (values := _artifact_values(names, row)) is not None]


def _artifact_values(names: Sequence[str], row: Row) -> dict[str, Any] | None:
    values = dict(zip(names, row, strict=True))
    kind = _ARTIFACT_TYPES.get(values["artifact_type"])
    if kind is None:
        return None
    values["artifact_type"] = kind
    values["is_json"] = bool(values["is_json"])
    values["created_at"] = moment(values["created_at"]) or _EPOCH
    return values


def call(row: Row) -> StoredCall:
    """Return the model call of a row of :data:`CALL_NAMES`."""
    values = dict(zip(CALL_NAMES, row, strict=True))
    values["id"] = values.pop("call_id")
    values["stage"] = Stage(values["stage"])
    values["state"] = CallState(values["state"])
    values["created_at"] = moment(values["created_at"]) or _EPOCH
    return StoredCall(**values)


def verdict(row: Row) -> Verdict:
    """Return the verdict of a row of :data:`VERDICT_NAMES`."""
    values = dict(zip(VERDICT_NAMES, row, strict=True))
    values["kind"] = VerdictKind(values["kind"])
    values["detail"] = json(values["detail"])
    return Verdict(**values)


def json(value: Any) -> Any:
    """Read the value of a JSON column: text on SQLite and libSQL, parsed already on PostgreSQL."""
    if isinstance(value, str):
        return {} if value == "{}" else strict_json.loads_or_text(value)
    return value


def moment(value: object) -> datetime | None:
    """Read the value of a time column, to the millisecond; text that is not a time gives None, like NULL."""
    if isinstance(value, str):
        return _parsed(value)
    return _cut(value) if isinstance(value, datetime) else None


def _cut(value: datetime) -> datetime:
    read = value if value.tzinfo is UTC else value.astimezone(UTC)
    return read if read.microsecond % 1000 == 0 else read - read.microsecond % 1000 * timedelta(microseconds=1)


@lru_cache(maxsize=1024)  # most of what reading a run costs, and the times of one run are read again and again
def _parsed(text: str) -> datetime | None:
    try:
        return _cut(wire.parse_instant(text))
    except ValueError:
        return None


def _mapping(value: Any) -> Mapping[str, Any] | None:
    """Return metadata as an object or None; any other JSON value of another program becomes an object's ``value``."""
    return None if value is None else strict_json.mapping(value)
