"""The invariants of the tables, each as a condition that is true for a row that breaks it.

A row of another program may lack every column that loopkit adds, so a rule about such a column applies only to rows
that have it: an event written by loopkit has a ``seq``, an evaluation a ``score``, a run an ``event_seq``. When another
program has claimed a run, what it wrote to that run is no violation.

Rules about the same rows form one :class:`RuleGroup`, whose statement reads these rows once.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import (
    ColumnElement,
    Double,
    FromClause,
    Table,
    and_,
    case,
    func,
    literal_column,
    not_,
    or_,
    select,
)

from loopkit.core.journal import ArtifactType, EventType
from loopkit.core.run import ENDED, EndReason, RunStatus, Stage
from loopkit.stores.sql.operations.checks.label_rules import LABEL_RULES, TITLE_RULE
from loopkit.stores.sql.operations.checks.ledger_rules import CALL_RULES, VERDICT_RULES
from loopkit.stores.sql.operations.checks.rules import JsonField, RuleGroup, differ, rule
from loopkit.stores.sql.schema.expressions import literal, literals
from loopkit.stores.sql.schema.policy_values import MaxLosses
from loopkit.stores.sql.schema.tables import artifacts, events, keys, queued, running, runs, tags, usage, verdicts
from loopkit.stores.sql.schema.timestamps import Instant, SecondsBetween

__all__ = ["FAILURES", "RULE_GROUPS"]

_DAY: Final[ColumnElement[float]] = literal_column("86400.0", Double())

FAILURES: Final = frozenset(reason for reason in EndReason if reason.status is RunStatus.FAILED)
"""Reasons for which a run may fail."""


# Terms of the rules.

_ended: Final = runs.c.status.in_(literals(ENDED))
_journaled: Final = runs.c.event_seq > 0
_max_losses: Final = MaxLosses(runs.c.policy)
_by_loopkit: Final = events.c.seq.isnot(None)
_is_status_change: Final = and_(events.c.event_type == literal(EventType.STAGE_CHANGE), events.c.stage.is_(None))
_event_status: Final = JsonField(events.c.metadata, literal("status"))
_event_holder: Final = JsonField(events.c.metadata, literal("claimedBy"))
_is_end: Final = and_(_is_status_change, _event_status.in_(literals(ENDED)))
_is_evaluation: Final = artifacts.c.artifact_type == literal(ArtifactType.EVALUATION)


def _claimed_elsewhere() -> ColumnElement[bool]:
    """Build the condition that another program claimed the run: no claim in the journal names the run's holder."""
    claims = select(events.c.id).where(
        events.c.run_id == runs.c.id, _by_loopkit, _is_status_change, _event_holder == runs.c.claimed_by
    )
    return and_(runs.c.claimed_by.isnot(None), not_(claims.correlate(runs).exists()))


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


def _journals() -> FromClause:
    """Select per-run counts over the journal; loopkit's own events only, except for unknown types."""
    return (
        select(
            events.c.run_id,
            func.max(events.c.seq).label("last"),
            func.max(case((_by_loopkit, events.c.id))).label("last_id"),
            _count(and_(_by_loopkit, _is_status_change, _event_holder.isnot(None))).label("claims"),
            _count(and_(_by_loopkit, _is_end)).label("ends"),
            _count(and_(_by_loopkit, events.c.event_type == literal(EventType.SCORE_UPDATE))).label("scores"),
            _count(and_(_by_loopkit, events.c.event_type == literal(EventType.ERROR))).label("errors"),
            _count(events.c.event_type.notin_(literals(EventType))).label("unknown"),
        )
        .group_by(events.c.run_id)
        .subquery("journals")
    )


def _misnumbered() -> FromClause:
    """Select the runs whose ``seq`` does not count their events in the order of ids, with the first wrong position."""
    position = func.row_number().over(partition_by=events.c.run_id, order_by=events.c.id)
    numbered = select(events.c.run_id, events.c.seq, position.label("position")).where(_by_loopkit).subquery("numbered")
    wrong = select(numbered.c.run_id, func.min(numbered.c.position).label("position"))
    wrong = wrong.where(numbered.c.seq != numbered.c.position)
    return wrong.group_by(numbered.c.run_id).subquery("misnumbered")


