"""Leases: who may write to a run. A lease is a value and proves nothing but what the store compares it with."""

from datetime import timedelta

import attrs


@attrs.frozen(kw_only=True)
class Claimant:
    """A runner as it asks for work."""

    name: str
    """``host:pid`` of the runner; each claim adds a part of its own."""
    heartbeat: timedelta = timedelta(seconds=30)
    """How often it renews; stored with the lease so that a taker with a too short limit can be warned."""


@attrs.frozen(kw_only=True)
class Lease:
    """Proof that one runner holds one run. Never edited: a take-over makes a new, higher one."""

    run_id: str
    lease_id: str
    """Random, drawn by the claim; no two claims share one."""
    claimed_by: str
    """The holder, ``host:pid:...``, different for every claim."""
    fencing_token: int = attrs.field(validator=attrs.validators.ge(1))
    """Grows by one with each claim of this run."""


@attrs.frozen(kw_only=True)
class Beat:
    """What one renewal, or one look, told about a lease."""

    run_id: str
    held: bool
    """False: the lease is lost and its holder must stop."""
    cancel_requested: bool = False
    skipped: bool = False
    """True: a renewal left the lease as it was, since its run is being written; it holds, and is to be renewed soon."""
