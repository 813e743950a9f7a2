"""Leases of the held runs: renewed in time, and checked for cancel requests and for leases that were lost.

:class:`Keeper` is a plain object that is stepped. :class:`KeeperThread` steps it from a thread with an event loop of
its own, so that a stage that blocks the runner's event loop cannot lose a lease.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from enum import IntEnum
from types import TracebackType
from typing import Final, Protocol

import anyio
import attrs

from loopkit.clock import Clock
from loopkit.core.lease import Lease, LeaseState
from loopkit.errors import StorageError, UnusableOption
from loopkit.runner.loop_watch import LoopWatch
from loopkit.storage import CancelRequests, Storage

__all__ = ["Interrupt", "Keeper", "KeeperThread", "KeptLease", "LeaseKeeping", "check_heartbeat"]

logger = logging.getLogger("loopkit.runner")

CHECK_SECONDS: Final = 1.0
"""Longest interval between two checks of a held run for a cancel request and a lost lease."""

SAFETY: Final = 0.9
"""Part of the stall time after which a holder that could not renew its lease treats it as lost."""

MOST_RENEWED: Final = 500
"""Leases that one call renews: thousands in one transaction would keep every other writer waiting."""

MOST_WATCHED: Final = 100
"""Leases that are looked at one by one; of more, only the cancel requests are, where the store can tell them."""

MARGIN_SECONDS: Final = 0.001
"""Time by which a wait for a deadline ends after it, so that rounding by a clock cannot end it before."""


def check_heartbeat(heartbeat: timedelta, store: Storage) -> None:
    """Check that a lease can be renewed late once without a stall.

    Raises:
        UnusableOption: the heartbeat is not positive, or the store's ``stalled_after`` is less than twice as long.
    """
    if heartbeat <= timedelta(0) or store.stalled_after < 2 * heartbeat:
        raise UnusableOption(
            f"the stall time ({store.stalled_after.total_seconds():g} s) must be at least twice "
            f"the heartbeat ({heartbeat.total_seconds():g} s)"
        )


class Interrupt(IntEnum):
    """Reason for which a stage under way must stop. A greater one outweighs a smaller one."""

    END = 1
    """The runner ends."""
    CANCEL = 2
    """A cancel of the run was requested."""
    LOST = 3
    """The lease of the run is lost."""


def _ignore(why: Interrupt) -> None:
    """Ignore an interrupt."""


@attrs.define(eq=False)
class KeptLease:
    """One lease that a keeper renews."""

    lease: Lease
    renewed_at: float
    """Monotonic seconds, taken before the newest renewal was sent."""
    interrupt: Callable[[Interrupt], object]
    """Called from the keeper's thread."""
    is_given_up: bool = False
    """True once the holder was told that its lease has run out; a renewal would then only keep the run from others."""


