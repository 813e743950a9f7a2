"""Keeping leases: renewing them in time, and learning that one is lost or that a cancel is asked for.

:class:`Keeper` is a plain object that is stepped. :class:`KeeperThread` steps it from a thread with an event loop of
its own, so that a stage that blocks the runner's event loop cannot lose a lease.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from enum import Enum
from types import TracebackType
from typing import Final, Protocol

import anyio
import attrs

from loopkit.clock import Clock
from loopkit.core.lease import Beat, Lease
from loopkit.errors import StorageError, UnusableOption
from loopkit.runner.blocking import LoopWatch
from loopkit.storage import Storage

__all__ = ["HEARTBEAT", "Holding", "Interrupt", "Keeper", "KeeperThread", "Keeping", "check_heartbeat"]

logger = logging.getLogger("loopkit.runner")

HEARTBEAT: Final = timedelta(seconds=30)
"""How often a lease is renewed, unless a runner is told otherwise."""

LOOK_SECONDS: Final = 1.0
"""How often held runs are looked at for cancel requests and lost leases."""

SAFETY: Final = 0.9
"""Part of the stall time after which a holder that could not renew takes its lease for lost."""

PAST_SECONDS: Final = 0.001
"""How far past a deadline a wait for it ends, so that no clock's rounding puts it before."""


def check_heartbeat(heartbeat: timedelta, store: Storage) -> None:
    """Refuse a heartbeat that leaves no room for a late one.

    Raises:
        UnusableOption: the store's ``stalled_after`` is less than twice the heartbeat.
    """
    if heartbeat <= timedelta(0) or store.stalled_after < 2 * heartbeat:
        raise UnusableOption(
            f"the stall time ({store.stalled_after.total_seconds():g} s) must be at least twice "
            f"the heartbeat ({heartbeat.total_seconds():g} s)"
        )


class Interrupt(Enum):
    """Why a stage under way is to stop."""

    CANCEL = "its cancellation was requested"
    LOST = "its lease is lost"
    END = "the runner ends"


def _nobody(why: Interrupt) -> None:
    """Interrupt nobody."""


@attrs.define(eq=False)
class Holding:
    """One lease that is kept."""

    lease: Lease
    renewed_at: float
    """Monotonic seconds, taken before the newest renewal was sent."""
    interrupt: Callable[[Interrupt], object]
    """Called from the keeper's thread."""
    given_up: bool = False
    """True when its holder was told that it was not renewed in time: to renew it would keep it from others."""


class Keeper:
    """Renews every lease of a process in one call, and tells each holder what came back."""

    def __init__(self, storage: Storage, clock: Clock, *, heartbeat: timedelta) -> None:
        self._storage = storage
        self._clock = clock
        self._heartbeat = heartbeat.total_seconds()
        self._deadline = storage.stalled_after.total_seconds() * SAFETY
        self._holdings: dict[str, Holding] = {}

    @property
    def interval(self) -> float:
        """Seconds between two steps."""
        return min(LOOK_SECONDS, self._heartbeat / 2)

    def hold(self, lease: Lease, *, since: float, interrupt: Callable[[Interrupt], object]) -> Holding:
        """Keep a lease that was claimed no earlier than ``since`` (monotonic seconds)."""
        holding = Holding(lease, since, interrupt)
        self._holdings[lease.run_id] = holding
        return holding

    def let_go(self, holding: Holding) -> None:
        """Keep it no longer, and tell its holder nothing more."""
        holding.interrupt = _nobody
        if self._holdings.get(holding.lease.run_id) is holding:
            del self._holdings[holding.lease.run_id]

    def is_overdue(self, holding: Holding) -> bool:
        """True when the lease was not renewed for so long that another runner may hold the run by now."""
        return self._clock.monotonic() - holding.renewed_at > self._deadline

    async def step(self) -> None:
        """Renew what is due, look at the rest, and interrupt holders whose lease is lost or run is to be cancelled.

        A store that does not answer is waited for until the next lease may be another's, and no longer.
        """
        holdings = [holding for holding in list(self._holdings.values()) if not holding.given_up]
        now = self._clock.monotonic()
        with anyio.move_on_after(self._patience(holdings, now)) as scope:
            await self._ask(holdings, now)
        if scope.cancelled_caught:
            logger.warning("could not renew leases: the store does not answer")
        for holding in holdings:
            if self.is_overdue(holding):
                holding.given_up = True
                holding.interrupt(Interrupt.LOST)

    def _patience(self, holdings: Sequence[Holding], now: float) -> float:
        """Give the seconds for which the store may be silent.

        They end just after the next lease may be another's. A lease that may be so already, since the process was
        frozen, gets the time of a look: it may be held still.
        """
        left = [holding.renewed_at + self._deadline - now for holding in holdings]
        return min((seconds + PAST_SECONDS if seconds >= 0 else self.interval for seconds in left), default=0.0)

    async def _ask(self, holdings: Sequence[Holding], now: float) -> None:
        due = [holding for holding in holdings if now - holding.renewed_at >= self._heartbeat]
        rest = [holding for holding in holdings if now - holding.renewed_at < self._heartbeat]
        try:
            if due:
                self._tell(due, await self._storage.heartbeat([holding.lease for holding in due]), renewed_at=now)
            if rest:
                self._tell(rest, await self._storage.watch([holding.lease for holding in rest]))
        except StorageError as error:
            logger.warning("could not renew %d leases: %s", len(due), error)

    def _tell(self, holdings: Sequence[Holding], beats: Sequence[Beat], renewed_at: float | None = None) -> None:
        for holding, beat in zip(holdings, beats, strict=True):
            if not beat.held:
                holding.interrupt(Interrupt.LOST)
                continue
            if renewed_at is not None and not beat.skipped:
                holding.renewed_at = max(holding.renewed_at, renewed_at)
            if beat.cancel_requested:
                holding.interrupt(Interrupt.CANCEL)


class Keeping(Protocol):
    """Steps a keeper for as long as its context is open."""

    def __enter__(self) -> object: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class KeeperThread:
    """Steps a keeper from a daemon thread, and watches the event loop of those whose leases it keeps."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._main, name="loopkit heartbeat", daemon=True)

    def __enter__(self) -> "KeeperThread":
        self._watch = LoopWatch()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def _main(self) -> None:
        while not self._over.wait(self._keeper.interval):
            try:
                anyio.run(self._keeper.step)
                self._watch.look(time.monotonic())
            except Exception:
                logger.exception("the heartbeat thread goes on after an unexpected error")
