"""Ledger of one held run, as its holder knows it: what is written, and what the next write has to book.

Nothing here waits or writes. A call is added when it is about to be sent, completed with what it gave, and stays until
a write is known to have stored it; so a write without an answer is made again with everything that it had, and what it
adds is computed from what is known to be stored.
"""

import threading
from collections.abc import Iterable
from typing import Final

from loopkit.clock import Clock
from loopkit.core.ledger.calls import CallState, ModelCall
from loopkit.core.ledger.spent import Spent, added_spending
from loopkit.core.ledger.sums import Spending, make_spending
from loopkit.core.ledger.unknowns import NO_UNKNOWNS, Unknowns, unknowns_of
from loopkit.core.values import maker, value

__all__ = ["Booking", "RunLedger"]


@value(kw_only=True)
class Booking:
    """Calls and time of stages that one write books."""

    calls: tuple[ModelCall, ...]
    spending: Spending
    """Amounts that the calls, and the time of the stages, add to the sums in the run's row."""
    seconds: float
    """Time of stages that goes with a result."""
    due_seconds: float
    """Time of failed tries."""


_make_booking: Final = maker(Booking)


class RunLedger:
    """Model calls and stage time of one held run. Calls may be added from any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._stored: dict[str, ModelCall] = {}
        self._waiting: dict[str, ModelCall] = {}
        """Calls that are not known to be stored as they are here, by id."""
        self._due: set[str] = set()
        """Ids of those that are written at once, and not with the result that they belong to."""
        self._seconds = 0.0
        """Time of stages that waits for a result."""
        self._due_seconds = 0.0
        """Time of failed tries that is not written yet."""
        self._marked_at: float | None = None
        """Monotonic seconds up to which the stage under way is counted; None: there is none."""

    def load(self, calls: Iterable[ModelCall]) -> None:
        """Take over what the ledger of the run holds."""
        self._stored.update((call.id, call) for call in calls)

    def begin_stage(self, at: float) -> None:
        """Begin to count the time of a stage, from ``at`` on (monotonic seconds)."""
        self._marked_at = at

    def end_stage(self, at: float) -> None:
        """Stop to count the time of the stage; it is written with its result."""
        if self._marked_at is not None:
            self._seconds += at - self._marked_at
            self._marked_at = None

    def add(self, call: ModelCall) -> None:
        """Add a call, or complete one. May be called from any thread."""
        with self._lock:
            self._waiting[call.id] = call
            if call.state is CallState.UNANSWERED:
                self._due.add(call.id)
            else:
                self._due.discard(call.id)

    def settle(self) -> None:
        """Mark everything that waits as due: a try has failed, so it belongs to no result."""
        self._mark()
        self._due_seconds += self._seconds
        self._seconds = 0.0
        with self._lock:
            self._due.update(self._waiting)

    @property
    def is_due(self) -> bool:
        """True when something is to be written without a result."""
        return bool(self._due) or self._due_seconds > 0

    def spent(self) -> Spent:
        """Return everything that the next result books, and what the ledger will not tell then."""
        booked = self.booking()
        return Spent(calls=booked.calls, spending=booked.spending, unknowns=self.unknowns)

    def booking(self, *, only_due: bool = False) -> Booking:
        """Return what the next write books; ``only_due``: without what waits for a result."""
        if not only_due and self._marked_at is not None:
            self._mark()
        seconds = 0.0 if only_due else self._seconds
        due_seconds = self._due_seconds
        if not self._waiting:  # no stage reported anything
            spending = make_spending(stage_seconds=seconds + due_seconds)
            return _make_booking(calls=(), spending=spending, seconds=seconds, due_seconds=due_seconds)
        with self._lock:
            calls = tuple(call for call in self._waiting.values() if not only_due or call.id in self._due)
        spending = added_spending(calls, self._stored, stage_seconds=seconds + due_seconds)
        return Booking(calls=calls, spending=spending, seconds=seconds, due_seconds=due_seconds)

    def note_written(self, booking: Booking) -> None:
        """Note that a booking is stored."""
        self._seconds -= booking.seconds
        self._due_seconds -= booking.due_seconds
        if not booking.calls:
            return
        with self._lock:
            for call in booking.calls:
                self._stored[call.id] = call
                if self._waiting.get(call.id) is call:  # it may have been completed meanwhile
                    del self._waiting[call.id]
                    self._due.discard(call.id)

    @property
    def unknowns(self) -> Unknowns:
        """Facts that the ledger does not tell, once everything that waits is written."""
        if not self._stored and not self._waiting:
            return NO_UNKNOWNS
        with self._lock:
            return unknowns_of({**self._stored, **self._waiting}.values())

    def _mark(self) -> None:
        if self._marked_at is not None:
            now = self._clock.monotonic()
            self._seconds += now - self._marked_at
            self._marked_at = now
