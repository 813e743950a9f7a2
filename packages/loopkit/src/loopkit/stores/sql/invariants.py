"""The invariants of the tables, each as a condition that is true for what breaks it.

A row of another program may lack everything that is loopkit's own, so such a rule looks only at rows that carry it: an
event of ours has a ``seq``, an evaluation a ``score``, a run an ``event_seq``. And where another program claimed a run
of ours, what it made of that run is no breach.

Rules over the same rows stand in one :class:`Look`, which reads these rows once.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import attrs
from sqlalchemy import (
    ColumnElement,
    Double,
    FromClause,
    Select,
    String,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    not_,
    or_,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from loopkit.core.journal import ArtifactType, EventType
from loopkit.core.machine import MAX_LOST_LEASES
from loopkit.core.run import ENDED, RunStatus, Stage
from loopkit.stores.sql.instants import Instant, SecondsBetween
from loopkit.stores.sql.tables import artifacts, events, keys, running, runs

_DAY: Final[ColumnElement[float]] = literal_column("86400.0", Double())

FAILURES: Final = frozenset({"attempts_spent", "stage_error", "runner_lost"})
"""Why a run may fail."""


@attrs.frozen
class Rule:
    """One invariant."""

    name: str
    broken: ColumnElement[bool]
    """True for a row that breaks it."""
    detail: ColumnElement[Any]
    """What is wrong with that row, for people."""


@attrs.frozen(slots=False)
class Look:
    """Rules that are judged while reading the same rows."""

    source: FromClause
    run_id: ColumnElement[str]
    rules: tuple[Rule, ...]

    @cached_property
    def statement(self) -> Select[Any]:
        """Give the run ids of rows that break a rule, and for each rule its detail or NULL."""
        details = (case((rule.broken, rule.detail)) for rule in self.rules)
        return select(self.run_id, *details).select_from(self.source).where(or_(*(rule.broken for rule in self.rules)))


class Entry(FunctionElement[str]):
    """One text of a JSON object by its key; NULL where there is none."""

    type = Text()
    inherit_cache = True
    name = "entry"


@compiles(Entry)
def _entry(element: Entry, compiler: SQLCompiler, **options: Any) -> str:
    value, key = (compiler.process(clause, **options) for clause in element.clauses)
    return f"CASE WHEN json_valid({value}) THEN json_extract({value}, '$.' || {key}) END"


@compiles(Entry, "postgresql")
def _entry_postgresql(element: Entry, compiler: SQLCompiler, **options: Any) -> str:
    value, key = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({value} ->> {key})"


def _word(value: str) -> ColumnElement[str]:
    return literal_column(f"'{value}'", String())


def _words(values: Any) -> list[ColumnElement[str]]:
    return [_word(value) for value in sorted(values)]


def _said(*parts: str | ColumnElement[Any]) -> ColumnElement[Any]:
    """Put words and values together to one text."""
    told = _word("")
    for part in parts:
        told = told.concat(_word(part) if isinstance(part, str) else func.coalesce(cast(part, Text), _word("NULL")))
    return told


def _rule(name: str, broken: ColumnElement[bool], *detail: str | ColumnElement[Any]) -> Rule:
    return Rule(name, broken, _said(*detail))


def _differ(one: Any, other: Any) -> ColumnElement[bool]:
    return func.coalesce(one, literal_column("-1")) != func.coalesce(other, literal_column("-1"))


# --- What the rules speak of ------------------------------------------------------------------------------------------

_ended: Final = runs.c.status.in_(_words(ENDED))
_journaled: Final = runs.c.event_seq > 0
_own: Final = events.c.seq.isnot(None)
_is_state: Final = and_(events.c.event_type == _word(EventType.STAGE_CHANGE), events.c.stage.is_(None))
_told_status: Final = Entry(events.c.metadata, _word("status"))
_told_holder: Final = Entry(events.c.metadata, _word("claimedBy"))
_is_end: Final = and_(_is_state, _told_status.in_(_words(ENDED)))
_is_judgement: Final = artifacts.c.artifact_type == _word(ArtifactType.EVALUATION)


def _claimed_elsewhere() -> ColumnElement[bool]:
    """Another program claimed the run: no claim in its journal names its holder."""
    claims = select(events.c.id).where(events.c.run_id == runs.c.id, _own, _is_state, _told_holder == runs.c.claimed_by)
    return and_(runs.c.claimed_by.isnot(None), not_(claims.correlate(runs).exists()))


def _count(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.count(case((condition, 1)))


def _journals() -> FromClause:
    """What was told of each run, in figures: by loopkit, but for the types that nobody knows."""
    return (
        select(
            events.c.run_id,
            func.max(events.c.seq).label("last"),
            func.max(case((_own, events.c.id))).label("last_id"),
            _count(and_(_own, _is_state, _told_holder.isnot(None))).label("claims"),
            _count(and_(_own, _is_end)).label("ends"),
            _count(and_(_own, events.c.event_type == _word(EventType.SCORE_UPDATE))).label("scores"),
            _count(events.c.event_type.notin_(_words(EventType))).label("unknown"),
        )
        .group_by(events.c.run_id)
        .subquery("journals")
    )


def _out_of_place() -> FromClause:
    """For each run whose numbers do not follow its events' ids without a gap: the first place where they do not."""
    place = func.row_number().over(partition_by=events.c.run_id, order_by=events.c.id)
    told = select(events.c.run_id, events.c.seq, place.label("place")).where(_own).subquery("told")
    wrong = select(told.c.run_id, func.min(told.c.place).label("place")).where(told.c.seq != told.c.place)
    return wrong.group_by(told.c.run_id).subquery("out_of_place")