def _artifact_counts() -> FromClause:
    """Select per-run counts over the artifacts.

    The rank of an output is twice its attempt, that of an evaluation one more.
    """
    rank = artifacts.c.attempt * 2 + case((_is_evaluation, 1), else_=0)
    return (
        select(
            artifacts.c.run_id,
            func.count().label("number"),
            func.min(rank).label("first"),
            func.max(rank).label("last"),
            func.max(artifacts.c.attempt).label("attempts"),
            _count(_is_evaluation).label("evaluations"),
            func.count(artifacts.c.score).label("scores"),
            func.min(artifacts.c.score).label("worst"),
            func.max(artifacts.c.score).label("best"),
            _count(artifacts.c.artifact_type.notin_(literals(ArtifactType))).label("unknown"),
        )
        .group_by(artifacts.c.run_id)
        .subquery("artifact_counts")
    )


# Rules about the row of a run.

_lease_incomplete: Final = or_(
    runs.c.claimed_by.is_(None),
    runs.c.claimed_at.is_(None),
    runs.c.heartbeat_at.is_(None),
    runs.c.started_at.is_(None),
    runs.c.current_stage.is_(None),
    runs.c.fencing_token < 1,
)
_TIMES: Final = (
    *(runs.c.created_at, runs.c.claimed_at, runs.c.heartbeat_at, runs.c.started_at),
    *(runs.c.cancel_requested_at, runs.c.completed_at),
)
_OF_A_ROW: Final = (
    rule("status-known", runs.c.status.notin_(literals(RunStatus)), "its status is ", runs.c.status),
    rule("stage-known", runs.c.current_stage.notin_(literals(Stage)), "its stage is ", runs.c.current_stage),
    rule(
        "stage-only-while-running",
        and_(runs.c.current_stage.isnot(None), not_(running)),
        *("it is ", runs.c.status, " and has the stage ", runs.c.current_stage),
    ),
    rule(
        "lease-only-while-running",
        and_(runs.c.lease_id.isnot(None), not_(running)),
        *("it is ", runs.c.status, " and has a lease"),
    ),
    rule(
        "lease-complete",
        and_(runs.c.lease_id.isnot(None), running, _lease_incomplete),
        "it has a lease and lacks a holder, a time, a stage or a fencing token",
    ),
    rule(
        "attempt-in-range",
        or_(runs.c.current_attempt < 1, runs.c.current_attempt > runs.c.max_attempts),
        *("it is in attempt ", runs.c.current_attempt, " of ", runs.c.max_attempts),
    ),
    rule("score-in-range", not_(runs.c.final_score.between(0, 1)), "its score is ", runs.c.final_score),
    rule(
        "passed-by-score",
        and_(
            runs.c.status == literal(RunStatus.PASSED),
            or_(
                runs.c.final_score < runs.c.pass_threshold,
                and_(runs.c.final_score.is_(None), _journaled, not_(_claimed_elsewhere())),
            ),
        ),
        *("it passed with the score ", runs.c.final_score, ", its threshold is ", runs.c.pass_threshold),
    ),
    rule(
        "cancelled-on-request",
        and_(
            runs.c.status == literal(RunStatus.CANCELLED),
            runs.c.cancel_requested_at.is_(None),
            _journaled,
            not_(_claimed_elsewhere()),
        ),
        "it is cancelled without a cancel request",
    ),
    rule(
        "completed-only-when-ended",
        and_(not_(_ended), runs.c.completed_at.isnot(None)),
        *("it is ", runs.c.status, " and has completed_at ", runs.c.completed_at),
    ),
    rule(
        "ended-has-completed-at",
        and_(_ended, runs.c.completed_at.is_(None), _journaled, not_(_claimed_elsewhere())),
        *("it is ", runs.c.status, " and has no completed_at"),
    ),
    rule(
        "lost-leases-bounded",
        or_(
            runs.c.lost_leases < 0,
            and_(_max_losses > 0, runs.c.lost_leases > _max_losses),
            and_(_max_losses > 0, runs.c.lost_leases == _max_losses, runs.c.status != literal(RunStatus.FAILED)),
        ),
        *("it is ", runs.c.status, " after the loss of ", runs.c.lost_leases, " runners"),
    ),
    *(
        rule(f"time-readable:{time.key}", and_(time.isnot(None), Instant(time).is_(None)), f"{time.key} is ", time)
        for time in _TIMES
    ),
    TITLE_RULE,
)

