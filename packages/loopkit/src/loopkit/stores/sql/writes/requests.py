"""Write requests: calls that wait for the writer, with all values prepared so that a transaction only writes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Generic, Protocol, TypeVar

import attrs

from loopkit.core import machine, strict_json
from loopkit.core.ids import fingerprint
from loopkit.core.journal import Change, NewEvent
from loopkit.core.lease import Claimant, Lease
from loopkit.core.policy import Definition
from loopkit.core.run import NewRun, RunStatus
from loopkit.stores.sql.schema.rows import Row
from loopkit.stores.sql.statements.changes import SUMS
from loopkit.stores.sql.statements.ledger_rows import call_values, verdict_values
from loopkit.stores.sql.statements.parameters import SqlValue, Values

__all__ = [
    "AnyRequest",
    "ClaimRuns",
    "Claimed",
    "Encode",
    "Encoded",
    "EncodedChange",
    "RecordChange",
    "RenewLeases",
    "SubmitRuns",
    "Waiter",
    "WriteRequest",
    "change_values",
    "claim_request",
    "encode_change",
    "lease_values",
    "renew_request",
    "submit_request",
]

Encoded = Any
"""Values of one row as one executor takes them: its own mapping on SQLite, JSON text elsewhere."""
Encode = Callable[[Values], Encoded]
"""Encodes values for the executor, off the writer's thread."""

NO_AGENTS: Final[Mapping[str, str]] = MappingProxyType({})


class Waiter(Protocol):
    """The task that waits for the outcome of a request."""

    @property
    def loop(self) -> object:
        """Return its event loop; tasks with the same one are woken by one call."""
        ...

    def wake(self) -> None:
        """Wake the task; to be called in its event loop."""
        ...

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the task's event loop soon, from any thread; do nothing if that loop is closed."""
        ...


Outcome = TypeVar("Outcome", covariant=True)


@attrs.define(eq=False)
class WriteRequest(Generic[Outcome]):
    """One call that waits for the writer, and its outcome."""

    nonce: str
    """The ``last_write`` of the rows that this request writes."""
    outcome: Outcome | Exception = attrs.field(init=False)
    """The rows that the executor read, or the error for the caller; unset until it is written or has failed."""
    waiter: Waiter | None = attrs.field(default=None, init=False)
    """Set by the lane: the task to wake."""
    abandoned: bool = attrs.field(default=False, init=False)
    """True when the caller no longer waits for the outcome."""
    written: bool = attrs.field(default=False, init=False)
    """True when the writer is done with it: :attr:`outcome` is set."""

    @property
    def exclusive_keys(self) -> Sequence[str]:
        """Keys that no other request of the same batch may have."""
        return ()

    @property
    def size(self) -> int:
        """Characters that it adds to a batch, for requests that may be large."""
        return 0

    def result(self) -> Outcome:
        """Return the outcome.

        Raises:
            Exception: the request failed.
        """
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def undo(self) -> Iterable["AnyRequest"]:
        """Return the requests to write if this one was written after its caller had left."""
        return ()


AnyRequest = WriteRequest[object]


@attrs.frozen
class Claimed:
    """Outcome of a claim."""

    rows: Sequence[Row]
    """Each run that the claim wrote, by :data:`loopkit.stores.sql.schema.rows.CLAIMED_NAMES`."""
    artifacts: Sequence[Row]
    """Artifacts of the claimed runs, in order, by :data:`loopkit.stores.sql.schema.rows.ARTIFACT_NAMES`."""
    unread_run_ids: frozenset[str] = frozenset()
    """Runs whose artifacts are too large to come with the claim."""


@attrs.define(eq=False)
class RecordChange(WriteRequest[Row | None]):
    """A change of one held run; the outcome is its row by ``WRITTEN_NAMES``, or None if the lease is lost."""

    lease: Lease
    change: Change
    event_seq: int | None
    """Number of the run's events as the store knows it from its last write; None: it does not know."""

    @property
    def can_go_as_meant(self) -> bool:
        """True when the rows of the change can be built without a look at the run's row."""
        return self.event_seq is not None and self.change.then.status is not RunStatus.QUEUED

    def set_written_as_meant(self, at: SqlValue) -> None:
        """Set the outcome of a change that was written as meant, at a given time."""
        change = self.change
        then = change.then
        ended_at = at if then.status.ended else change.run.completed_at
        last_seq = (self.event_seq or 0) + len(change.events) + len(then.events)
        self.outcome = (self.lease.run_id, self.nonce, None, at, ended_at, then.attempt, last_seq)

    @property
    def calls(self) -> list[Values]:
        """Values of its model calls."""
        return call_values(self.lease.run_id, self.nonce, self.change.calls)

    @property
    def verdicts(self) -> list[Values]:
        """Values of its verdicts."""
        return verdict_values(self.lease.run_id, self.nonce, self.change.verdicts)

    @property
    def exclusive_keys(self) -> Sequence[str]:
        return (self.lease.run_id,)

    @property
    def size(self) -> int:
        return 0 if self.change.artifact is None else len(self.change.artifact.content)


