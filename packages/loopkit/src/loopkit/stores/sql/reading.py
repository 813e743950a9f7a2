"""Reading runs, events and artifacts. Functions of a connection; ``clock`` holds the parameters ``now`` (NULL outside
tests) and ``stalled_seconds`` that every look at a run takes.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import attrs
from sqlalchemy import Connection, bindparam, case, select

from loopkit.core import machine
from loopkit.core.journal import Artifact, ArtifactInfo, ArtifactType, RunEvent
from loopkit.core.run import Run
from loopkit.errors import RunNotFound
from loopkit.storage import RunPage, RunQuery
from loopkit.stores.sql import lists, rows
from loopkit.stores.sql.tables import artifacts, events, runs

_RUN: Final = select(*rows.run_columns()).where(runs.c.id == bindparam("run_id"))
_IS_THERE: Final = select(runs.c.id).where(runs.c.id == bindparam("run_id"))
_EVENTS: Final = select(*rows.EVENT_COLUMNS).where(
    events.c.run_id == bindparam("run_id"), events.c.id > bindparam("after")
)
_FIRST_EVENTS: Final = _EVENTS.order_by(events.c.id).limit(bindparam("most"))
_LAST_EVENTS: Final = (
    _EVENTS.where(events.c.id < bindparam("before")).order_by(events.c.id.desc()).limit(bindparam("most"))
)
_IN_ORDER: Final = (artifacts.c.attempt, case((artifacts.c.artifact_type == ArtifactType.OUTPUT.value, 0), else_=1))
_ARTIFACTS: Final = select(*rows.ARTIFACT_COLUMNS).where(artifacts.c.run_id == bindparam("run_id")).order_by(*_IN_ORDER)
_SOME_ARTIFACTS: Final = _ARTIFACTS.where(artifacts.c.id.in_(bindparam("ids", expanding=True)))
_ARTIFACT_INFOS: Final = (
    select(*rows.ARTIFACT_INFO_COLUMNS).where(artifacts.c.run_id == bindparam("run_id")).order_by(*_IN_ORDER)
)
_EVALUATIONS: Final = (
    select(*rows.ARTIFACT_COLUMNS)
    .where(
        artifacts.c.run_id.in_(bindparam("run_ids", expanding=True)),
        artifacts.c.artifact_type == ArtifactType.EVALUATION.value,
    )
    .order_by(artifacts.c.attempt)
)


def get_run(connection: Connection, run_id: str, clock: Mapping[str, Any]) -> Run:
    """Give a run as it is now.

    Raises:
        RunNotFound: there is no such run.
    """
    row = connection.execute(_RUN, {"run_id": run_id, **clock}).first()
    if row is None:
        raise RunNotFound(run_id)
    return completed(connection, [rows.run(row)])[0]


def list_runs(connection: Connection, query: RunQuery, clock: Mapping[str, Any]) -> RunPage:
    """Give a page of runs.

    Raises:
        UnusableOption: the cursor is none of this order's.
    """
    found, cursor = lists.list_runs(connection, query, clock)
    return RunPage(runs=tuple(completed(connection, found)), next_cursor=cursor)


def list_events(
    connection: Connection, run_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
) -> list[RunEvent]:
    """Give events of a run, oldest first; with ``before`` the last ones before it.

    Raises:
        RunNotFound: there is no such run.
    """
    _require(connection, run_id)
    values = {"run_id": run_id, "after": after, "most": min(max(limit, 1), 1000)}
    if before is None:
        return [rows.event(row) for row in connection.execute(_FIRST_EVENTS, values)]
    found = connection.execute(_LAST_EVENTS, {**values, "before": before}).all()
    return [rows.event(row) for row in reversed(found)]


def list_artifacts(connection: Connection, run_id: str, only: Collection[int] | None = None) -> list[Artifact]:
    """Give the artifacts of a run, or those with one of these ids, by attempt, an output before its evaluation.

    Raises:
        RunNotFound: there is no such run.
    """
    _require(connection, run_id)
    if only is None:
        found = connection.execute(_ARTIFACTS, {"run_id": run_id})
    else:
        found = connection.execute(_SOME_ARTIFACTS, {"run_id": run_id, "ids": list(only)})
    return [rows.artifact(row) for row in found]


def describe_artifacts(connection: Connection, run_id: str) -> list[ArtifactInfo]:
    """Give what is known of the artifacts of a run without their texts, in the same order.

    Raises:
        RunNotFound: there is no such run.
    """
    _require(connection, run_id)
    return [rows.artifact_info(row) for row in connection.execute(_ARTIFACT_INFOS, {"run_id": run_id})]


def evaluations(connection: Connection, run_ids: Iterable[str]) -> dict[str, list[Artifact]]:
    """Give the evaluations of runs, by attempt; a run without any has no entry."""
    found: dict[str, list[Artifact]] = {}
    for row in connection.execute(_EVALUATIONS, {"run_ids": list(run_ids)}):
        found.setdefault(row.run_id, []).append(rows.artifact(row))
    return found


def completed(connection: Connection, found: list[Run]) -> list[Run]:
    """Add what other programs do not write: the attempt that made the best score."""
    lacking = {run.id for run in found if run.final_score is not None and run.best_attempt is None}
    if not lacking:
        return found
    judged = evaluations(connection, lacking)
    return [
        attrs.evolve(run, best_attempt=_best_attempt(run, judged.get(run.id, []))) if run.id in lacking else run
        for run in found
    ]


def _best_attempt(run: Run, judged: list[Artifact]) -> int | None:
    attempts = (a.attempt for a in judged if machine.read_evaluation(a).score == run.final_score)
    return next(attempts, None)


def _require(connection: Connection, run_id: str) -> None:
    if connection.execute(_IS_THERE, {"run_id": run_id}).first() is None:
        raise RunNotFound(run_id)
