"""The statements of a claim: what may be claimed, the claim itself, and the events that tell of it.

What a claim makes of a run and what is told of it is asked of the machine, once for each case, and written out as SQL;
the case is found by what stands in the row and by the run's artifacts. So a claim needs no round trip in its middle.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import attrs
from sqlalchemy import (
    CTE,
    FromClause,
    Insert,
    Select,
    Update,
    and_,
    bindparam,
    case,
    cast,
    column,
    func,
    insert,
    null,
    or_,
    select,
    update,
    values,
)
from sqlalchemy.sql.elements import ColumnElement

from loopkit.core import machine, plain
from loopkit.core.journal import Artifact, ArtifactType, NewEvent
from loopkit.core.machine import MAX_LOST_LEASES, RUNNER_LOST_MESSAGE, Signal
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.stores.sql.instants import Instant, stamp
from loopkit.stores.sql.rows import is_stalled
from loopkit.stores.sql.sources import INTEGER, REAL, TEXT, Items, Shape, constant, items
from loopkit.stores.sql.statements import event_values, run_columns
from loopkit.stores.sql.tables import artifacts, cancel_asked, claimable, events, queued, running, runs

AGENT: Final[Shape] = {"agent_name": TEXT, "definition": TEXT}
PICK: Final[Shape] = {"run_id": TEXT, "number": INTEGER, "definition": TEXT}
"""A run to claim; ``number`` tells it from the others of the same call."""
CALL: Final[Shape] = {
    "write": TEXT,
    "lease_prefix": TEXT,
    "claimed_prefix": TEXT,
    "claimed_prefix_json": TEXT,
    "heartbeat_seconds": REAL,
}
"""What all claims of a call share; ``limit``, ``now`` and ``stalled_seconds`` as well."""

SWEEP_LIMIT: Final = 100
"""How many runs with a cancel request one call ends at most."""

_CALL: Final = {name: bindparam(name, type_=kind) for name, kind in CALL.items()}
_CLAIMED_BY: Final = "{claimed_by}"
"""Stands for the new holder where the machine is asked what will be told."""


# --- What may be claimed ----------------------------------------------------------------------------------------------


def waiting_queued(agent: Items) -> Select[Any]:
    """Find the oldest queued runs of an agent."""
    return _oldest(agent, claimable)


def waiting_stalled(agent: Items) -> Select[Any]:
    """Find the oldest stalled runs of an agent."""
    return _oldest(agent, and_(is_stalled(), runs.c.cancel_requested_at.is_(None)))


def waiting_cancelled() -> Select[Any]:
    """Find runs that nobody works and that have a cancel request, of whatever agent."""
    nobody = and_(cancel_asked, or_(queued, is_stalled()))
    return select(runs.c.id).where(nobody).order_by(runs.c.id).limit(constant(SWEEP_LIMIT)).offset(constant(0))


def waiting_one(run_id: ColumnElement[str]) -> Select[Any]:
    """Find a run as :func:`waiting_queued` does, whatever its state."""
    return select(*_WAITING).where(runs.c.id == run_id)


def claimed_by_call(*more: ColumnElement[Any]) -> Select[Any]:
    """Find the runs that a call claimed and still holds, as rows of a claim; the previous heartbeat is not known."""
    prefix = _CALL["lease_prefix"]
    own = func.substr(runs.c.lease_id, constant(1), func.length(prefix)) == prefix
    found = select(*run_columns(), runs.c.last_write, runs.c.event_seq, null().label("previous_heartbeat"), *more)
    return found.where(running, own).order_by(Instant(runs.c.created_at), runs.c.id)


_WAITING: Final = (
    runs.c.id,
    Instant(runs.c.created_at).label("since"),
    case((and_(running, runs.c.lease_id.isnot(None)), runs.c.heartbeat_seconds)).label("previous_heartbeat"),
)


def _oldest(agent: Items, condition: ColumnElement[bool]) -> Select[Any]:
    return (
        select(*_WAITING)
        .where(runs.c.agent_name == agent["agent_name"], condition)
        .order_by(Instant(runs.c.created_at), runs.c.id)
        .limit(bindparam("limit", type_=INTEGER))
        .offset(constant(0))
    )


Pick = tuple[dict[str, Any], float | None]
"""The values of :data:`PICK`, and how often the holder before renewed."""


def picks(asked: Iterable[str], waiting: Iterable[tuple[Any, str, str | None, float | None]], limit: int) -> list[Pick]:
    """Merge what was found for each agent: the runs to end for a cancel request, then the oldest ``limit`` to claim.

    ``waiting`` gives since when, the run, its agent's definition and how often the holder before renewed.
    """
    ends: list[Pick] = [({"run_id": run_id, "number": 0, "definition": None}, None) for run_id in asked]
    oldest = sorted(waiting, key=lambda one: one[:2])[:limit]
    return ends + [
        ({"run_id": run_id, "number": number, "definition": definition}, previous)
        for number, (_, run_id, definition, previous) in enumerate(oldest, 1)
    ]


# --- The claim --------------------------------------------------------------------------------------------------------


def resumed(pick: Items) -> Select[Any]:
    """Give picks together with what :func:`take` asks of their artifacts."""
    return select(*(value.label(name) for name, value in pick.items()), _newest(pick["run_id"]).label("newest"))


def take(picked: FromClause) -> Update:
    """Claim each picked run that may still be claimed; or end it, as cancelled, or for the runners it has lost.

    ``picked`` has the columns of :func:`resumed`.
    """
    pick = picked.c
    asked = runs.c.cancel_requested_at.isnot(None)
    lost = and_(running, runs.c.lost_leases >= constant(MAX_LOST_LEASES - 1))
    goes = and_(~asked, ~lost)
    kind = case(
        (asked, constant("cancelled")),
        (lost, constant("lost")),
        (running, constant("taken")),
        else_=constant("started"),
    )
    stage = case((goes, _stage(pick.newest)))
    ended = case((asked, constant(RunStatus.CANCELLED.value)), else_=constant(RunStatus.FAILED.value))
    return (
        update(runs)
        .where(runs.c.id == pick.run_id, _may_be_touched())
        .values(
            {name: case((goes, value), else_=runs.c[name]) for name, value in _given(items(picked)).items()},
        )
        .values(
            status=case((goes, constant(RunStatus.RUNNING.value)), else_=ended),
            current_stage=stage,
            current_attempt=case((goes, _attempt(pick.newest)), else_=runs.c.current_attempt),
            lease_id=case((goes, _lease_id(pick.number))),
            lost_leases=runs.c.lost_leases + case((and_(running, ~asked), constant(1)), else_=constant(0)),
            completed_at=case((goes, runs.c.completed_at), else_=stamp()),
            error_message=case((goes, runs.c.error_message), (lost, case((~asked, constant(RUNNER_LOST_MESSAGE))))),
            event_seq=runs.c.event_seq + case((goes, constant(2)), else_=constant(1)),
            last_write=_CALL["write"] + constant(".") + kind + func.coalesce(constant(".") + stage, constant("")),
        )
    )


def start(pick: Items) -> Update:
    """Do what :func:`take` does to a run that waits and has nothing stored, and nothing to any other."""
    first = f"started.{Stage.PRODUCING}"
    return (
        update(runs)
        .where(runs.c.id == pick["run_id"], claimable, _newest(pick["run_id"]).is_(None))
        .values(_given(pick))
        .values(
            status=constant(RunStatus.RUNNING.value),
            current_stage=_stage_after(Signal.NOTHING_STORED),
            current_attempt=constant(1),
            lease_id=_lease_id(pick["number"]),
            event_seq=runs.c.event_seq + constant(len(STORIES[first])),
            last_write=_CALL["write"] + constant(f".{first}"),
        )
    )


def tell_claim(written: FromClause, *where: ColumnElement[bool]) -> Insert:
    """Add the events that tell what :func:`take` made of the runs that it wrote."""
    told = _told()
    claimed_by = func.coalesce(written.c.claimed_by, constant(""))
    number = func.substr(claimed_by, func.length(_CALL["claimed_prefix"]) + constant(1))
    metadata = func.replace(told.c.metadata, constant(_CLAIMED_BY), _CALL["claimed_prefix_json"] + number)
    event: dict[str, Any] = {name: told.c[name] for name in ("event_type", "stage", "message")}
    event |= {"run_id": written.c.id, "attempt": null(), "metadata": metadata}
    row = event_values(event, written.c.current_attempt, written.c.event_seq - told.c.back)
    source = (
        select(*row.values())
        .where(written.c.last_write == _CALL["write"] + constant(".") + told.c.story, *where)
        .order_by(written.c.id, told.c.back.desc())
    )
    return insert(events).from_select(list(row), source)


def _given(pick: Items) -> dict[str, ColumnElement[Any]]:
    """What a run is given that goes on with its new holder."""
    return {
        "claimed_at": stamp(),
        "heartbeat_at": stamp(),
        "claimed_by": _CALL["claimed_prefix"] + cast(pick["number"], TEXT),
        "started_at": func.coalesce(runs.c.started_at, stamp()),
        "fencing_token": runs.c.fencing_token + constant(1),
        "definition": func.coalesce(runs.c.definition, pick["definition"]),
        "heartbeat_seconds": _CALL["heartbeat_seconds"],
    }


def _lease_id(number: ColumnElement[int]) -> ColumnElement[str]:
    return _CALL["lease_prefix"] + cast(number, TEXT)


def _may_be_touched() -> ColumnElement[bool]:
    """Queued and unclaimed, stalled, or asked to be cancelled with nobody working it."""
    return or_(and_(queued, or_(runs.c.claimed_at.is_(None), runs.c.cancel_requested_at.isnot(None))), is_stalled())


# --- Where a claimed run goes on: machine.stored_signal, in SQL -------------------------------------------------------


def _stage(newest: ColumnElement[int]) -> ColumnElement[str]:
    return case(
        (newest.is_(None), _stage_after(Signal.NOTHING_STORED)),
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
    """Twice the attempt of the run's newest artifact, and one more for an evaluation; NULL where it has none."""
    judged = case(
        (artifacts.c.artifact_type == constant(ArtifactType.EVALUATION.value), constant(1)), else_=constant(0)
    )
    rank = func.max(artifacts.c.attempt * constant(2) + judged)
    return select(rank).where(artifacts.c.run_id == run_id).scalar_subquery()


