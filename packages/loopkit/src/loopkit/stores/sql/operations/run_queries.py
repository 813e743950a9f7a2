"""Reads of runs, events, artifacts, model calls and verdicts."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import attrs
from sqlalchemy import BigInteger, Connection, Text, and_, bindparam, case, select
from sqlalchemy.sql.functions import FunctionElement

from loopkit.core import strict_json
from loopkit.core.attempts import evaluation_of, read_evaluation
from loopkit.core.journal import Artifact, ArtifactInfo, ArtifactType, RunEvent
from loopkit.core.ledger.calls import StoredCall
from loopkit.core.panel.verdict import Verdict
from loopkit.core.run import ENDED, Run
from loopkit.errors import RunNotFound
from loopkit.storage import JournalNews, KeyedRun, RunPage, RunQuery
from loopkit.stores import text_cuts
from loopkit.stores.cursors import clamp_events
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.operations import run_list
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.expressions import AnyColumn, AnySelect, in_sql, literal
from loopkit.stores.sql.schema.tables import artifacts, cancel_requested, events, keys, runs, usage, verdicts
from loopkit.stores.sql.schema.timestamps import ClockParameters

__all__ = [
    "describe_artifacts",
    "find_key",
    "get_run",
    "list_artifacts",
    "list_calls",
    "list_evaluations",
    "list_events",
    "list_runs",
    "list_verdicts",
    "read_journals",
    "read_scores",
    "requested_cancels",
    "with_best_attempt",
    "with_best_attempts",
]

_RUN: Final = select(*rows.run_columns()).where(runs.c.id == bindparam("run_id"))
_CUT_RUN: Final = select(*rows.run_columns(cut=True)).where(runs.c.id == bindparam("run_id"))
_KEY: Final = (
    select(*rows.run_columns(), keys.c.fingerprint)
    .join(keys, keys.c.run_id == runs.c.id)
    .where(keys.c.key == bindparam("key"))
)
_EXISTS: Final = select(runs.c.id).where(runs.c.id == bindparam("run_id"))
_OF_RUN: Final = (events.c.run_id == bindparam("run_id"), events.c.id > bindparam("after"))


def _first_events(columns: Sequence[AnyColumn]) -> AnySelect:
    return select(*columns).where(*_OF_RUN).order_by(events.c.id).limit(bindparam("most"))


def _last_events(columns: Sequence[AnyColumn]) -> AnySelect:
    earlier = select(*columns).where(*_OF_RUN, events.c.id < bindparam("before"))
    return earlier.order_by(events.c.id.desc()).limit(bindparam("most"))


_FIRST_EVENTS: Final = _first_events(rows.EVENT_COLUMNS)
_LAST_EVENTS: Final = _last_events(rows.EVENT_COLUMNS)
_FIRST_CUT_EVENTS: Final = _first_events(rows.CUT_EVENT_COLUMNS)
_LAST_CUT_EVENTS: Final = _last_events(rows.CUT_EVENT_COLUMNS)
_CALLS: Final = select(*rows.CALL_COLUMNS).where(usage.c.run_id == bindparam("run_id")).order_by(usage.c.id)
_VERDICTS: Final = (
    select(*rows.VERDICT_COLUMNS)
    .where(verdicts.c.run_id == bindparam("run_id"), verdicts.c.attempt == bindparam("attempt"))
    .order_by(verdicts.c.kind, verdicts.c.name, verdicts.c.sample, verdicts.c.made_by)
)


@in_sql(sqlite="json_each({0})", postgresql="jsonb_array_elements(({0})::jsonb)")
class _Elements(FunctionElement[object]):
    """Elements of a JSON array, a row each."""

    inherit_cache = True
    name = "elements"


@in_sql(sqlite="json_extract({0}, '$[0]')", postgresql="(({0}) ->> 0)")
class _Text(FunctionElement[str]):
    """First member of a JSON array, a text."""

    type = Text()
    inherit_cache = True
    name = "first_member"


@in_sql(sqlite="json_extract({0}, '$[1]')", postgresql="(({0}) ->> 1)::bigint")
class _Number(FunctionElement[int]):
    """Second member of a JSON array, a whole number."""

    type = BigInteger()
    inherit_cache = True
    name = "second_member"


_WANTED: Final = _Elements(bindparam("wanted", type_=Text())).table_valued("value", name="wanted")
_OF_WANTED: Final = and_(events.c.run_id == _Text(_WANTED.c.value), events.c.id > _Number(_WANTED.c.value))


def _news(columns: Sequence[AnyColumn]) -> AnySelect:
    """Return events of many runs, each after an id of its own: ``wanted`` is a JSON array of pairs of run and id."""
    wanted = select(*columns).select_from(_WANTED.join(events, _OF_WANTED))
    return wanted.order_by(events.c.id).limit(bindparam("most"))


_NEWS: Final = _news(rows.EVENT_COLUMNS)
_CUT_NEWS: Final = _news(rows.CUT_EVENT_COLUMNS)
_CANCELS: Final = select(runs.c.id).where(cancel_requested).limit(bindparam("most"))
_STATUSES: Final = select(runs.c.id, runs.c.status).where(runs.c.id.in_(bindparam("run_ids", expanding=True)))
_IN_ORDER: Final = (artifacts.c.attempt, case((artifacts.c.artifact_type == ArtifactType.OUTPUT.value, 0), else_=1))
_ARTIFACTS: Final = select(*rows.ARTIFACT_COLUMNS).where(artifacts.c.run_id == bindparam("run_id")).order_by(*_IN_ORDER)
_SOME_ARTIFACTS: Final = _ARTIFACTS.where(artifacts.c.id.in_(bindparam("ids", expanding=True)))
_PARTS: Final = select(*rows.CUT_ARTIFACT_COLUMNS).where(artifacts.c.run_id == bindparam("run_id")).order_by(*_IN_ORDER)
_SOME_PARTS: Final = _PARTS.where(artifacts.c.id.in_(bindparam("ids", expanding=True)))
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
_MAX_EVALUATION_CHARS: Final = 16_384
"""Characters of an evaluation of another program that are read for its score, in reads that cut texts."""
_SCORES: Final = (
    select(
        artifacts.c.run_id,
        artifacts.c.attempt,
        artifacts.c.score,
        case((artifacts.c.score.is_(None), rows.beginning(artifacts.c.content))),
    )
    .where(
        artifacts.c.run_id.in_(bindparam("run_ids", expanding=True)),
        artifacts.c.artifact_type == literal(ArtifactType.EVALUATION),
    )
    .order_by(artifacts.c.run_id, artifacts.c.attempt)
)


def get_run(connection: Connection, run_id: str, clock: ClockParameters, max_chars: int | None = None) -> Run:
    """Return a run as it is now.

    Raises:
        RunNotFound: no run has this id.
    """
    if max_chars is None:
        row = connection.execute(_RUN, {"run_id": run_id, **clock}).first()
    else:
        row = connection.execute(_CUT_RUN, {"run_id": run_id, **clock, **rows.cut_parameters(max_chars)}).first()
    if row is None:
        raise RunNotFound(run_id)
    if max_chars is None:
        return with_best_attempt(connection, [rows.run(row)])[0]
    return with_best_attempt(connection, [rows.cut_run(row, max_chars)], cut=True)[0]


def find_key(connection: Connection, key: str, clock: ClockParameters) -> KeyedRun | None:
    """Return the run that was submitted with an idempotency key; None when there is none."""
    row = connection.execute(_KEY, {"key": key, **clock}).first()
    if row is None:
        return None
    *run_row, digest = row
    return KeyedRun(run=with_best_attempt(connection, [rows.run(run_row)])[0], fingerprint=digest)


def list_runs(connection: Connection, database: Database, query: RunQuery, clock: ClockParameters) -> RunPage:
    """Return a page of runs.

    Raises:
        UnusableOption: the cursor is invalid or belongs to another order.
    """
    page, cursor = run_list.list_runs(connection, database, query, clock)
    page = with_best_attempts(connection, page, cut=query.max_chars is not None)
    return RunPage(runs=tuple(page), next_cursor=cursor)


def list_events(
    connection: Connection,
    run_id: str,
    *,
    after: int = 0,
    before: int | None = None,
    limit: int = 500,
    max_chars: int | None = None,
) -> list[RunEvent]:
    """Return events of a run, oldest first: the first ones after ``after``, or with ``before`` the last ones before it.

    Raises:
        RunNotFound: no run has this id.
    """
    _require(connection, run_id)
    values = {"run_id": run_id, "after": after, "most": clamp_events(limit)}
    if before is not None:
        values["before"] = before
    if max_chars is None:
        whole = connection.execute(_FIRST_EVENTS if before is None else _LAST_EVENTS, values)
        found = [rows.event(row) for row in whole]
    else:
        values |= rows.cut_parameters(max_chars)
        beginnings = connection.execute(_FIRST_CUT_EVENTS if before is None else _LAST_CUT_EVENTS, values)
        found = [rows.cut_event(row, max_chars) for row in beginnings]
    return found if before is None else found[::-1]


def requested_cancels(connection: Connection, limit: int) -> frozenset[str] | None:
    """Return the ids of all runs whose cancel is requested and that have not ended; None if more than ``limit``."""
    ids = connection.execute(_CANCELS, {"most": limit + 1}).scalars().all()
    return frozenset(ids) if len(ids) <= limit else None


def read_journals(
    connection: Connection, after: Mapping[str, int], limit: int, max_chars: int | None = None
) -> JournalNews:
    """Return the events of runs after an id for each; the runs are read first, so nothing follows of an ended one."""
    statuses = {row.id: row.status for row in connection.execute(_STATUSES, {"run_ids": list(after)})}
    wanted = strict_json.dumps([[run_id, last] for run_id, last in after.items()])
    values = {"wanted": wanted, "most": limit + 1}
    if max_chars is None:
        stored = connection.execute(_NEWS, values).all()
        events = [rows.event(row) for row in stored[:limit]]
    else:
        stored = connection.execute(_CUT_NEWS, values | rows.cut_parameters(max_chars)).all()
        events = [rows.cut_event(row, max_chars) for row in stored[:limit]]
    return JournalNews(
        events=events,
        ended={run_id for run_id, status in statuses.items() if status in ENDED},
        missing=after.keys() - statuses.keys(),
        is_complete=len(stored) <= limit,
    )


def list_artifacts(
    connection: Connection,
    run_id: str,
    only: Collection[int] | None = None,
    *,
    start: int = 0,
    max_chars: int | None = None,
) -> list[Artifact]:
    """Return the artifacts of a run, or those with an id in ``only``, by attempt, an output before its evaluation.

    With ``max_chars`` the contents are the parts of that length from ``start`` on.

    Raises:
        RunNotFound: no run has this id.
    """
    _require(connection, run_id)
    values: dict[str, object] = {"run_id": run_id}
    if only is not None:
        values["ids"] = list(only)
    if max_chars is None:
        return rows.artifacts_of(connection.execute(_ARTIFACTS if only is None else _SOME_ARTIFACTS, values))
    values |= {"first": start + 1, "most_chars": max_chars}
    return rows.cut_artifacts_of(connection.execute(_PARTS if only is None else _SOME_PARTS, values))


def describe_artifacts(connection: Connection, run_id: str) -> list[ArtifactInfo]:
    """Return the artifacts of a run without their contents, in the order of :func:`list_artifacts`.

    Raises:
        RunNotFound: no run has this id.
    """
    _require(connection, run_id)
    return rows.artifact_infos_of(connection.execute(_ARTIFACT_INFOS, {"run_id": run_id}))


def list_calls(connection: Connection, run_id: str) -> list[StoredCall]:
    """Return the model calls of a run, oldest first.

    Raises:
        RunNotFound: no run has this id.
    """
    _require(connection, run_id)
    return [rows.call(row) for row in connection.execute(_CALLS, {"run_id": run_id})]


def list_verdicts(connection: Connection, run_id: str, attempt: int) -> list[Verdict]:
    """Return the verdicts on the output of an attempt, by kind, name, sample and ``made_by``.

    Raises:
        RunNotFound: no run has this id.
    """
    _require(connection, run_id)
    return [rows.verdict(row) for row in connection.execute(_VERDICTS, {"run_id": run_id, "attempt": attempt})]


def list_evaluations(connection: Connection, run_ids: Iterable[str]) -> dict[str, list[Artifact]]:
    """Return the evaluations of runs by run id, each by attempt; a run without any has no entry."""
    evaluations: dict[str, list[Artifact]] = {}
    for evaluation in rows.artifacts_of(connection.execute(_EVALUATIONS, {"run_ids": list(run_ids)})):
        evaluations.setdefault(evaluation.run_id, []).append(evaluation)
    return evaluations


def read_scores(connection: Connection, run_ids: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
    """Return (attempt, score) of the evaluations of runs by run id, each by attempt.

    Another program writes no score column: its scores are read from the beginnings of the evaluations themselves, and
    are missing where those are long and the score stands at their end.
    """
    values = {"run_ids": list(run_ids), **rows.cut_parameters(_MAX_EVALUATION_CHARS)}
    scores: dict[str, list[tuple[int, float]]] = {}
    for run_id, attempt, stored, content in connection.execute(_SCORES, values):
        score = stored if stored is not None else _score_in(content)
        if score is not None:
            scores.setdefault(run_id, []).append((attempt, score))
    return scores


def _score_in(content: str) -> float | None:
    if len(content) <= _MAX_EVALUATION_CHARS:
        return evaluation_of(strict_json.loads_or_text(content)).score
    document = text_cuts.cut_json_text(content, _MAX_EVALUATION_CHARS)
    if not isinstance(document, dict) or "score" not in document:
        return None
    return evaluation_of(document).score


def with_best_attempt(connection: Connection, runs: list[Run], *, cut: bool = False) -> list[Run]:
    """Add the attempt that reached the best score to runs without it: other programs do not write it.

    With ``cut`` only the beginnings of long evaluations are read; the attempt stays unknown if its score is not there.
    """
    lacking = {run.id for run in runs if run.final_score is not None and run.best_attempt is None}
    if not lacking:
        return runs
    if cut:
        scores = read_scores(connection, lacking)
    else:
        scores = {
            run_id: [(artifact.attempt, read_evaluation(artifact).score) for artifact in evaluations]
            for run_id, evaluations in list_evaluations(connection, lacking).items()
        }
    return [
        attrs.evolve(run, best_attempt=_best_attempt(run, scores.get(run.id, ()))) if run.id in lacking else run
        for run in runs
    ]


def with_best_attempts(connection: Connection, listed: list[Run], *, cut: bool) -> list[Run]:
    """Add best attempts to the runs of a list, as :func:`with_best_attempt` does, but to none whose id is cut."""
    named = [run for run in listed if not text_cuts.is_cut_id(run.id)]
    completed = {run.id: run for run in with_best_attempt(connection, named, cut=cut)}
    return [completed.get(run.id, run) for run in listed]


def _best_attempt(run: Run, scores: Iterable[tuple[int, float]]) -> int | None:
    return next((attempt for attempt, score in scores if score == run.final_score), None)


def _require(connection: Connection, run_id: str) -> None:
    if connection.execute(_EXISTS, {"run_id": run_id}).first() is None:
        raise RunNotFound(run_id)