# Rules about a run together with its journal and its artifacts.

_journal: Final = _journals()
_counts: Final = _artifact_counts()
_last: Final = events.alias("last_event")
_last_status: Final = case((_last.c.stage.is_(None), JsonField(_last.c.metadata, literal("status"))))
_last_reason: Final = JsonField(_last.c.metadata, literal("reason"))
_attempt_of_best_score: Final = (
    select(func.min(artifacts.c.attempt))
    .where(artifacts.c.run_id == runs.c.id, _is_evaluation, artifacts.c.score == runs.c.final_score)
    .correlate(runs)
    .scalar_subquery()
)
_all_scored: Final = _counts.c.evaluations == _counts.c.scores
_OF_ITS_PARTS: Final = (
    rule(
        "seq-gapless",
        func.coalesce(_journal.c.last, 0) != func.coalesce(runs.c.event_seq, 0),
        *("its journal is numbered up to ", _journal.c.last, ", its event_seq is ", runs.c.event_seq),
    ),
    rule(
        "fencing-token-matches-claims",
        func.coalesce(_journal.c.claims, 0) != func.coalesce(runs.c.fencing_token, 0),
        *(
            "it was claimed ",
            func.coalesce(_journal.c.claims, 0),
            " times, its fencing_token is ",
            runs.c.fencing_token,
        ),
    ),
    rule("ended-once", _journal.c.ends > 1, "its journal has ", _journal.c.ends, " ends"),
    rule(
        "end-is-last",
        and_(_journal.c.ends > 0, func.coalesce(_last_status, literal("")).notin_(literals(ENDED))),
        "its journal continues after its end",
    ),
    rule(
        "status-matches-end",
        and_(_last_status.in_(literals(ENDED)), _last_status != runs.c.status),
        *("it ended as ", _last_status, " and is ", runs.c.status),
    ),
    rule(
        "end-in-journal",
        and_(_ended, _journaled, func.coalesce(_journal.c.ends, 0) == 0, not_(_claimed_elsewhere())),
        *("it is ", runs.c.status, " and its journal has no end"),
    ),
    rule(
        "attempt-matches-end",
        and_(_last_status.in_(literals(ENDED)), _last.c.attempt != runs.c.current_attempt),
        *("it ended in attempt ", _last.c.attempt, " and is in attempt ", runs.c.current_attempt),
    ),
    # Both times are read while the end is written; a process that is stopped in between separates them by hours.
    rule(
        "completed-at-matches-end",
        and_(
            _last_status.in_(literals(ENDED)),
            not_(SecondsBetween(_last.c.created_at, runs.c.completed_at).between(-_DAY, _DAY)),
        ),
        *("its journal ends at ", _last.c.created_at, ", its completed_at is ", runs.c.completed_at),
    ),
    rule(
        "failure-reason-known",
        and_(
            _last_status == literal(RunStatus.FAILED),
            func.coalesce(_last_reason, literal("")).notin_(literals(FAILURES)),
        ),
        *("it failed with the unknown reason ", _last_reason),
    ),
    # An older loopkit ends a run without its reason, and leaves the policy NULL as well.
    rule(
        "reason-matches-end",
        and_(
            _last_status.in_(literals(ENDED)),
            or_(runs.c.policy.isnot(None), runs.c.end_reason.isnot(None)),
            func.coalesce(runs.c.end_reason, literal("")) != func.coalesce(_last_reason, literal("")),
        ),
        *("its journal ends with the reason ", _last_reason, ", its end_reason is ", runs.c.end_reason),
    ),
    rule(
        "reason-only-when-ended",
        and_(runs.c.end_reason.isnot(None), or_(running, queued)),
        *("it is ", runs.c.status, " and has the end_reason ", runs.c.end_reason),
    ),
    rule(
        "stage-error-in-journal",
        and_(_last_reason == literal(EndReason.STAGE_ERROR), _journal.c.errors == 0),
        "it ended by the error of a stage, and its journal has none",
    ),
    rule(
        "scores-in-journal",
        func.coalesce(_journal.c.scores, 0) != func.coalesce(_counts.c.scores, 0),
        *("it has ", _counts.c.scores, " scored evaluations, its journal ", _journal.c.scores, " scores"),
    ),
    rule("event-type-known", _journal.c.unknown > 0, _journal.c.unknown, " events have an unknown type"),
    rule("artifact-type-known", _counts.c.unknown > 0, _counts.c.unknown, " artifacts have an unknown type"),
    rule(
        "evaluations-in-range",
        or_(_counts.c.worst < 0, _counts.c.best > 1),
        *("the scores of its evaluations range from ", _counts.c.worst, " to ", _counts.c.best),
    ),
    rule(
        "artifacts-in-order",
        or_(_counts.c.first != 2, _counts.c.last - _counts.c.first + 1 != _counts.c.number),
        "an output or an evaluation before its newest artifact is missing",
    ),
    rule(
        "attempts-bounded",
        _counts.c.attempts > runs.c.max_attempts,
        *("it has artifacts of attempt ", _counts.c.attempts, " of ", runs.c.max_attempts),
    ),
    rule(
        "final-score-is-best",
        and_(_counts.c.evaluations > 0, _all_scored, differ(runs.c.final_score, _counts.c.best)),
        *("its score is ", runs.c.final_score, ", its best evaluation has ", _counts.c.best),
    ),
    rule(
        "best-attempt-has-score",
        and_(
            or_(runs.c.best_attempt.isnot(None), and_(_counts.c.evaluations > 0, _all_scored)),
            func.coalesce(_counts.c.evaluations == _counts.c.scores, literal_column("1 = 1")),
            differ(runs.c.best_attempt, _attempt_of_best_score),
        ),
        *("its best attempt is ", runs.c.best_attempt, ", its score was reached in ", _attempt_of_best_score),
    ),
)
_with_journal_and_artifacts: Final[FromClause] = (
    runs.outerjoin(_journal, _journal.c.run_id == runs.c.id)
    .outerjoin(_last, _last.c.id == _journal.c.last_id)
    .outerjoin(_counts, _counts.c.run_id == runs.c.id)
)

