"""The invariants that SQL cannot state: the stages and the end of each run follow from its policy.

:mod:`loopkit.core.audit` decides them with the functions that the machine uses. Runs are read a page at a time, and
the texts of artifacts only where a policy compares them, so memory stays bounded.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from sqlalchemy import BindParameter, Connection, bindparam, case, false, null, select

from loopkit.core.attempts import PastAttempt, attempts_of
from loopkit.core.audit.policy_audit import audit
from loopkit.core.audit.recorded_run import RecordedRun
from loopkit.core.journal import ArtifactType, EventType
from loopkit.core.ledger.budget import NO_BUDGET
from loopkit.core.outcome import Evaluation
from loopkit.core.policy import Policy, policy_of
from loopkit.core.run import EndReason, Run, Stage
from loopkit.storage import Violation
from loopkit.stores.sql.operations import run_queries
from loopkit.stores.sql.operations.checks.rules import JsonField
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.expressions import literal
from loopkit.stores.sql.schema.tables import artifacts, events, runs

__all__ = ["find_violations"]

_PAGE: Final = 500
"""Runs that are read at once."""

_UNREAD: Final = {
    **{name: null() for name in ("claimed_at", "heartbeat_at", "cancel_requested_at", "started_at", "completed_at")},
    "inputs": literal("{}"),
    "created_at": literal("2000-01-01T00:00:00Z"),
    "stalled": false(),
    "tags": null(),
    "title": null(),
}
"""Columns of a run that no decision asks for, with what stands in for their values."""
_RUNS: Final = (
    select(*(_UNREAD[name].label(name) if name in _UNREAD else runs.c[name] for name in rows.RUN_NAMES))
    .where(runs.c.event_seq > 0, runs.c.id > bindparam("after"))
    .order_by(runs.c.id)
    .limit(bindparam("page"))
)
_IN_PAGE: Final[BindParameter[Any]] = bindparam("run_ids", expanding=True)
_is_evaluation: Final = artifacts.c.artifact_type == literal(ArtifactType.EVALUATION)
_ARTIFACTS: Final = (
    select(
        *(artifacts.c.run_id, artifacts.c.attempt, _is_evaluation, artifacts.c.score),
        case((_is_evaluation, artifacts.c.score.isnot(None)), else_=artifacts.c.is_json.isnot(None)),
    )
    .where(artifacts.c.run_id.in_(_IN_PAGE))
    .order_by(artifacts.c.run_id, artifacts.c.attempt)
)
_STAGES: Final = (
    select(
        *(events.c.run_id, events.c.stage, events.c.attempt),
        case((events.c.stage.is_(None), JsonField(events.c.metadata, literal("claimedBy")))),
    )
    .where(
        events.c.run_id.in_(_IN_PAGE),
        events.c.seq.isnot(None),
        events.c.event_type == literal(EventType.STAGE_CHANGE),
    )
    .order_by(events.c.run_id, events.c.id)
)


def find_violations(connection: Connection) -> Iterator[Violation]:
    """Yield what does not follow from the policies of the runs that loopkit worked on."""
    after = ""
    while page := [rows.run(row) for row in connection.execute(_RUNS, {"after": after, "page": _PAGE})]:
        for recorded in _recorded(connection, [run for run in page if run.unreadable is None]):
            for fault in audit(recorded):
                yield Violation(rule=fault.rule, run_id=recorded.run.id, detail=fault.detail)
        after = page[-1].id


def _recorded(connection: Connection, page: Sequence[Run]) -> Iterator[RecordedRun]:
    """Yield what is stored of the runs of a page; one with nothing but its row has nothing to follow."""
    run_ids = {"run_ids": [run.id for run in page]}
    stored = _by_run(connection.execute(_ARTIFACTS, run_ids).all())
    begun = _by_run(connection.execute(_STAGES, run_ids).all())
    for run in page:
        of_run = stored.get(run.id, ())
        if not of_run and not begun.get(run.id) and run.end_reason is None:
            continue
        policy = policy_of(run.policy)
        yield RecordedRun(
            run=run,
            attempts=_attempts(connection, run, policy, of_run),
            own_evaluations=frozenset(attempt for _, attempt, judges, _, own in of_run if judges and own),
            own_outputs=frozenset(attempt for _, attempt, judges, _, own in of_run if not judges and own),
            calls=() if policy.budget == NO_BUDGET else run_queries.list_calls(connection, run.id),
            stages=_stages_of_last_holder(begun.get(run.id, ())),
        )


def _by_run(found: Sequence[Any]) -> Mapping[str, Sequence[Any]]:
    return {run_id: list(of_run) for run_id, of_run in groupby(found, key=lambda row: row[0])}


def _attempts(connection: Connection, run: Run, policy: Policy, stored: Sequence[Any]) -> Sequence[PastAttempt]:
    """Return the attempts of a run, with their texts only where its policy or another program makes them matter."""
    is_foreign = any(judges and score is None for _, _, judges, score, _ in stored)
    has_stop = policy.stop.repeat or policy.stop.patience is not None
    if is_foreign or has_stop or run.end_reason == EndReason.REPEATED_OUTPUT:
        return attempts_of(run_queries.list_artifacts(connection, run.id))
    scores = {attempt: score for _, attempt, judges, score, _ in stored if judges}
    numbers = sorted({attempt for _, attempt, *_ in stored})
    return [
        PastAttempt(number, evaluation=Evaluation(scores[number]) if number in scores else None) for number in numbers
    ]


def _stages_of_last_holder(begun: Sequence[Any]) -> Sequence[tuple[Stage, int]]:
    """Return the stages and attempts that were begun since the last claim."""
    stages: list[tuple[Stage, int]] = []
    for _, stage, attempt, claimed_by in begun:
        if claimed_by is not None:
            stages.clear()
        elif stage in _STAGE_NAMES:
            stages.append((Stage(stage), attempt))
    return stages


_STAGE_NAMES: Final = frozenset(stage.value for stage in Stage)