def _kept() -> FromClause:
    """The artifacts of each run, in figures. An artifact's rank is twice its attempt, and one more for a judgement."""
    rank = artifacts.c.attempt * 2 + case((_is_judgement, 1), else_=0)
    return (
        select(
            artifacts.c.run_id,
            func.count().label("number"),
            func.min(rank).label("first"),
            func.max(rank).label("last"),
            func.max(artifacts.c.attempt).label("attempts"),
            _count(_is_judgement).label("judgements"),
            func.count(artifacts.c.score).label("scores"),
            func.min(artifacts.c.score).label("worst"),
            func.max(artifacts.c.score).label("best"),
            _count(artifacts.c.artifact_type.notin_(_words(ArtifactType))).label("unknown"),
        )
        .group_by(artifacts.c.run_id)
        .subquery("kept")
    )


# --- A run's row ------------------------------------------------------------------------------------------------------

_lease_lacks: Final = or_(
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
    _rule("status-known", runs.c.status.notin_(_words(RunStatus)), "its status is ", runs.c.status),
    _rule("stage-known", runs.c.current_stage.notin_(_words(Stage)), "its stage is ", runs.c.current_stage),
    _rule(
        "stage-only-while-running",
        and_(runs.c.current_stage.isnot(None), not_(running)),
        *("it is ", runs.c.status, " and in the stage ", runs.c.current_stage),
    ),
    _rule(
        "lease-only-while-running",
        and_(runs.c.lease_id.isnot(None), not_(running)),
        *("it is ", runs.c.status, " and has a lease"),
    ),
    _rule(
        "lease-whole",
        and_(runs.c.lease_id.isnot(None), running, _lease_lacks),
        "it has a lease and lacks its holder, a time, a stage or a token",
    ),
    _rule(
        "attempt-in-range",
        or_(runs.c.current_attempt < 1, runs.c.current_attempt > runs.c.max_attempts),
        *("it is in attempt ", runs.c.current_attempt, " of ", runs.c.max_attempts),
    ),
    _rule("score-in-range", not_(runs.c.final_score.between(0, 1)), "its score is ", runs.c.final_score),
    _rule(
        "passed-by-score",
        and_(
            runs.c.status == _word(RunStatus.PASSED),
            or_(
                runs.c.final_score < runs.c.pass_threshold,
                and_(runs.c.final_score.is_(None), _journaled, not_(_claimed_elsewhere())),
            ),
        ),
        *("it passed with the score ", runs.c.final_score, " of ", runs.c.pass_threshold),
    ),
    _rule(
        "cancelled-on-request",
        and_(
            runs.c.status == _word(RunStatus.CANCELLED),
            runs.c.cancel_requested_at.is_(None),
            _journaled,
            not_(_claimed_elsewhere()),
        ),
        "it is cancelled and nobody asked for it",
    ),
    _rule(
        "completed-only-when-ended",
        and_(not_(_ended), runs.c.completed_at.isnot(None)),
        *("it is ", runs.c.status, " and has completed_at ", runs.c.completed_at),
    ),
    _rule(
        "ended-has-completed-at",
        and_(_ended, runs.c.completed_at.is_(None), _journaled, not_(_claimed_elsewhere())),
        *("it is ", runs.c.status, " and has no completed_at"),
    ),
    _rule(
        "lost-leases-bounded",
        or_(
            runs.c.lost_leases < 0,
            runs.c.lost_leases > MAX_LOST_LEASES,
            and_(runs.c.lost_leases == MAX_LOST_LEASES, runs.c.status != _word(RunStatus.FAILED)),
        ),
        *("it is ", runs.c.status, " after ", runs.c.lost_leases, " runners were lost"),
    ),
    *(
        _rule(f"time-readable:{time.key}", and_(time.isnot(None), Instant(time).is_(None)), f"{time.key} is ", time)
        for time in _TIMES
    ),
)