@attrs.frozen
class EncodedChange:
    """Values of a change with both ways that it may go, for the statements that choose by the row."""

    row: Encoded
    artifact: Encoded | None
    """None: the change has no artifact."""
    events: list[Encoded]
    """Events that are written whichever way the change goes."""
    then_events: list[Encoded]
    """Events that are written when the change goes as meant."""
    cancelled_events: list[Encoded]
    """Events that are written when the change is cancelled."""


@attrs.define(eq=False)
class ClaimRuns(WriteRequest[Claimed]):
    """A claim of the oldest runs of some agents, or of one run."""

    call: Values
    """Values of :data:`loopkit.stores.sql.statements.claims.CALL`, and ``limit``, ``definition`` and ``policy``."""
    limit: int
    """Most runs to claim."""
    agents: Sequence[Encoded]
    run_id: str | None
    """Set: claim this run and no other."""
    release: Callable[[Claimed], Iterable["AnyRequest"]]
    """Returns the requests that release the runs of an outcome."""

    def undo(self) -> Iterable["AnyRequest"]:
        return () if isinstance(self.outcome, Exception) else self.release(self.outcome)


@attrs.define(eq=False)
class SubmitRuns(WriteRequest[Sequence[Row]]):
    """New runs, all or none; the outcome is a row of each by ``RUN_NAMES`` at least, in order."""

    rows: list[Encoded]
    events: list[Encoded]
    tags: list[Encoded]
    """Tags of the runs, a row each."""
    ids: list[str]
    keys: list[str | None]
    fingerprints: list[str | None]
    numbered: list[bool]
    """For each run: True when it gets the day's next cycle id."""
    claim: ClaimRuns | None
    """Set: claim the one new run in the same transaction; its outcome is set as well."""

    def undo(self) -> Iterable["AnyRequest"]:
        return () if self.claim is None or isinstance(self.outcome, Exception) else self.claim.undo()

    @property
    def exclusive_keys(self) -> Sequence[str]:
        return [f"key {key}" for key in self.keys if key is not None]


@attrs.define(eq=False)
class RenewLeases(WriteRequest[Sequence[Row]]):
    """Leases to renew, or only to look up; the outcome is a row of each that holds, by ``select_lease``."""

    leases: Sequence[Lease]
    rows: list[Encoded]
    renews: bool
    skipped: frozenset[str] = attrs.field(default=frozenset(), init=False)
    """Runs whose lease holds but was not renewed, though it should have been; set by the executor."""


def lease_values(lease: Lease) -> Values:
    """Return a lease's values, in the order of :data:`loopkit.stores.sql.statements.changes.LEASE`."""
    return {
        "run_id": lease.run_id,
        "lease_id": lease.lease_id,
        "claimed_by": lease.claimed_by,
        "fencing_token": lease.fencing_token,
    }


def change_values(request: RecordChange) -> Values:
    """Return the values of :data:`loopkit.stores.sql.statements.changes.CHANGE` of a change."""
    change = request.change
    then, cancelled, common = change.then, change.cancelled, len(change.events)
    return {
        **lease_values(request.lease),
        "then_status": then.status.value,
        "then_stage": None if then.stage is None else then.stage.value,
        "then_attempt": then.attempt,
        "then_error": then.error_message,
        "then_reason": then.reason if then.status.ended else None,
        "then_events": common + len(then.events),
        "cancelled_status": cancelled.status.value,
        "cancelled_stage": None if cancelled.stage is None else cancelled.stage.value,
        "cancelled_attempt": cancelled.attempt,
        "cancelled_error": cancelled.error_message,
        "cancelled_reason": cancelled.reason if cancelled.status.ended else None,
        "cancelled_events": common + len(cancelled.events),
        "final_score": change.final_score,
        "best_attempt": change.best_attempt,
        "finishes_stage": change.finishes_stage,
        "nonce": request.nonce,
        **dict(zip(SUMS, change.sums, strict=True)),
    }