# Rules about a run that a runner of loopkit holds.

_stage_event: Final = events.alias("stage_event")
_newest_stage_event: Final = (
    select(func.max(events.c.id))
    .where(
        events.c.run_id == runs.c.id,
        _by_loopkit,
        events.c.event_type == literal(EventType.STAGE_CHANGE),
        events.c.stage.isnot(None),
    )
    .correlate(runs)
    .scalar_subquery()
)
_held: Final = and_(running, runs.c.lease_id.isnot(None))


def _stored(artifact_type: ArtifactType, attempt: ColumnElement[int]) -> ColumnElement[bool]:
    stored = select(artifacts.c.id).where(
        artifacts.c.run_id == runs.c.id,
        artifacts.c.attempt == attempt,
        artifacts.c.artifact_type == literal(artifact_type),
    )
    return stored.correlate(runs, _stage_event).exists()


_OF_A_HOLDER: Final = (
    rule(
        "stage-in-journal",
        and_(
            _held, or_(_stage_event.c.stage != runs.c.current_stage, _stage_event.c.attempt != runs.c.current_attempt)
        ),
        *("it is in the stage ", runs.c.current_stage, " of attempt ", runs.c.current_attempt),
        *(", its journal says ", _stage_event.c.stage, " of attempt ", _stage_event.c.attempt),
    ),
    rule(
        "stage-has-its-input",
        and_(
            _held,
            or_(
                and_(
                    _stage_event.c.stage == literal(Stage.EVALUATING),
                    not_(_stored(ArtifactType.OUTPUT, _stage_event.c.attempt)),
                ),
                and_(
                    _stage_event.c.stage == literal(Stage.REVISING),
                    not_(_stored(ArtifactType.EVALUATION, _stage_event.c.attempt - literal_column("1"))),
                ),
            ),
        ),
        *(
            "the stage ",
            _stage_event.c.stage,
            " of attempt ",
            _stage_event.c.attempt,
            " began without the artifact it needs",
        ),
    ),
)
_WITH_STAGE_EVENT: Final = runs.join(_stage_event, _stage_event.c.id == _newest_stage_event)