# --- What is told of a claim: the machine's own events ----------------------------------------------------------------


def story_events(story: str, claimed_by: str | None) -> Iterator[dict[str, Any]]:
    """Give the events of a case, in order, as :data:`loopkit.stores.sql.statements.EVENT` has them."""
    for event in STORIES[story]:
        metadata = event["metadata"]
        if metadata is not None and claimed_by is not None:
            metadata = metadata.replace(_CLAIMED_BY, plain.dumps(claimed_by)[1:-1])
        yield event | {"metadata": metadata}


def _stories() -> Iterator[tuple[str, tuple[NewEvent, ...]]]:
    """Ask the machine for the events of every case; the names are what :func:`take` writes after its nonce."""
    queued_run = _example(RunStatus.QUEUED)
    running_run = _example(RunStatus.RUNNING)
    for kept in (), (ArtifactType.OUTPUT,), (ArtifactType.OUTPUT, ArtifactType.EVALUATION):
        stored = [_example_artifact(kind) for kind in kept]
        for name, run in ("started", queued_run), ("taken", running_run):
            decision = machine.claimed(run, stored, claimed_by=_CLAIMED_BY)
            yield f"{name}.{decision.stage}", decision.events
    given_up = attrs.evolve(running_run, lost_leases=MAX_LOST_LEASES - 1)
    yield "lost", machine.claimed(given_up, (), claimed_by=_CLAIMED_BY).events
    end = machine.cancel(queued_run).end
    assert end is not None
    yield "cancelled", end.events