class Keeper:
    """Renews every lease of a process in one call, and interrupts the holders that must stop."""

    def __init__(self, storage: Storage, clock: Clock, *, heartbeat: timedelta) -> None:
        self._storage = storage
        self._clock = clock
        self._heartbeat = heartbeat.total_seconds()
        self._deadline = storage.stalled_after.total_seconds() * SAFETY
        self._kept_leases: dict[str, KeptLease] = {}

    @property
    def interval(self) -> float:
        """Seconds between two steps."""
        return min(CHECK_SECONDS, self._heartbeat / 2)

    def keep(self, lease: Lease, *, since: float, interrupt: Callable[[Interrupt], object]) -> KeptLease:
        """Renew a lease from now on; it was claimed no earlier than ``since`` (monotonic seconds)."""
        kept_lease = KeptLease(lease, since, interrupt)
        self._kept_leases[lease.run_id] = kept_lease
        return kept_lease

    def drop(self, kept_lease: KeptLease) -> None:
        """Renew a lease no longer, and interrupt its holder no more."""
        kept_lease.interrupt = _ignore
        if self._kept_leases.get(kept_lease.lease.run_id) is kept_lease:
            del self._kept_leases[kept_lease.lease.run_id]

    def is_overdue(self, kept_lease: KeptLease) -> bool:
        """Return whether the lease was not renewed for so long that another runner may hold the run."""
        return self._clock.monotonic() - kept_lease.renewed_at > self._deadline

    async def step(self) -> None:
        """Renew the leases that are due, check the others, and interrupt the holders that must stop.

        A store that does not answer is waited for until the next lease may be another runner's, and no longer.
        """
        leases = [kept_lease for kept_lease in list(self._kept_leases.values()) if not kept_lease.is_given_up]
        now = self._clock.monotonic()
        with anyio.move_on_after(self._patience(leases, now)) as scope:
            await self._renew_and_check(leases, now)
        if scope.cancelled_caught:
            logger.warning("could not renew leases: the store does not answer")
        for kept_lease in leases:
            if self.is_overdue(kept_lease):
                kept_lease.is_given_up = True
                kept_lease.interrupt(Interrupt.LOST)

    def _patience(self, leases: Sequence[KeptLease], now: float) -> float:
        """Return for how many seconds the store may give no answer.

        They end just after the next lease may be another runner's. A lease that may be so already, because the
        process was frozen, gets the time of one step: it may be held still.
        """
        seconds_left = [kept_lease.renewed_at + self._deadline - now for kept_lease in leases]
        return min(
            (seconds + MARGIN_SECONDS if seconds >= 0 else self.interval for seconds in seconds_left), default=0.0
        )

    async def _renew_and_check(self, leases: Sequence[KeptLease], now: float) -> None:
        due = [kept_lease for kept_lease in leases if now - kept_lease.renewed_at >= self._heartbeat]
        rest = [kept_lease for kept_lease in leases if now - kept_lease.renewed_at < self._heartbeat]
        try:
            for part in _batched(due, MOST_RENEWED):
                states = await self._storage.heartbeat([kept_lease.lease for kept_lease in part])
                _apply_states(part, states, renewed_at=now)
            if rest and not await self._noticed_cancels(rest):
                _apply_states(rest, await self._storage.watch([kept_lease.lease for kept_lease in rest]))
        except StorageError as error:
            logger.warning("could not renew %d leases: %s", len(due), error)

    async def _noticed_cancels(self, leases: Sequence[KeptLease]) -> bool:
        """Interrupt the holders of very many leases whose run is to be cancelled; return False where it takes a watch.

        A lease that was lost is noticed when it is renewed, and by every write.
        """
        if len(leases) <= MOST_WATCHED or not isinstance(self._storage, CancelRequests):
            return False
        ids = await self._storage.requested_cancels()
        if ids is None:
            return False
        for kept_lease in leases:
            if kept_lease.lease.run_id in ids:
                kept_lease.interrupt(Interrupt.CANCEL)
        return True


def _batched(leases: Sequence[KeptLease], size: int) -> Iterator[Sequence[KeptLease]]:
    return (leases[first : first + size] for first in range(0, len(leases), size))


def _apply_states(leases: Sequence[KeptLease], states: Sequence[LeaseState], renewed_at: float | None = None) -> None:
    """Note which leases were renewed, and interrupt the holders whose lease is lost or run is to be cancelled."""
    for kept_lease, state in zip(leases, states, strict=True):
        if not state.held:
            kept_lease.interrupt(Interrupt.LOST)
            continue
        if renewed_at is not None and not state.skipped:
            kept_lease.renewed_at = max(kept_lease.renewed_at, renewed_at)
        if state.cancel_requested:
            kept_lease.interrupt(Interrupt.CANCEL)


class LeaseKeeping(Protocol):
    """Context in which a keeper is stepped."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class KeeperThread:
    """Daemon thread that steps a keeper, and watches the event loop that the context was entered in."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._main, name="loopkit heartbeat", daemon=True)

    def __enter__(self) -> "KeeperThread":
        self._watch = LoopWatch()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()

    def _main(self) -> None:
        while not self._is_over.wait(self._keeper.interval):
            try:
                anyio.run(self._keeper.step)
                self._watch.check(time.monotonic())
            except Exception:
                logger.exception("unexpected error in the heartbeat thread, which goes on")
