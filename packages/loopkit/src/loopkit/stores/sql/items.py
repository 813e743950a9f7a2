"""What callers hand to the writer: one call each, its values prepared beforehand so that a transaction only writes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import attrs

from loopkit.core import machine, plain
from loopkit.core.ids import fingerprint
from loopkit.core.journal import Change, NewEvent
from loopkit.core.lease import Claimant, Lease
from loopkit.core.run import NewRun

Row = Mapping[str, Any]
"""An item's values by name, in the forms that drivers take: text, numbers, None."""
Form = Callable[[dict[str, Any]], Any]
"""Gives a row as the executor wants it, off the writer's thread."""
NOBODY: Final[Mapping[str, str]] = MappingProxyType({})


@attrs.define(eq=False)
class Item:
    """One call that waits for the writer, and what came of it."""

    write: str
    """The nonce that this call's rows are stamped with."""
    outcome: Any = attrs.field(default=None, init=False)
    """What the executor read, or the error that the caller gets."""
    waiter: Any = attrs.field(default=None, init=False)
    """Who waits for the outcome; the lane's own."""
    left: bool = attrs.field(default=False, init=False)
    """True: nobody waits any more."""
    written: bool = attrs.field(default=False, init=False)

    @property
    def alone(self) -> Sequence[str]:
        """What at most one item of a batch may touch."""
        return ()

    @property
    def weight(self) -> int:
        """How many characters it brings, where they may be many."""
        return 0

    def undo(self) -> Iterable["Item"]:
        """Give what is to be written after this item was and its caller has left."""
        return ()


@attrs.define(eq=False)
class Recording(Item):
    """A change of one held run."""

    lease: Lease
    change: Change
    row: Any
    artifact: Any
    """None: the change has none."""
    events: list[Any]
    """Written either way."""
    then_events: list[Any]

    @property
    def alone(self) -> Sequence[str]:
        return (self.lease.run_id,)

    @property
    def weight(self) -> int:
        return 0 if self.change.artifact is None else len(self.change.artifact.content)


@attrs.define(eq=False)
class Claiming(Item):
    """A claim of the oldest runs of some agents, or of one run."""

    call: dict[str, Any]
    agents: Sequence[Any]
    run_id: str | None
    """Set: claim this run and no other."""
    give_back: Callable[[Any], Iterable[Item]]
    """Gives what releases the runs of an outcome."""

    def undo(self) -> Iterable[Item]:
        return self.give_back(self.outcome)


@attrs.define(eq=False)
class Submission(Item):
    """New runs, all or none."""

    rows: list[Any]
    events: list[Any]
    ids: list[str]
    keys: list[str | None]
    fingerprints: list[str | None]
    numbered: list[bool]
    """Which of them are to get the day's next cycle id."""
    claim: Claiming | None
    """Set: claim the one run at once."""

    def undo(self) -> Iterable[Item]:
        return () if self.claim is None else self.claim.undo()

    @property
    def alone(self) -> Sequence[str]:
        return [f"key {key}" for key in self.keys if key is not None]


@attrs.define(eq=False)
class Beating(Item):
    """Leases to renew, or only to look at; the outcome is a row of each that holds, "cancel requested" at its end."""

    leases: Sequence[Lease]
    rows: list[Any]
    renews: bool
    skipped: frozenset[str] = attrs.field(default=frozenset(), init=False)
    """Runs whose lease holds and was not renewed, though it should have been; set by the executor."""


def lease_row(lease: Lease) -> dict[str, Any]:
    """Give a lease's values."""
    return {
        "run_id": lease.run_id,
        "lease_id": lease.lease_id,
        "claimed_by": lease.claimed_by,
        "fencing_token": lease.fencing_token,
    }