def _written_out() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for story, told in _stories():
        yield (
            story,
            [
                {
                    "event_type": event.event_type.value,
                    "stage": None if event.stage is None else event.stage.value,
                    "attempt": None,
                    "message": event.message,
                    "metadata": None if event.metadata is None else plain.dumps(event.metadata),
                }
                for event in told
            ],
        )


def _told() -> CTE:
    """The stories as a table: one row an event."""
    told = [
        (story, len(events) - place, *(event[name] for name in ("event_type", "stage", "message", "metadata")))
        for story, events in STORIES.items()
        for place, event in enumerate(events, 1)
    ]
    names = (
        ("story", TEXT),
        ("back", INTEGER),
        ("event_type", TEXT),
        ("stage", TEXT),
        ("message", TEXT),
        ("metadata", TEXT),
    )
    columns = [column(name, kind) for name, kind in names]
    return values(*columns, name="told", literal_binds=True).data(told).cte("told")


def _example(status: RunStatus) -> Run:
    return Run(
        id="",
        agent_name="",
        cycle_id="",
        status=status,
        max_attempts=2,
        pass_threshold=1.0,
        inputs={},
        created_at=datetime.min.replace(tzinfo=UTC),
    )


def _example_artifact(kind: ArtifactType) -> Artifact:
    moment = datetime.min.replace(tzinfo=UTC)
    return Artifact(id=0, run_id="", attempt=1, artifact_type=kind, filename="", content="", created_at=moment)


STORIES: Final = dict(_written_out())
"""The events of every case of a claim, by what the last write of the run then ends with."""