# Rules about events of one run.

_positions: Final = _misnumbered()
_OF_POSITIONS: Final = (
    rule("seq-gapless", _positions.c.position > 0, "event ", _positions.c.position, " has a wrong number"),
)

_asked: Final = events.alias("asked")
_began: Final = events.alias("began")
# A stage may log the same message, so the event has to be as old as the request in the row.
_AFTER_CANCEL: Final = runs.join(_asked, _asked.c.run_id == runs.c.id).join(
    _began, and_(_began.c.run_id == runs.c.id, _began.c.seq > _asked.c.seq)
)
_OF_A_CANCEL: Final = (
    rule(
        "no-stage-after-cancel",
        and_(
            runs.c.cancel_requested_at.isnot(None),
            _asked.c.event_type == literal(EventType.LOG),
            _asked.c.message == literal("Cancel requested"),
            SecondsBetween(runs.c.cancel_requested_at, _asked.c.created_at).between(-1, 1),
            _began.c.event_type == literal(EventType.STAGE_CHANGE),
            _began.c.stage.isnot(None),
        ),
        *("the stage ", _began.c.stage, " of attempt ", _began.c.attempt, " began after the cancel request"),
    ),
)

# Rules about rows whose run is missing, and about leases of several runs.


def _orphans(name: str, table: Table) -> RuleGroup:
    referenced = select(table.c.run_id).distinct().subquery(f"of_{name}")
    exists = select(runs.c.id).where(runs.c.id == referenced.c.run_id).correlate(referenced).exists()
    has_no_run = rule(f"orphan-{name}", not_(exists), f"it has {name}s and no row")
    return RuleGroup(referenced, referenced.c.run_id, (has_no_run,))


def _shared_leases() -> RuleGroup:
    shared = (
        select(func.min(runs.c.id).label("run_id"), func.count().label("number"))
        .where(running, runs.c.lease_id.isnot(None))
        .group_by(runs.c.lease_id)
        .subquery("leases")
    )
    is_shared = rule("lease-unique", shared.c.number > 1, shared.c.number, " running runs have the same lease")
    return RuleGroup(shared, shared.c.run_id, (is_shared,))


RULE_GROUPS: Final[Sequence[RuleGroup]] = (
    RuleGroup(runs, runs.c.id, _OF_A_ROW),
    RuleGroup(_with_journal_and_artifacts, runs.c.id, _OF_ITS_PARTS),
    RuleGroup(_WITH_STAGE_EVENT, runs.c.id, _OF_A_HOLDER),
    RuleGroup(_positions, _positions.c.run_id, _OF_POSITIONS),
    RuleGroup(_AFTER_CANCEL, runs.c.id, _OF_A_CANCEL),
    _shared_leases(),
    _orphans("event", events),
    _orphans("artifact", artifacts),
    _orphans("key", keys),
    _orphans("call", usage),
    _orphans("verdict", verdicts),
    CALL_RULES,
    VERDICT_RULES,
    _orphans("tag", tags),
    LABEL_RULES,
)