# --- A run beside its journal and its artifacts -----------------------------------------------------------------------

_journal: Final = _journals()
_works: Final = _kept()
_last: Final = events.alias("last_told")
_last_status: Final = case((_last.c.stage.is_(None), Entry(_last.c.metadata, _word("status"))))
_last_reason: Final = Entry(_last.c.metadata, _word("reason"))
_best_of: Final = (
    select(func.min(artifacts.c.attempt))
    .where(artifacts.c.run_id == runs.c.id, _is_judgement, artifacts.c.score == runs.c.final_score)
    .correlate(runs)
    .scalar_subquery()
)
_only_ours: Final = _works.c.judgements == _works.c.scores
_passed_before: Final = (
    select(artifacts.c.id)
    .where(
        artifacts.c.run_id == runs.c.id,
        artifacts.c.attempt < _works.c.attempts,
        artifacts.c.score >= runs.c.pass_threshold,
    )
    .correlate(runs, _works)
    .exists()
)

_OF_ITS_PARTS: Final = (
    _rule(
        "seq-gapless",
        func.coalesce(_journal.c.last, 0) != func.coalesce(runs.c.event_seq, 0),
        *("its journal is numbered up to ", _journal.c.last, ", its row says ", runs.c.event_seq),
    ),
    _rule(
        "fencing-told",
        func.coalesce(_journal.c.claims, 0) != func.coalesce(runs.c.fencing_token, 0),
        *("it was claimed ", func.coalesce(_journal.c.claims, 0), " times, its token is ", runs.c.fencing_token),
    ),
    _rule("ended-once", _journal.c.ends > 1, "its journal has ", _journal.c.ends, " ends"),
    _rule(
        "ended-last",
        and_(_journal.c.ends > 0, func.coalesce(_last_status, _word("")).notin_(_words(ENDED))),
        "its journal goes on after its end",
    ),
    _rule(
        "ended-stays",
        and_(_last_status.in_(_words(ENDED)), _last_status != runs.c.status),
        *("it ended ", _last_status, " and is ", runs.c.status),
    ),
    _rule(
        "ended-told",
        and_(_ended, _journaled, func.coalesce(_journal.c.ends, 0) == 0, not_(_claimed_elsewhere())),
        *("it is ", runs.c.status, " and its journal does not say so"),
    ),
    _rule(
        "attempt-told",
        and_(_last_status.in_(_words(ENDED)), _last.c.attempt != runs.c.current_attempt),
        *("it ended in attempt ", _last.c.attempt, " and is in attempt ", runs.c.current_attempt),
    ),
    # Both times are taken while the end is written. A process that is stopped just then may part them by hours.
    _rule(
        "completed-told",
        and_(
            _last_status.in_(_words(ENDED)),
            not_(SecondsBetween(_last.c.created_at, runs.c.completed_at).between(-_DAY, _DAY)),
        ),
        *("its end was told at ", _last.c.created_at, ", its completed_at is ", runs.c.completed_at),
    ),
    _rule(
        "failed-for-a-reason",
        and_(
            _last_status == _word(RunStatus.FAILED),
            func.coalesce(_last_reason, _word("")).notin_(_words(FAILURES)),
        ),
        *("it failed for the reason ", _last_reason),
    ),
    _rule(
        "scores-told",
        func.coalesce(_journal.c.scores, 0) != func.coalesce(_works.c.scores, 0),
        *("it has ", _works.c.scores, " judgements, its journal ", _journal.c.scores, " scores"),
    ),
    _rule("event-type-known", _journal.c.unknown > 0, _journal.c.unknown, " events are of no known type"),
    _rule("artifact-type-known", _works.c.unknown > 0, _works.c.unknown, " artifacts are of no known type"),
    _rule(
        "judgements-in-range",
        or_(_works.c.worst < 0, _works.c.best > 1),
        *("its judgements go from ", _works.c.worst, " to ", _works.c.best),
    ),
    _rule(
        "artifacts-in-order",
        or_(_works.c.first != 2, _works.c.last - _works.c.first + 1 != _works.c.number),
        "an output or a judgement before its newest artifact is not there",
    ),
    _rule(
        "attempts-bounded",
        _works.c.attempts > runs.c.max_attempts,
        *("it has artifacts of attempt ", _works.c.attempts, " of ", runs.c.max_attempts),
    ),
    _rule(
        "no-attempt-after-a-pass",
        and_(_works.c.attempts > 1, _works.c.best >= runs.c.pass_threshold, _passed_before),
        *("attempt ", _works.c.attempts, " is there though one before it has passed"),
    ),
    _rule(
        "best-score-kept",
        and_(_works.c.judgements > 0, _only_ours, _differ(runs.c.final_score, _works.c.best)),
        *("its score is ", runs.c.final_score, ", its best judgement ", _works.c.best),
    ),
    _rule(
        "best-attempt-kept",
        and_(
            or_(runs.c.best_attempt.isnot(None), and_(_works.c.judgements > 0, _only_ours)),
            func.coalesce(_works.c.judgements == _works.c.scores, literal_column("1 = 1")),
            _differ(runs.c.best_attempt, _best_of),
        ),
        *("its best attempt is ", runs.c.best_attempt, ", that of its score is ", _best_of),
    ),
)
_beside: Final[FromClause] = (
    runs.outerjoin(_journal, _journal.c.run_id == runs.c.id)
    .outerjoin(_last, _last.c.id == _journal.c.last_id)
    .outerjoin(_works, _works.c.run_id == runs.c.id)
)

