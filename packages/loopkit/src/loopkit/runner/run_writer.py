"""Writes of one held run: its changes, the log lines of its stages, and its release when the runner is cancelled.

A change is sent again until the store answers, the lease is lost, or the stall time has passed: a run whose changes
cannot be written is let go, so that another runner may have it. The store writes a change once. Changes are written one
after the other, since the score, the stage and the sums of a change are based on the state that the write before it
left. Each change books what the run's :class:`~loopkit.runner.accounts.run_ledger.RunLedger` has waiting.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
import attrs

from loopkit.core import machine
from loopkit.core.journal import Change, EventType, NewEvent, Next
from loopkit.core.ledger.calls import ModelCall
from loopkit.core.ledger.sums import SUM_NAMES
from loopkit.core.panel.verdict import Verdict
from loopkit.core.panel.verdict_event import verdict_event
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.errors import LeaseLost, StorageUnavailable
from loopkit.runner.accounts.run_ledger import Booking, RunLedger
from loopkit.runner.keeper import KeptLease
from loopkit.runner.logs import Logs
from loopkit.runner.runner_context import RunnerContext

__all__ = ["RETRY_SECONDS", "RunWriter"]

logger = logging.getLogger("loopkit.runner")

LOG_DELAY_SECONDS: Final = 0.5
"""Time for which a stage's log line waits for further ones before it is written."""

RETRY_SECONDS: Final = 0.5
"""Pause before a write is sent again when the store gave no answer."""


def _ignore() -> None:
    """Ignore that the run is about to end."""


