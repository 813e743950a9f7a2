"""Rows as values. A row may be another program's: loopkit's own columns may be NULL in it, and its times and JSON come
in the forms that the contract of the tables allows.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import and_, bindparam, false, func
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.elements import ColumnElement

from loopkit import wire
from loopkit.core import plain
from loopkit.core.journal import Artifact, ArtifactInfo, ArtifactType, Change, EventType, RunEvent
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.errors import DatabaseDamaged
from loopkit.stores.sql.instants import SecondsBetween, present
from loopkit.stores.sql.tables import artifacts, events, running, runs

_STATUSES: Final = {member.value: member for member in RunStatus}
_STAGES: Final = {member.value: member for member in Stage}
_EVENT_TYPES: Final = {member.value: member for member in EventType}
_ARTIFACT_TYPES: Final = {member.value: member for member in ArtifactType}

last_seen: Final = func.coalesce(runs.c.heartbeat_at, runs.c.claimed_at, runs.c.started_at, runs.c.created_at)
"""The newest sign of life of a run's holder."""


def silent_seconds() -> ColumnElement[float]:
    """How long a run's holder has been silent, by the store's clock; takes the parameter ``now``."""
    return SecondsBetween(last_seen, present())


def is_stalled() -> ColumnElement[bool]:
    """True for a running run whose holder has been silent too long; takes ``now`` and ``stalled_seconds``."""
    return and_(running, silent_seconds() > bindparam("stalled_seconds"))


def run_columns() -> list[ColumnElement[Any]]:
    """What :func:`run` reads, in its order; takes the parameters ``now`` and ``stalled_seconds``."""
    names = (
        *("id", "agent_name", "cycle_id", "status", "current_stage", "current_attempt", "max_attempts"),
        *("pass_threshold", "final_score", "best_attempt", "error_message", "inputs", "claimed_at", "claimed_by"),
        *("heartbeat_at", "cancel_requested_at", "started_at", "completed_at", "created_at", "retry_of"),
        *("fencing_token", "lease_id", "lost_leases", "definition"),
    )
    return [*(runs.c[name] for name in names), func.coalesce(is_stalled(), false()).label("stalled")]


EVENT_COLUMNS: Final = tuple(
    events.c[name] for name in ("id", "run_id", "event_type", "stage", "attempt", "message", "metadata", "created_at")
)
"""What :func:`event` reads, in its order."""

ARTIFACT_INFO_COLUMNS: Final = tuple(
    artifacts.c[name] for name in ("id", "run_id", "attempt", "artifact_type", "filename", "is_json", "created_at")
)
"""What :func:`artifact_info` reads, in its order."""
ARTIFACT_COLUMNS: Final = (*ARTIFACT_INFO_COLUMNS, artifacts.c.content)
"""What :func:`artifact` reads, in its order."""


def run(row: Sequence[Any]) -> Run:
    """Give the run of a row of :func:`run_columns`.

    Raises:
        DatabaseDamaged: the row holds something that no program may write.
    """
    status = _STATUSES.get(row[3])
    if status is None:
        raise DatabaseDamaged(f"run {row[0]} has the unknown status {row[3]!r}")
    return Run(
        id=row[0],
        agent_name=row[1],
        cycle_id=row[2],
        status=status,
        current_stage=_STAGES.get(row[4]),
        current_attempt=row[5],
        max_attempts=row[6],
        pass_threshold=row[7],
        final_score=row[8],
        best_attempt=row[9],
        error_message=row[10],
        inputs=json(row[11]),
        claimed_at=moment(row[12]),
        claimed_by=row[13],
        heartbeat_at=moment(row[14]),
        cancel_requested_at=moment(row[15]),
        started_at=moment(row[16]),
        completed_at=moment(row[17]),
        created_at=_moment_of(row[0], row[18]),
        retry_of=row[19],
        fencing_token=row[20],
        lease_id=row[21],
        lost_leases=row[22],
        definition=row[23],
        stalled=bool(row[24]),
    )


WRITTEN_COLUMNS: Final = tuple(
    runs.c[name]
    for name in (
        "id",
        "last_write",
        "cancel_requested_at",
        "heartbeat_at",
        "completed_at",
        "current_attempt",
        "event_seq",
    )
)
"""What may differ, after a change was written, from what its holder knows; :func:`written` reads it."""


def written(row: Sequence[Any], change: Change) -> Run:
    """Give the run that a change has left, by its row of :data:`WRITTEN_COLUMNS`."""
    return change.written(
        cancel_requested_at=moment(row[2]),
        heartbeat_at=moment(row[3]),
        completed_at=moment(row[4]),
    )


def event(row: Sequence[Any]) -> RunEvent:
    """Give the event of a row of :data:`EVENT_COLUMNS`; one of a type that nobody knows counts as a log."""
    return RunEvent(
        id=row[0],
        run_id=row[1],
        event_type=_EVENT_TYPES.get(row[2], EventType.LOG),
        stage=_STAGES.get(row[3]),
        attempt=row[4],
        message=row[5],
        metadata=_mapping(json(row[6])),
        created_at=_moment_of(row[1], row[7]),
    )


def artifact(row: Sequence[Any]) -> Artifact:
    """Give the artifact of a row of :data:`ARTIFACT_COLUMNS`.

    Raises:
        DatabaseDamaged: the row holds something that no program may write.
    """
    return Artifact(**_about(row), content=row[7])


def artifact_info(row: Sequence[Any]) -> ArtifactInfo:
    """Give what is known of the artifact of a row of :data:`ARTIFACT_INFO_COLUMNS`.

    Raises:
        DatabaseDamaged: the row holds something that no program may write.
    """
    return ArtifactInfo(**_about(row))


def _about(row: Sequence[Any]) -> dict[str, Any]:
    kind = _ARTIFACT_TYPES.get(row[3])
    if kind is None:
        raise DatabaseDamaged(f"run {row[1]} has an artifact of the unknown type {row[3]!r}")
    return {
        "id": row[0],
        "run_id": row[1],
        "attempt": row[2],
        "artifact_type": kind,
        "filename": row[4],
        "is_json": bool(row[5]),
        "created_at": _moment_of(row[1], row[6]),
    }


def json(value: Any) -> Any:
    """Read a JSON column: text on SQLite and libSQL, already a value on PostgreSQL."""
    return plain.loads(value) if isinstance(value, str) else value


def moment(value: Any) -> datetime | None:
    """Read a time column, to the millisecond; a text that is no time is none."""
    if value is None:
        return None
    return _parsed(value) if isinstance(value, str) else _cut(value)


def _cut(value: datetime) -> datetime:
    read = value if value.tzinfo is UTC else value.astimezone(UTC)
    return read if read.microsecond % 1000 == 0 else read - read.microsecond % 1000 * timedelta(microseconds=1)


@lru_cache(maxsize=1024)  # most of what reading a run costs, and the times of one run are read again and again
def _parsed(text: str) -> datetime | None:
    try:
        return _cut(wire.parse_instant(text))
    except ValueError:
        return None


def time_parameter(dialect: Dialect, value: datetime | None) -> datetime | str | None:
    """Give a time as a time column of this database takes it; None stays NULL."""
    return value if value is None or dialect.name == "postgresql" else wire.instant(value)


def _moment_of(run_id: str, value: Any) -> datetime:
    read = moment(value)
    if read is None:
        raise DatabaseDamaged(f"a row of run {run_id} has the unreadable created_at {value!r}")
    return read


def _mapping(value: Any) -> Any:
    """Metadata are an object or nothing; what else another program wrote is kept under a name."""
    return None if value is None else plain.mapping(value)
