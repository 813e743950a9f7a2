"""The hot statements, each written once over its items; see :mod:`loopkit.stores.sql.sources`.

Nothing is decided here that the machine has not decided: a change comes with every way it may go, and the statement
picks one by what stands in the row. What follows on a run's update does something only where that update stamped this
call's own ``last_write``, which is also what is looked for after an unknown commit.
"""

from typing import Any, Final

from sqlalchemy import (
    FromClause,
    Insert,
    Select,
    Update,
    and_,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    insert,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement

from loopkit.core.journal import ArtifactType
from loopkit.core.run import ENDED, RunStatus
from loopkit.stores.sql import rows
from loopkit.stores.sql.cycles import CycleDay, CycleId, CycleNumber, Day
from loopkit.stores.sql.instants import Instant, present, stamp
from loopkit.stores.sql.sources import BIG, INTEGER, REAL, TEXT, YES_NO, Items, Shape, constant
from loopkit.stores.sql.tables import Json, artifacts, days, events, keys, running, runs

LEASE: Final[Shape] = {"run_id": TEXT, "lease_id": TEXT, "claimed_by": TEXT, "fencing_token": BIG}
CHANGE: Final[Shape] = {
    **LEASE,
    "then_status": TEXT,
    "then_stage": TEXT,
    "then_attempt": INTEGER,
    "then_error": TEXT,
    "then_events": INTEGER,
    "cancelled_status": TEXT,
    "cancelled_stage": TEXT,
    "cancelled_attempt": INTEGER,
    "cancelled_error": TEXT,
    "cancelled_events": INTEGER,
    "final_score": REAL,
    "best_attempt": INTEGER,
    "finishes_stage": YES_NO,
    "write": TEXT,
}
ARTIFACT: Final[Shape] = {
    "run_id": TEXT,
    "write": TEXT,
    "attempt": INTEGER,
    "artifact_type": TEXT,
    "filename": TEXT,
    "content": TEXT,
    "is_json": YES_NO,
    "score": REAL,
}
EVENT: Final[Shape] = {
    "run_id": TEXT,
    "write": TEXT,
    "event_type": TEXT,
    "stage": TEXT,
    "attempt": INTEGER,
    "message": TEXT,
    "metadata": TEXT,
    "then_back": INTEGER,
    "cancelled_back": INTEGER,
}
"""``..._back`` tells how many events of the write follow this one that way; NULL: it is not written that way."""
NEW: Final[Shape] = {
    "run_id": TEXT,
    "write": TEXT,
    "agent_name": TEXT,
    "cycle_id": TEXT,
    "max_attempts": INTEGER,
    "pass_threshold": REAL,
    "inputs": TEXT,
    "retry_of": TEXT,
    "key": TEXT,
    "fingerprint": TEXT,
}


def run_columns() -> list[ColumnElement[Any]]:
    """What :func:`loopkit.stores.sql.rows.run` reads, of a run that was just written and so is not stalled."""
    return [*rows.run_columns()[:-1], false().label("stalled")]


# --- A held run -------------------------------------------------------------------------------------------------------


def held(lease: Items) -> ColumnElement[bool]:
    """True only while the lease is the run's newest claim; the holder too, since other programs write no token."""
    return and_(
        runs.c.id == lease["run_id"],
        running,
        runs.c.fencing_token == lease["fencing_token"],
        runs.c.lease_id == lease["lease_id"],
        runs.c.claimed_by == lease["claimed_by"],
    )


def go_on(change: Items) -> Update:
    """Put a held run into the state that its change leads to, and renew its lease."""
    status, ends, waits = _chosen(change, "status"), _ends(change), _chosen(change, "status") == constant("queued")
    return (
        update(runs)
        .where(held(change), runs.c.last_write.is_distinct_from(change["write"]))
        .values(
            status=status,
            current_stage=_chosen(change, "stage"),
            current_attempt=_chosen(change, "attempt"),
            error_message=case((ends, _chosen(change, "error")), else_=runs.c.error_message),
            final_score=change["final_score"],
            best_attempt=change["best_attempt"],
            lost_leases=case((change["finishes_stage"], constant(0)), else_=runs.c.lost_leases),
            heartbeat_at=case((~waits, _renewed())),
            claimed_at=case((~waits, runs.c.claimed_at)),
            claimed_by=case((~waits, runs.c.claimed_by)),
            lease_id=case((~or_(ends, waits), runs.c.lease_id)),
            completed_at=case((ends, stamp()), else_=runs.c.completed_at),
            event_seq=runs.c.event_seq + _chosen(change, "events"),
            last_write=change["write"],
        )
    )


def stay(change: Items) -> Update:
    """Do what :func:`go_on` does where the run stays running: the columns that indexes hold are not touched.

    It does nothing where a cancel request stands in the row.
    """
    return update(runs).where(held(change), runs.c.cancel_requested_at.is_(None)).values(_then(change))


def end(change: Items) -> Update:
    """Do what :func:`go_on` does where the run ends, and nothing where a cancel request stands in the row."""
    ended = {
        "status": change["then_status"],
        "error_message": change["then_error"],
        "lease_id": null(),
        "completed_at": stamp(),
    }
    return stay(change).values(ended)


def _then(change: Items) -> dict[str, ColumnElement[Any]]:
    """What every change writes that goes on as it was meant to."""
    return {
        "current_stage": change["then_stage"],
        "current_attempt": change["then_attempt"],
        "final_score": change["final_score"],
        "best_attempt": change["best_attempt"],
        "lost_leases": case((change["finishes_stage"], constant(0)), else_=runs.c.lost_leases),
        "heartbeat_at": _renewed(),
        "event_seq": runs.c.event_seq + change["then_events"],
        "last_write": change["write"],
    }


def artifact_values(artifact: Items) -> dict[str, ColumnElement[Any]]:
    """What a row of an artifact is made of."""
    kept = ("run_id", "attempt", "artifact_type", "filename", "content", "is_json", "score")
    return {name: artifact[name] for name in kept} | {"created_at": stamp()}


def event_values(event: Items, attempt: ColumnElement[int], seq: ColumnElement[int]) -> dict[str, ColumnElement[Any]]:
    """What a row of an event is made of; ``attempt`` and ``seq`` are the run's after the write."""
    told = ("run_id", "event_type", "stage", "message")
    return {name: event[name] for name in told} | {
        "attempt": func.coalesce(event["attempt"], attempt),
        "metadata": cast(event["metadata"], Json),
        "created_at": stamp(),
        "seq": seq,
    }


def keep_artifact(artifact: Items, written: FromClause) -> Insert:
    """Keep the artifact of a change that was written."""
    values = artifact_values(artifact)
    return insert(artifacts).from_select(list(values), select(*values.values()).where(_was_written(artifact, written)))


def tell(event: Items, written: FromClause) -> Insert:
    """Add an event of a change that was written, where the way that the run went has it."""
    back = case(
        (written.c.cancel_requested_at.is_(None), event["then_back"]),
        else_=event["cancelled_back"],
    )
    values = event_values(event, written.c.current_attempt, written.c.event_seq - back)
    source = select(*values.values()).where(_was_written(event, written), back.isnot(None))
    source = source.order_by(event["run_id"], back.desc())
    return insert(events).from_select(list(values), source)


def renew(lease: Items) -> Update:
    """Renew a lease that still holds."""
    return update(runs).where(held(lease)).values(heartbeat_at=_renewed())


def look(lease: Items) -> Select[Any]:
    """Find the lease if it still holds, and whether a cancel is requested."""
    return select(*(lease[name] for name in LEASE), runs.c.cancel_requested_at.isnot(None)).where(held(lease))


def _chosen(change: Items, name: str) -> ColumnElement[Any]:
    """One of a change's values, by the way it goes: a cancel request that stands in the row wins."""
    return case(
        (runs.c.cancel_requested_at.is_(None), change[f"then_{name}"]),
        else_=change[f"cancelled_{name}"],
    )


def _ends(change: Items) -> ColumnElement[bool]:
    return _chosen(change, "status").in_([constant(status.value) for status in sorted(ENDED)])


def _renewed() -> ColumnElement[Any]:
    """The time to write as heartbeat: now, but never back."""
    ahead = Instant(runs.c.heartbeat_at) > Instant(stamp())
    return case((ahead, runs.c.heartbeat_at), else_=stamp())


def _was_written(item: Items, written: FromClause) -> ColumnElement[bool]:
    return and_(written.c.id == item["run_id"], written.c.last_write == item["write"])


# --- New runs ---------------------------------------------------------------------------------------------------------


def keep_key(new: Items, dialect: str) -> Insert:
    """Keep the idempotency key of a new run, if it has one. A key that is known for another request is an error."""
    into = postgresql.insert(keys) if dialect == "postgresql" else sqlite.insert(keys)
    source = select(new["key"], new["fingerprint"], new["run_id"], stamp()).where(new["key"].isnot(None))
    kept = into.from_select(["key", "fingerprint", "run_id", "created_at"], source)
    # NULL may not stand there, so another request undoes the whole transaction.
    same = case((keys.c.fingerprint == kept.excluded.fingerprint, keys.c.fingerprint))
    return kept.on_conflict_do_update(index_elements=[keys.c.key], set_={"fingerprint": same})


def lock_day() -> Insert:
    """Take the lock under which PostgreSQL gives today's cycle numbers; elsewhere a writer is alone anyway."""
    taken = postgresql.insert(days).from_select(["day", "last_number"], select(_today(), highest_number()))
    highest = func.greatest(days.c.last_number, taken.excluded.last_number)
    return taken.on_conflict_do_update(index_elements=[days.c.day], set_={"last_number": highest})


def queue(new: Items, place: ColumnElement[int]) -> Insert:
    """Queue a new run, unless its key was used before. ``place``: the how-manieth without a cycle id it is."""
    source = (
        select(
            new["run_id"],
            new["agent_name"],
            func.coalesce(new["cycle_id"], CycleId(_today(), highest_number() + place)),
            constant(RunStatus.QUEUED.value),
            new["max_attempts"],
            new["pass_threshold"],
            cast(new["inputs"], Json),
            stamp(),
            new["retry_of"],
            constant(1),
            new["write"],
        )
        .where(or_(new["key"].is_(None), exists().where(keys.c.key == new["key"], keys.c.run_id == new["run_id"])))
        .order_by(new["run_id"])
    )
    fields = [
        *("id", "agent_name", "cycle_id", "status", "max_attempts", "pass_threshold", "inputs", "created_at"),
        *("retry_of", "event_seq", "last_write"),
    ]
    return insert(runs).from_select(fields, source)


def highest_number() -> ColumnElement[int]:
    """The highest number among today's cycle ids, whoever gave them."""
    number = CycleNumber(runs.c.cycle_id)
    highest = select(func.max(number)).where(CycleDay(runs.c.cycle_id) == _today(), number.isnot(None))
    return func.coalesce(highest.scalar_subquery(), constant(0))


def _today() -> ColumnElement[str]:
    return Day(present())


def run_of_key() -> Select[Any]:
    """Find the run that was made first under a key; takes ``key``, ``now`` and ``stalled_seconds``."""
    return select(*rows.run_columns()).join(keys, keys.c.run_id == runs.c.id).where(keys.c.key == bindparam("key"))


# --- Reading back -----------------------------------------------------------------------------------------------------


def run_now(run_id: ColumnElement[str]) -> Select[Any]:
    """Find a run, and what its last write was; takes ``now`` and ``stalled_seconds``."""
    return select(*rows.run_columns(), runs.c.last_write).where(runs.c.id == run_id)


def artifacts_of(run_id: ColumnElement[str]) -> Select[Any]:
    """Find the artifacts of a run, by attempt, an output before its evaluation."""
    judged = case(
        (artifacts.c.artifact_type == constant(ArtifactType.EVALUATION.value), constant(1)), else_=constant(0)
    )
    found = select(*rows.ARTIFACT_COLUMNS).where(artifacts.c.run_id == run_id)
    return found.order_by(artifacts.c.attempt, judged)