class RunWriter:
    """The only writer of one held run.

    Args:
        context: the runner's parts.
        kept_lease: the run's lease, which every write shows and renews.
        run: the run as it was claimed.
        on_ending: called just before a write after which the run is no longer running.
    """

    def __init__(
        self, context: RunnerContext, kept_lease: KeptLease, run: Run, *, on_ending: Callable[[], object]
    ) -> None:
        self.run = run
        """The run as the last change left it."""
        self.is_lease_lost = False
        """True: a write that got no answer is not sent again, and no last change is written."""
        self._context = context
        self._kept_lease = kept_lease
        self._on_ending = on_ending
        self.ledger = RunLedger(context.environment.clock)
        """Model calls and time of the stages, those included that are not written yet."""
        self._logs = Logs()
        self._last_writes: list[anyio.CancelScope] = []
        """Scopes of the writes outside of the run's own task."""
        self._writing = _Turn()
        """Taken by the write under way; the next waits for it."""
        self._unanswered: tuple[Change, Booking] | None = None
        """Change that was sent to the store and not answered yet; it may have been written."""
        self._booked: anyio.Event | None = None
        """Set when the calls that wait to be booked before they are sent are written; None: none waits."""
        self._is_closed = False
        self._left: Next | None = None
        """State to which the last change led."""

    @property
    def reason(self) -> str | None:
        """Reason of the last change of status, such as ``score_passed``."""
        return None if self._left is None else self._left.reason

    async def record(self, change: Change, booking: Booking | None = None) -> None:
        """Write a change together with the log lines that wait; send it again while the lease may still be held.

        Each time it has the same booking: a store that has written the change drops whatever is new in a second one.

        Args:
            booking: that with which the change was sent before; None: it is new, and books all that waits.

        Raises:
            LeaseLost: another runner may hold the run, or may have it, since nothing could be written for a stall time.
        """
        logs = self._logs.take()
        if logs:
            change = attrs.evolve(change, events=(*logs, *change.events))
        if change.then.status is not RunStatus.RUNNING:
            self._on_ending()
        if not self._writing.take():
            await self._writing.wait()
        try:
            if booking is None:
                booking = self.ledger.booking()
            await self._send(self._with_booking(change, booking), booking)
        finally:
            self._writing.end()

    async def _send(self, change: Change, booking: Booking) -> None:
        """Send a change to the store until it answers, or the lease may be another runner's."""
        clock, storage, kept_lease = self._context.environment.clock, self._context.storage, self._kept_lease
        began_at = sent_at = clock.monotonic()
        while not self.is_lease_lost:
            self._unanswered = change, booking
            try:
                self.run = run = await storage.record(kept_lease.lease, change)
            except StorageUnavailable as error:
                if clock.monotonic() - began_at > storage.stalled_after.total_seconds():
                    logger.warning("run %s: %s; the run is let go", self.run.id, error)
                    raise LeaseLost(self.run.id) from error
                logger.warning("run %s: %s; trying again", self.run.id, error)
                await anyio.sleep(RETRY_SECONDS)
                sent_at = clock.monotonic()
            else:
                self.ledger.note_written(booking)
                self._unanswered = None
                self._left = change.then if run.status is change.then.status else change.cancelled
                kept_lease.renewed_at = max(kept_lease.renewed_at, sent_at)
                return
        raise LeaseLost(self.run.id)

    async def record_verdict(self, verdict: Verdict) -> None:
        """Write a verdict with its event, although this task may be cancelled: it was paid for.

        Raises:
            LeaseLost: another runner may hold the run.
        """
        with anyio.CancelScope(shield=True):
            await self.record_last(machine.log_change(self.run, [verdict_event(verdict)], verdicts=[verdict]))

    async def record_last(self, change: Change, booking: Booking | None = None) -> None:
        """Write the last change of this runner to the run; :meth:`cancel_last_writes` ends it.

        Raises:
            LeaseLost: another runner may hold the run.
        """
        if not self.is_lease_lost:
            with anyio.CancelScope() as scope:
                self._last_writes.append(scope)
                await self.record(change, booking)
                return
        raise LeaseLost(self.run.id)

    def cancel_last_writes(self) -> None:
        """Cancel the last writes under way: the store does not answer, and the lease may be another runner's."""
        for scope in self._last_writes:
            scope.cancel()

    async def release(self, reason: str) -> None:
        """Release the run although this task is cancelled; takes at most the grace time.

        A change without an answer is sent again first, because the release is based on the state that it leaves.

        Raises:
            LeaseLost: another runner may hold the run.
        """
        with anyio.CancelScope(shield=True), anyio.move_on_after(self._context.grace.total_seconds()):
            if self._unanswered is not None:
                await self.record_last(*self._unanswered)
            if self.run.status is RunStatus.RUNNING:
                await self.record_last(machine.released_change(self.run, reason))

    def close(self) -> None:
        """Drop the log lines that still wait, and those that are still to come."""
        self._is_closed = True
        self._on_ending = _ignore  # which refers to the run, so that both would wait for the garbage collector

    def add_event(self, event: NewEvent) -> None:
        """Keep an event of the runner's own for the next write."""
        self._logs.put(event)

    def begin_logs(self) -> None:
        """Start to count the log lines of a stage, or of its next try."""
        self._logs.begin()

    def add_log(self, stage: Stage, attempt: int, message: str, metadata: Mapping[str, Any]) -> None:
        """Keep a log line of a stage and schedule its write. May be called from any thread."""
        if self._logs.add(stage, attempt, message, metadata):
            self._context.loop.call_soon(self._schedule_log_write)

    def end_logs(self, stage: Stage, attempt: int) -> None:
        """Keep an event that says how many log lines of the stage were dropped, if any were."""
        self._logs.end(stage, attempt)

    def add_failed_try(self, stage: Stage, attempt: int, message: str, details: Mapping[str, Any] | None) -> None:
        """Write soon why a try failed, with the place as metadata; the next try may log as many lines again."""
        self.end_logs(stage, attempt)
        event = NewEvent(event_type=EventType.LOG, stage=stage, attempt=attempt, message=message, metadata=details)
        self.add_event(event)
        self.ledger.settle()
        self.begin_logs()
        self._schedule_log_write()

    async def book(self, call: ModelCall) -> None:
        """Write a model call before it is sent, and wait until it is written; calls that wait share one write.

        Raises:
            LeaseLost: another runner may hold the run, or may have it, since nothing could be written for a stall time.
        """
        self.ledger.add(call)
        if self._booked is None:
            self._booked = anyio.Event()
            # Not in the task of the stage: a write that was sent has to be waited for when the stage is cancelled.
            self._context.tasks.start_soon(self._write_bookings, self._booked, name=f"bookings {self.run.id}")
        await self._booked.wait()
        if self.is_lease_lost or self._is_closed:
            raise LeaseLost(self.run.id)

    async def _write_bookings(self, booked: anyio.Event) -> None:
        """Write the calls that are about to be sent; the write is made again while the lease may still be held."""
        clock, give_up_seconds = self._context.environment.clock, self._context.storage.stalled_after.total_seconds()
        began_at = clock.monotonic()
        try:
            async with self._writing:
                self._booked = None
                while not self.is_lease_lost and not self._is_closed:
                    try:
                        await self._write_due(machine.log_change(self.run, ()))
                    except StorageUnavailable as error:
                        if clock.monotonic() - began_at > give_up_seconds:
                            raise LeaseLost(self.run.id) from error
                        logger.warning("run %s: %s; trying again", self.run.id, error)
                        await anyio.sleep(RETRY_SECONDS)
                    else:
                        return
        except LeaseLost:
            self.is_lease_lost = True
        finally:
            booked.set()

    def _with_booking(self, change: Change, booking: Booking) -> Change:
        """Return a change that adds a booking to the newest sums of the run."""
        run = change.run
        if run is not self.run:
            run = attrs.evolve(run, **{name: getattr(self.run, name) for name in SUM_NAMES})
        return change.booked(run, booking.calls, booking.spending)

    async def _write_due(self, change: Change) -> None:
        """Write a change that ends no stage, with what is to be booked without a result."""
        booking = self.ledger.booking(only_due=True)
        change = self._with_booking(change, booking)
        self.run = await self._context.storage.record(self._kept_lease.lease, change)
        self.ledger.note_written(booking)

    def _schedule_log_write(self) -> None:
        if not self._is_closed:
            self._context.tasks.start_soon(self._write_logs, name=f"logs {self.run.id}")

    async def _write_logs(self) -> None:
        await anyio.sleep(LOG_DELAY_SECONDS)
        if self._writing.is_taken:  # the change took the lines that waited; those that came since are written later
            self._context.tasks.start_soon(self._write_logs, name=f"logs {self.run.id}")
            return
        async with self._writing:
            logs = self._logs.take()
            if not (logs or self.ledger.is_due) or self._is_closed or self.is_lease_lost:
                return
            try:
                await self._write_due(machine.log_change(self.run, logs))
            except (LeaseLost, StorageUnavailable) as error:
                logger.warning("log lines of run %s were not written: %s", self.run.id, error)


class _Turn:
    """Turn that one task of an event loop has at a time.

    An ``anyio.Lock`` looks up the task and the event loop each time, a tenth of the time of a boundary; here
    nothing is looked up, and no coroutine made, unless a task has to wait.
    """

    def __init__(self) -> None:
        self.is_taken = False
        self._freed: anyio.Event | None = None

    async def __aenter__(self) -> None:
        if not self.take():
            await self.wait()

    async def __aexit__(self, *exception: object) -> None:
        self.end()

    def take(self) -> bool:
        """Take the turn if nobody has it; return False if somebody has."""
        if self.is_taken:
            return False
        self.is_taken = True
        return True

    async def wait(self) -> None:
        """Wait until nobody has the turn, and take it."""
        while not self.take():
            if self._freed is None:
                self._freed = anyio.Event()
            await self._freed.wait()

    def end(self) -> None:
        """End this turn; the next task begins its own."""
        self.is_taken = False
        if self._freed is not None:
            self._freed.set()
            self._freed = None
