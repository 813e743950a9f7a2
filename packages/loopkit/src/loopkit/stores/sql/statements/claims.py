"""Statements of a claim: the runs that may be claimed, the claim itself, and its events.

A claim reads and writes in one statement, without a round trip in its middle: where a run goes on follows from the row
and from the run's newest artifact, and the events follow from the fate of the claim; see
:mod:`loopkit.stores.sql.statements.claim_fates`.
"""

from collections.abc import Iterable
from typing import Final

from sqlalchemy import (
    FromClause,
    Insert,
    Update,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.sql.elements import ColumnElement

from loopkit.core import machine
from loopkit.core.journal import ArtifactType
from loopkit.core.machine import Signal
from loopkit.core.run import EndReason, RunStatus
from loopkit.stores.sql.schema.expressions import AnyColumn, AnySelect
from loopkit.stores.sql.schema.policy_values import Drafts, MaxLosses
from loopkit.stores.sql.schema.rows import is_stalled
from loopkit.stores.sql.schema.tables import (
    Json,
    artifacts,
    cancel_requested,
    claimable,
    events,
    queued,
    running,
    runs,
)
from loopkit.stores.sql.schema.timestamps import Instant, stamp
from loopkit.stores.sql.statements.changes import event_values
from loopkit.stores.sql.statements.claim_fates import (
    CLAIM_EVENTS,
    PLACEHOLDER,
    ClaimFate,
    claim_events_table,
    encode_fate,
    encode_last_write,
)
from loopkit.stores.sql.statements.parameters import (
    INTEGER,
    REAL,
    TEXT,
    Columns,
    ColumnTypes,
    Values,
    columns_of,
    constant,
)
from loopkit.stores.sql.statements.readback import stored_columns

__all__ = [
    "AGENT",
    "CANDIDATE",
    "Candidate",
    "claim_new",
    "claim_or_end",
    "insert_claim_events",
    "merge_candidates",
    "requested_candidate",
    "select_cancelled",
    "select_candidate",
    "select_claimed_by_call",
    "select_queued",
    "select_stalled",
    "with_newest_artifact",
]

AGENT: Final[ColumnTypes] = {"agent_name": TEXT, "definition": TEXT, "policy": TEXT}
CANDIDATE: Final[ColumnTypes] = {"run_id": TEXT, "number": INTEGER, "definition": TEXT, "policy": TEXT}
"""A run to claim; ``number`` tells it from the others of the same call."""
CALL: Final[ColumnTypes] = {
    "nonce": TEXT,
    "lease_prefix": TEXT,
    "claimed_prefix": TEXT,
    "claimed_prefix_json": TEXT,
    "heartbeat_seconds": REAL,
}
"""Values that all claims of a call share; ``limit``, ``now`` and ``stalled_seconds`` are parameters as well."""

NO_AGENT: Final[Values] = {"definition": None, "policy": None}
"""Stands in for the agent of a run that a claim only ends."""

SWEEP_LIMIT: Final = 100
"""Most runs with a cancel request that one call ends."""

Candidate = tuple[Values, float | None]
"""The values of :data:`CANDIDATE`, and the renewal interval of the holder before, in seconds (None: there was none)."""

_CALL: Final = {name: bindparam(name, type_=kind) for name, kind in CALL.items()}
_CANDIDATE_COLUMNS: Final = (
    runs.c.id,
    Instant(runs.c.created_at).label("since"),
    case((and_(running, runs.c.lease_id.isnot(None)), runs.c.heartbeat_seconds)).label("previous_heartbeat"),
)


def select_queued(agent: Columns) -> AnySelect:
    """Select the oldest queued runs of an agent: id, creation time, renewal interval of the holder before."""
    return _select_oldest(agent, claimable)


def select_stalled(agent: Columns) -> AnySelect:
    """Select the oldest stalled runs of an agent, as :func:`select_queued` does."""
    return _select_oldest(agent, and_(is_stalled(), runs.c.cancel_requested_at.is_(None)))


def select_cancelled() -> AnySelect:
    """Select the ids of runs of any agent that have a cancel request and no live holder."""
    unheld = and_(cancel_requested, or_(queued, is_stalled()))
    return select(runs.c.id).where(unheld).order_by(runs.c.id).limit(constant(SWEEP_LIMIT)).offset(constant(0))


def select_candidate(run_id: ColumnElement[str]) -> AnySelect:
    """Select one run as :func:`select_queued` does, whatever its state."""
    return select(*_CANDIDATE_COLUMNS).where(runs.c.id == run_id)


def select_claimed_by_call(*more: AnyColumn) -> AnySelect:
    """Select the runs that a call claimed and still holds, by :data:`loopkit.stores.sql.schema.rows.CLAIMED_NAMES`.

    The renewal interval of the holder before is lost by then: NULL. ``more`` columns follow.
    """
    prefix = _CALL["lease_prefix"]
    claimed_by_call = func.substr(runs.c.lease_id, constant(1), func.length(prefix)) == prefix
    claimed = select(*stored_columns(), null().label("previous_heartbeat"), *more).where(running, claimed_by_call)
    return claimed.order_by(Instant(runs.c.created_at), runs.c.id)


def merge_candidates(
    cancelled: Iterable[str], waiting: Iterable[tuple[float | None, str, Values, float | None]], limit: int
) -> list[Candidate]:
    """Merge what was read for each agent: the runs to end for a cancel request, then the oldest ``limit`` to claim.

    Args:
        cancelled: ids of runs with a cancel request.
        waiting: creation time, run id, its agent by :data:`AGENT`, and renewal interval of the holder before.
        limit: most runs to claim.
    """
    to_end: list[Candidate] = [(_candidate(run_id, 0, NO_AGENT), None) for run_id in cancelled]
    # A creation time that nobody can read is NULL; such a run comes first, so that it is soon out of the way.
    oldest = sorted(waiting, key=lambda candidate: (candidate[0] or 0.0, candidate[1]))[:limit]
    return to_end + [
        (_candidate(run_id, number, agent), previous) for number, (_, run_id, agent, previous) in enumerate(oldest, 1)
    ]


def requested_candidate(run_id: str, call: Values, previous: float | None) -> Candidate:
    """Return the candidate of a claim of one run; ``call`` has the agent's definition and policy."""
    return _candidate(run_id, 1, call), previous


def _candidate(run_id: str, number: int, agent: Values) -> Values:
    return {"run_id": run_id, "number": number, "definition": agent["definition"], "policy": agent["policy"]}


def with_newest_artifact(candidate: Columns) -> AnySelect:
    """Return candidates together with the rank of their newest artifact, which :func:`claim_or_end` reads."""
    labelled = [value.label(name) for name, value in candidate.items()]
    return select(*labelled, _newest(candidate["run_id"]).label("newest"))


def claim_or_end(candidates: FromClause) -> Update:
    """Claim each candidate that may still be claimed; or end it, as cancelled, or since too many runners were lost.

    ``candidates`` has the columns of :func:`with_newest_artifact`.
    """
    candidate = candidates.c
    cancelled = runs.c.cancel_requested_at.isnot(None)
    policy = _policy(candidate.policy)
    most = MaxLosses(policy)
    lost = and_(running, most > constant(0), runs.c.lost_leases + constant(1) >= most)
    claims = and_(~cancelled, ~lost)
    stage = case((claims, _stage(candidate.newest, Drafts(policy))))
    fate = encode_fate(cancelled=cancelled, lost=lost, taken_over=running, stage=stage)
    end_status = case((cancelled, constant(RunStatus.CANCELLED.value)), else_=constant(RunStatus.FAILED.value))
    end_reason = case(
        (cancelled, constant(EndReason.CANCEL_REQUESTED.value)), else_=constant(EndReason.RUNNER_LOST.value)
    )
    before, after = machine.lost_message(0).split("0")
    end_message = (lost, case((~cancelled, constant(before) + cast(most, TEXT) + constant(after))))
    held = _held_values(columns_of(candidates))
    return (
        update(runs)
        .where(runs.c.id == candidate.run_id, _may_be_touched())
        .values({name: case((claims, value), else_=runs.c[name]) for name, value in held.items()})
        .values(
            status=case((claims, constant(RunStatus.RUNNING.value)), else_=end_status),
            current_stage=stage,
            current_attempt=case((claims, _attempt(candidate.newest)), else_=runs.c.current_attempt),
            lease_id=case((claims, _lease_id(candidate.number))),
            lost_leases=runs.c.lost_leases + case((and_(running, ~cancelled), constant(1)), else_=constant(0)),
            completed_at=case((claims, runs.c.completed_at), else_=stamp()),
            error_message=case((claims, runs.c.error_message), end_message),
            end_reason=case((claims, runs.c.end_reason), else_=end_reason),
            event_seq=runs.c.event_seq
            + case((claims, _events_of(ClaimFate.STARTED_PRODUCING)), else_=_events_of(ClaimFate.LOST)),
            last_write=encode_last_write(_CALL["nonce"], fate),
        )
    )


def claim_new(candidate: Columns) -> Update:
    """Claim a queued run without artifacts as :func:`claim_or_end` does; change nothing in any other run."""
    fate = ClaimFate.STARTED_PRODUCING
    return (
        update(runs)
        .where(runs.c.id == candidate["run_id"], claimable, _newest(candidate["run_id"]).is_(None))
        .values(_held_values(candidate))
        .values(
            status=constant(RunStatus.RUNNING.value),
            current_stage=_stage_after(Signal.NOTHING_STORED),
            current_attempt=constant(1),
            lease_id=_lease_id(candidate["number"]),
            event_seq=runs.c.event_seq + _events_of(fate),
            last_write=encode_last_write(_CALL["nonce"], constant(fate.value)),
        )
    )


def insert_claim_events(written: FromClause, *where: ColumnElement[bool]) -> Insert:
    """Insert the events of the fates of the runs that :func:`claim_or_end` wrote."""
    fates = claim_events_table()
    claimed_by = func.coalesce(written.c.claimed_by, constant(""))
    number = func.substr(claimed_by, func.length(_CALL["claimed_prefix"]) + constant(1))
    metadata = func.replace(fates.c.metadata, constant(PLACEHOLDER), _CALL["claimed_prefix_json"] + number)
    event: dict[str, AnyColumn] = {name: fates.c[name] for name in ("event_type", "stage", "message")}
    event |= {"run_id": written.c.id, "attempt": null(), "metadata": metadata}
    row = event_values(event, written.c.current_attempt, written.c.event_seq - fates.c.back)
    source = (
        select(*row.values())
        .where(written.c.last_write == encode_last_write(_CALL["nonce"], fates.c.fate), *where)
        .order_by(written.c.id, fates.c.back.desc())
    )
    return insert(events).from_select(list(row), source)


def _select_oldest(agent: Columns, condition: ColumnElement[bool]) -> AnySelect:
    return (
        select(*_CANDIDATE_COLUMNS)
        .where(runs.c.agent_name == agent["agent_name"], condition)
        .order_by(Instant(runs.c.created_at), runs.c.id)
        .limit(bindparam("limit", type_=INTEGER))
        .offset(constant(0))
    )


def _held_values(candidate: Columns) -> dict[str, AnyColumn]:
    """Return the values of a run that goes on with its new holder."""
    return {
        "claimed_at": stamp(),
        "heartbeat_at": stamp(),
        "claimed_by": _CALL["claimed_prefix"] + cast(candidate["number"], TEXT),
        "started_at": func.coalesce(runs.c.started_at, stamp()),
        "fencing_token": runs.c.fencing_token + constant(1),
        "definition": func.coalesce(runs.c.definition, candidate["definition"]),
        "policy": _policy(candidate["policy"]),
        "heartbeat_seconds": _CALL["heartbeat_seconds"],
    }


def _policy(of_agent: ColumnElement[str]) -> AnyColumn:
    """Return the policy of a run: its own, or that of its agent where another program made the run."""
    return func.coalesce(runs.c.policy, cast(of_agent, Json))


def _events_of(fate: ClaimFate) -> ColumnElement[int]:
    """Return the number of events of a fate; it is the same for all fates that hold, and for all that end."""
    return constant(len(CLAIM_EVENTS[fate]))


def _lease_id(number: ColumnElement[int]) -> ColumnElement[str]:
    return _CALL["lease_prefix"] + cast(number, TEXT)


def _may_be_touched() -> ColumnElement[bool]:
    """Return a condition: queued and unclaimed, or stalled, or queued with a cancel request."""
    return or_(and_(queued, or_(runs.c.claimed_at.is_(None), runs.c.cancel_requested_at.isnot(None))), is_stalled())


# machine.stored_signal in SQL: where a claimed run goes on


def _stage(newest: ColumnElement[int], drafts: ColumnElement[int]) -> ColumnElement[str]:
    return case(
        (newest.is_(None), _stage_after(Signal.NOTHING_STORED)),
        (and_(_goes_to_next(newest), newest // constant(2) < drafts), _stage_after(Signal.DRAFT_DUE)),
        (_goes_to_next(newest), _stage_after(Signal.SCORE_STORED)),
        else_=_stage_after(Signal.OUTPUT_STORED),
    )


def _attempt(newest: ColumnElement[int]) -> ColumnElement[int]:
    return case(
        (newest.is_(None), constant(1)),
        (_goes_to_next(newest), newest // constant(2) + constant(1)),
        else_=newest // constant(2),
    )


def _goes_to_next(newest: ColumnElement[int]) -> ColumnElement[bool]:
    return and_(newest % constant(2) == constant(1), newest // constant(2) < runs.c.max_attempts)


def _stage_after(signal: Signal) -> ColumnElement[str]:
    return constant(machine.next_state(RunStatus.QUEUED, signal).value)


def _newest(run_id: ColumnElement[str]) -> ColumnElement[int]:
    """Return the rank of the run's newest artifact: twice its attempt, plus 1 for an evaluation; NULL without any."""
    is_evaluation = case(
        (artifacts.c.artifact_type == constant(ArtifactType.EVALUATION.value), constant(1)), else_=constant(0)
    )
    rank = func.max(artifacts.c.attempt * constant(2) + is_evaluation)
    return select(rank).where(artifacts.c.run_id == run_id).scalar_subquery()