def recording(lease: Lease, change: Change, write: str, form: Form) -> Recording:
    """Prepare a change with both ways that it may go."""
    then, cancelled, common = change.then, change.cancelled, len(change.events)
    after_then, after_cancelled = len(then.events), len(cancelled.events)
    row = {
        **lease_row(lease),
        "then_status": then.status.value,
        "then_stage": None if then.stage is None else then.stage.value,
        "then_attempt": then.attempt,
        "then_error": then.error_message,
        "then_events": common + after_then,
        "cancelled_status": cancelled.status.value,
        "cancelled_stage": None if cancelled.stage is None else cancelled.stage.value,
        "cancelled_attempt": cancelled.attempt,
        "cancelled_error": cancelled.error_message,
        "cancelled_events": common + after_cancelled,
        "final_score": change.final_score,
        "best_attempt": change.best_attempt,
        "finishes_stage": change.finishes_stage,
        "write": write,
    }
    events = [
        form(_event(lease.run_id, write, event, rest + after_then, rest + after_cancelled))
        for rest, event in zip(range(common - 1, -1, -1), change.events, strict=True)
    ]
    then_events = [
        form(_event(lease.run_id, write, event, rest, None))
        for rest, event in zip(range(after_then - 1, -1, -1), then.events, strict=True)
    ]
    return Recording(write, lease, change, form(row), _artifact(lease.run_id, write, change, form), events, then_events)


def cancelled_events(item: Recording, form: Form) -> list[Any]:
    """Prepare the events of a change that are written only if it goes the cancelled way, which is rare."""
    events = item.change.cancelled.events
    return [
        form(_event(item.lease.run_id, item.write, event, None, len(events) - place))
        for place, event in enumerate(events, 1)
    ]


def submission(
    new: Sequence[NewRun], ids: Sequence[str], write: str, form: Form, claim: Claiming | None = None
) -> Submission:
    """Prepare new runs under the ids given."""
    keys = [one.idempotency_key for one in new]
    digests = [None if one.idempotency_key is None else fingerprint(one) for one in new]
    rows = [
        form(
            {
                "run_id": run_id,
                "write": write,
                "agent_name": one.agent_name,
                "cycle_id": one.cycle_id,
                "max_attempts": one.max_attempts,
                "pass_threshold": one.pass_threshold,
                "inputs": plain.dumps(one.inputs),
                "retry_of": one.retry_of,
                "key": one.idempotency_key,
                "fingerprint": digest,
            }
        )
        for one, run_id, digest in zip(new, ids, digests, strict=True)
    ]
    events = [form(_event(run_id, write, machine.queued(one), 0, 0)) for one, run_id in zip(new, ids, strict=True)]
    numbered = [one.cycle_id is None for one in new]
    return Submission(write, rows, events, list(ids), keys, digests, numbered, claim)


def claiming(
    claimant: Claimant,
    write: str,
    form: Form,
    give_back: Callable[[Any], Iterable[Item]],
    *,
    agents: Mapping[str, str] = NOBODY,
    limit: int = 1,
    run_id: str | None = None,
    definition: str | None = None,
) -> Claiming:
    """Prepare a claim of the oldest runs of ``agents``, or of one run."""
    prefix = f"{claimant.name}:{write[:8]}."
    call = {
        "write": write,
        "lease_prefix": f"{write}.",
        "claimed_prefix": prefix,
        "claimed_prefix_json": plain.dumps(prefix)[1:-1],
        "heartbeat_seconds": claimant.heartbeat.total_seconds(),
        "limit": max(limit, 0),
        "definition": definition,
    }
    known = [form({"agent_name": name, "definition": digest}) for name, digest in agents.items()]
    return Claiming(write, call, known, run_id, give_back)


def beating(leases: Sequence[Lease], form: Form, *, renews: bool) -> Beating:
    """Prepare a renewal of leases, or a look at them; in the order in which their rows are locked."""
    ordered = sorted(leases, key=lambda lease: lease.run_id)
    return Beating("", leases, [form(lease_row(lease)) for lease in ordered], renews)


def _event(run_id: str, write: str, event: NewEvent, then: int | None, cancelled: int | None) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "write": write,
        "event_type": event.event_type.value,
        "stage": None if event.stage is None else event.stage.value,
        "attempt": event.attempt,
        "message": event.message,
        "metadata": None if event.metadata is None else plain.dumps(event.metadata),
        "then_back": then,
        "cancelled_back": cancelled,
    }


def _artifact(run_id: str, write: str, change: Change, form: Form) -> Any:
    new = change.artifact
    if new is None:
        return None
    return form(
        {
            "run_id": run_id,
            "write": write,
            "attempt": new.attempt,
            "artifact_type": new.artifact_type.value,
            "filename": new.filename,
            "content": new.content,
            "is_json": new.is_json,
            "score": new.score,
        }
    )
