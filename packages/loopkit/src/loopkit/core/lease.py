"""Leases: the right to write to a run. A lease is a value; only the comparison by the store makes it valid."""

from datetime import timedelta
from typing import Final

import attrs

from loopkit.core.values import value

__all__ = ["HEARTBEAT", "STALLED_AFTER", "Claimant", "Lease", "LeaseState"]

HEARTBEAT: Final = timedelta(seconds=30)
"""Default interval at which a runner renews its leases."""

STALLED_AFTER: Final = timedelta(seconds=120)
"""Default time without a renewal after which another runner may take a run over; at least twice the heartbeat."""


@value(kw_only=True)
class Claimant:
    """Runner that claims runs."""

    name: str
    """``host:pid`` of the runner; each claim appends a part of its own."""
    heartbeat: timedelta = HEARTBEAT
    """Interval between renewals; stored with the lease, to warn a runner whose stall time is too short for it."""


@value(kw_only=True)
class Lease:
    """Proof that a runner holds a run. It never changes; a take-over creates a new one with a higher token."""

    run_id: str
    lease_id: str
    """Drawn at random by the claim, so that no two claims have the same."""
    claimed_by: str
    """Holder, ``host:pid:...``, different for every claim."""
    fencing_token: int = attrs.field(validator=attrs.validators.ge(1))
    """Increased by one with each claim of this run."""


@value(kw_only=True)
class LeaseState:
    """State of one lease, as a renewal or a check found it."""

    run_id: str
    held: bool
    """False when the lease is lost, and its holder must stop."""
    cancel_requested: bool = False
    """True when the row has a cancel request."""
    skipped: bool = False
    """True when the lease is held but was not renewed, since its run is being written; renew it again soon."""
