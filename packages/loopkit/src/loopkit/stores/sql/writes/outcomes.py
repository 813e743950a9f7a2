"""Meanings of outcomes: what the rows of a written request, or its refusal by the database, are to the caller."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta

from sqlalchemy import Connection, literal, select

from loopkit.core import run_actions
from loopkit.core.ids import fingerprint
from loopkit.core.journal import Artifact, NewArtifact
from loopkit.core.lease import Lease, LeaseState
from loopkit.core.run import NewRun, Run
from loopkit.errors import KeyReused, LeaseLost, LoopkitError, RunNotClaimable, StorageError
from loopkit.storage import Held
from loopkit.stores.sql.databases.failures import driver_text
from loopkit.stores.sql.operations import run_queries
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.rows import LAST_WRITE, PREVIOUS_HEARTBEAT, Row
from loopkit.stores.sql.schema.tables import keys
from loopkit.stores.sql.statements import readback
from loopkit.stores.sql.statements.claim_fates import ClaimFate, decode_last_write
from loopkit.stores.sql.statements.parameters import Values
from loopkit.stores.sql.writes.requests import Claimed, SubmitRuns, lease_values

__all__ = [
    "claim_refused",
    "fate_of",
    "held_runs",
    "identity_of",
    "lease_states",
    "refusal_of",
    "run_with_artifact",
    "stored_fingerprints",
    "submission_refusal_of",
    "without_repeats",
]


def identity_of(position: int, new: NewRun) -> str | int:
    """Return the key under which repeated requests of one call are the same run."""
    return position if new.idempotency_key is None else new.idempotency_key


def without_repeats(new: Sequence[NewRun]) -> dict[str | int, NewRun]:
    """Return each run of a call once, by its :func:`identity_of`.

    Raises:
        KeyReused: two requests that differ have the same key.
    """
    distinct: dict[str | int, NewRun] = {}
    for position, request in enumerate(new):
        first = distinct.setdefault(identity_of(position, request), request)
        if first is not request and fingerprint(first) != fingerprint(request):
            raise KeyReused(str(request.idempotency_key))
    return distinct


def held_runs(claimed: Claimed) -> Iterator[Held]:
    """Yield the runs that a claim holds now; those that it ended are left out."""
    by_run: dict[str, list[Artifact]] = {}
    for artifact in rows.artifacts_of(claimed.artifacts):
        by_run.setdefault(artifact.run_id, []).append(artifact)
    for row in claimed.rows:
        fate = fate_of(row)
        if fate.ended_in is None:
            run = rows.run(row)
            artifacts = None if run.id in claimed.unread_run_ids else tuple(by_run.get(run.id, ()))
            yield _held(run, fate, row[PREVIOUS_HEARTBEAT], artifacts)


def _held(run: Run, fate: ClaimFate, previous_seconds: float | None, artifacts: tuple[Artifact, ...] | None) -> Held:
    assert run.lease_id is not None
    assert run.claimed_by is not None
    return Held(
        run=run,
        lease=Lease(run_id=run.id, lease_id=run.lease_id, claimed_by=run.claimed_by, fencing_token=run.fencing_token),
        artifacts=artifacts,
        taken_over=fate.is_take_over,
        previous_heartbeat=None if previous_seconds is None else timedelta(seconds=previous_seconds),
    )


def fate_of(row: Row) -> ClaimFate:
    """Return the fate in a row of a claim."""
    _, fate = decode_last_write(row[LAST_WRITE])
    assert fate is not None, "a claim returns only rows that it wrote"
    return fate


def claim_refused(run: Run, claimed: Claimed) -> RunNotClaimable:
    """Return the error of a claim of one run that holds nothing; ``run``: as it is stored now."""
    ended_in = fate_of(claimed.rows[0]).ended_in if claimed.rows else None
    return RunNotClaimable(run.id, run_actions.claim_refusal(run, ended_now=ended_in))


def lease_states(leases: Sequence[Lease], holding: Sequence[Row], skipped: Collection[str]) -> list[LeaseState]:
    """Return the state of each lease, in order.

    Args:
        leases: the leases that were asked about.
        holding: those that hold, each followed by whether a cancel is requested.
        skipped: ids of runs whose lease holds but was not renewed.
    """
    cancel_requested = {tuple(values): bool(cancel) for *values, cancel in holding}
    return [
        LeaseState(
            run_id=lease.run_id,
            held=key in cancel_requested,
            cancel_requested=cancel_requested.get(key, False),
            skipped=key in cancel_requested and lease.run_id in skipped,
        )
        for lease in leases
        for key in [tuple(lease_values(lease).values())]
    ]


def refusal_of(error: Exception) -> LoopkitError:
    """Return the error for the caller of a request that failed: a LoopkitError as it is, or a StorageError of it."""
    if isinstance(error, LoopkitError):
        return error
    refusal = StorageError(f"the database refused a write: {driver_text(error)}")
    refusal.__cause__ = error
    return refusal


def stored_fingerprints(connection: Connection, wanted: Collection[str]) -> dict[str, str]:
    """Return the fingerprints of idempotency keys; a key that is not stored has no entry."""
    selected = select(keys.c.key, keys.c.fingerprint).where(keys.c.key.in_(wanted))
    return {row.key: row.fingerprint for row in connection.execute(selected)}


def submission_refusal_of(request: SubmitRuns, stored: Mapping[str, str], error: Exception) -> LoopkitError:
    """Return the error for the caller of new runs that the database refused: KeyReused if a key is the reason.

    ``stored``: the fingerprints of their keys that are stored.
    """
    for key, digest in zip(request.keys, request.fingerprints, strict=True):
        if key is not None and stored.get(key, digest) != digest:
            reused = KeyReused(key)
            reused.__cause__ = error
            return reused
    return refusal_of(error)


def run_with_artifact(connection: Connection, lease: Lease, new: NewArtifact, clock: Values) -> Run:
    """Return a held run whose artifact is stored already: an earlier call wrote it, and its answer was lost.

    Raises:
        LeaseLost: the lease is lost or another artifact is stored; whoever claims the run next goes on from that.
    """
    row = connection.execute(readback.select_run(literal(lease.run_id)), clock).first()
    run = None if row is None else rows.run(row)
    if run is None or (run.lease_id, run.fencing_token) != (lease.lease_id, lease.fencing_token):
        raise LeaseLost(lease.run_id)
    if not any(_is_same(artifact, new) for artifact in run_queries.list_artifacts(connection, lease.run_id)):
        raise LeaseLost(lease.run_id)
    return run


def _is_same(artifact: Artifact, new: NewArtifact) -> bool:
    return (artifact.attempt, artifact.artifact_type, artifact.content) == (new.attempt, new.artifact_type, new.content)