# --- A run that loopkit holds -----------------------------------------------------------------------------------------

_begun: Final = events.alias("begun")
_newest_begun: Final = (
    select(func.max(events.c.id))
    .where(
        events.c.run_id == runs.c.id,
        _own,
        events.c.event_type == _word(EventType.STAGE_CHANGE),
        events.c.stage.isnot(None),
    )
    .correlate(runs)
    .scalar_subquery()
)
_held: Final = and_(running, runs.c.lease_id.isnot(None))


def _stored(kind: ArtifactType, attempt: ColumnElement[int]) -> ColumnElement[bool]:
    found = select(artifacts.c.id).where(
        artifacts.c.run_id == runs.c.id, artifacts.c.attempt == attempt, artifacts.c.artifact_type == _word(kind)
    )
    return found.correlate(runs, _begun).exists()


_OF_A_HOLDER: Final = (
    _rule(
        "stage-told",
        and_(_held, or_(_begun.c.stage != runs.c.current_stage, _begun.c.attempt != runs.c.current_attempt)),
        *("it is in the stage ", runs.c.current_stage, " of attempt ", runs.c.current_attempt),
        *(", its journal in ", _begun.c.stage, " of ", _begun.c.attempt),
    ),
    _rule(
        "stage-has-its-work",
        and_(
            _held,
            or_(
                and_(
                    _begun.c.stage == _word(Stage.EVALUATING),
                    not_(_stored(ArtifactType.OUTPUT, _begun.c.attempt)),
                ),
                and_(
                    _begun.c.stage == _word(Stage.REVISING),
                    not_(_stored(ArtifactType.EVALUATION, _begun.c.attempt - literal_column("1"))),
                ),
            ),
        ),
        *("the stage ", _begun.c.stage, " of attempt ", _begun.c.attempt, " began, and what it works on is not there"),
    ),
)
_BESIDE_ITS_STAGE: Final = runs.join(_begun, _begun.c.id == _newest_begun)