def encode_change(request: RecordChange, encode: Encode) -> EncodedChange:
    """Return all values of a change, with both ways that it may go."""
    change, nonce, run_id = request.change, request.nonce, request.lease.run_id

    def encode_events(events: Sequence[NewEvent], then_rest: int | None, cancelled_rest: int | None) -> list[Encoded]:
        """Encode events; ``..._rest``: the number of events that follow them when the change goes that way."""
        return [
            encode(_event_values(run_id, nonce, event, _plus(then_rest, after), _plus(cancelled_rest, after)))
            for after, event in zip(range(len(events) - 1, -1, -1), events, strict=True)
        ]

    return EncodedChange(
        row=encode(change_values(request)),
        artifact=_encode_artifact(run_id, nonce, change, encode),
        events=encode_events(change.events, len(change.then.events), len(change.cancelled.events)),
        then_events=encode_events(change.then.events, 0, None),
        cancelled_events=encode_events(change.cancelled.events, None, 0),
    )


def _plus(rest: int | None, after: int) -> int | None:
    return None if rest is None else rest + after


def submit_request(
    new: Sequence[NewRun], ids: Sequence[str], nonce: str, encode: Encode, claim: ClaimRuns | None = None
) -> SubmitRuns:
    """Create the request for new runs with the given ids."""
    keys = [new_run.idempotency_key for new_run in new]
    fingerprints = [None if new_run.idempotency_key is None else fingerprint(new_run) for new_run in new]
    rows = [
        encode(
            {
                "run_id": run_id,
                "nonce": nonce,
                "agent_name": new_run.agent_name,
                "cycle_id": new_run.cycle_id,
                "max_attempts": new_run.max_attempts,
                "pass_threshold": new_run.pass_threshold,
                "inputs": strict_json.dumps(new_run.inputs),
                "policy": strict_json.dumps(new_run.policy) if new_run.policy else "{}",
                "retry_of": new_run.retry_of,
                "title": new_run.title,
                "key": new_run.idempotency_key,
                "fingerprint": digest,
            }
        )
        for new_run, run_id, digest in zip(new, ids, fingerprints, strict=True)
    ]
    events = [
        encode(_event_values(run_id, nonce, machine.queued_event(new_run), 0, 0))
        for new_run, run_id in zip(new, ids, strict=True)
    ]
    tags = [
        encode({"run_id": run_id, "tag": tag})
        for new_run, run_id in zip(new, ids, strict=True)
        for tag in sorted(set(new_run.tags))
    ]
    numbered = [new_run.cycle_id is None for new_run in new]
    return SubmitRuns(nonce, rows, events, tags, list(ids), keys, fingerprints, numbered, claim)


def claim_request(
    claimant: Claimant,
    nonce: str,
    encode: Encode,
    release: Callable[[Claimed], Iterable[AnyRequest]],
    *,
    agents: Mapping[str, str] = NO_AGENTS,
    limit: int = 1,
    run_id: str | None = None,
    definition: str | None = None,
) -> ClaimRuns:
    """Create the request for a claim of the oldest runs of ``agents`` (name to digest), or of the run ``run_id``."""
    prefix = f"{claimant.name}:{nonce[:8]}."
    limit = max(limit, 0)
    call: Values = {
        "nonce": nonce,
        "lease_prefix": f"{nonce}.",
        "claimed_prefix": prefix,
        "claimed_prefix_json": strict_json.dumps(prefix)[1:-1],
        "heartbeat_seconds": claimant.heartbeat.total_seconds(),
        "limit": limit,
        **_definition_values(definition),
    }
    encoded_agents = [encode({"agent_name": name, **_definition_values(digest)}) for name, digest in agents.items()]
    return ClaimRuns(nonce, call, limit, encoded_agents, run_id, release)


def _definition_values(definition: str | None) -> Values:
    policy = Definition.policy_in(definition)
    digest = None if definition is None else str(definition)
    return {"definition": digest, "policy": None if policy is None else strict_json.dumps(policy)}


def renew_request(leases: Sequence[Lease], encode: Encode, *, renews: bool) -> RenewLeases:
    """Create the request to renew leases, or only to look them up; in the order in which their rows are locked."""
    ordered = sorted(leases, key=lambda lease: lease.run_id)
    return RenewLeases("", leases, [encode(lease_values(lease)) for lease in ordered], renews)


def _event_values(run_id: str, nonce: str, event: NewEvent, then: int | None, cancelled: int | None) -> Values:
    return {
        "run_id": run_id,
        "nonce": nonce,
        "event_type": event.event_type.value,
        "stage": None if event.stage is None else event.stage.value,
        "attempt": event.attempt,
        "message": event.message,
        "metadata": event.stored_metadata,
        "then_back": then,
        "cancelled_back": cancelled,
    }


def _encode_artifact(run_id: str, nonce: str, change: Change, encode: Encode) -> Encoded | None:
    new = change.artifact
    if new is None:
        return None
    return encode(
        {
            "run_id": run_id,
            "nonce": nonce,
            "attempt": new.attempt,
            "artifact_type": new.artifact_type.value,
            "filename": new.filename,
            "content": new.content,
            "is_json": new.is_json,
            "score": new.score,
        }
    )