# --- Events beside each other ----------------------------------------------------------------------------------------

_places: Final = _out_of_place()
_OF_PLACES: Final = (_rule("seq-gapless", _places.c.place > 0, "event ", _places.c.place, " has another number"),)

_asked: Final = events.alias("asked")
_began: Final = events.alias("began")
# A stage may log the same words, so the event has to be as old as the request that stands in the row.
_AFTER_CANCEL: Final = runs.join(_asked, _asked.c.run_id == runs.c.id).join(
    _began, and_(_began.c.run_id == runs.c.id, _began.c.seq > _asked.c.seq)
)
_OF_A_CANCEL: Final = (
    _rule(
        "no-stage-after-cancel",
        and_(
            runs.c.cancel_requested_at.isnot(None),
            _asked.c.event_type == _word(EventType.LOG),
            _asked.c.message == _word("Cancel requested"),
            SecondsBetween(runs.c.cancel_requested_at, _asked.c.created_at).between(-1, 1),
            _began.c.event_type == _word(EventType.STAGE_CHANGE),
            _began.c.stage.isnot(None),
        ),
        *("the stage ", _began.c.stage, " of attempt ", _began.c.attempt, " began after a cancel was requested"),
    ),
)

# --- Rows that stand alone --------------------------------------------------------------------------------------------


def _orphans(name: str, table: Any) -> Look:
    named = select(table.c.run_id).distinct().subquery(f"of_{name}")
    there = select(runs.c.id).where(runs.c.id == named.c.run_id).correlate(named).exists()
    return Look(named, named.c.run_id, (_rule(f"orphan-{name}", not_(there), f"{name}s of no run"),))


def _shared_leases() -> Look:
    shared = (
        select(func.min(runs.c.id).label("run_id"), func.count().label("number"))
        .where(running, runs.c.lease_id.isnot(None))
        .group_by(runs.c.lease_id)
        .subquery("leases")
    )
    rule = _rule("lease-unique", shared.c.number > 1, shared.c.number, " running runs have the same lease")
    return Look(shared, shared.c.run_id, (rule,))


LOOKS: Final[Sequence[Look]] = (
    Look(runs, runs.c.id, _OF_A_ROW),
    Look(_beside, runs.c.id, _OF_ITS_PARTS),
    Look(_BESIDE_ITS_STAGE, runs.c.id, _OF_A_HOLDER),
    Look(_places, _places.c.run_id, _OF_PLACES),
    Look(_AFTER_CANCEL, runs.c.id, _OF_A_CANCEL),
    _shared_leases(),
    _orphans("event", events),
    _orphans("artifact", artifacts),
    _orphans("key", keys),
)
