"""Cancellation of one try of a stage, as its code sees it: from any thread, and without an event loop."""

import inspect
import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from loopkit.agents.stages.threads import THREADS

__all__ = ["Callback", "Cancellation"]

logger = logging.getLogger("loopkit.agents")

Callback = Callable[[], object]
"""Function without arguments; what it returns is dropped."""


class Cancellation:
    """State of one try: under way, returned, or cancelled; and the time that is left of it."""

    __slots__ = ("_branches", "_callbacks", "_ended", "_ends_at", "_is_cancelled", "_is_over", "_lock", "_next_try")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._is_over = False
        self._ends_at: float | None = None
        """Monotonic seconds at which the try times out."""
        self._callbacks: list[Callback] = []
        self._ended: threading.Event | None = None
        """Set at the end of the try; made for the thread that waits for the timeout."""
        self._next_try: Cancellation | None = None
        self._branches: list[Cancellation] = []

    @property
    def cancelled(self) -> bool:
        """True when the result of the try is not wanted any more."""
        return self._is_cancelled or (not self._is_over and self.seconds_left == 0)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the try times out, at least 0; None: it has no timeout."""
        return None if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    def limit(self, seconds: float | None) -> None:
        """Set the seconds that the try may take, from now on; None: no limit."""
        self._ends_at = None if seconds is None else time.monotonic() + seconds

    def on_cancel(self, callback: Callback) -> None:
        """Call ``callback`` in a thread once the try is cancelled, at once when it is, never when it returns before."""
        with self._lock:
            if not self._is_over:
                self._callbacks.append(callback)
                if self._ends_at is not None and self._ended is None:
                    self._ended = threading.Event()
                    THREADS.call(partial(self._wait_for_timeout, self._ended, self._ends_at))
                return
        if self._is_cancelled:
            THREADS.call(partial(_call, callback))

    def cancel(self) -> None:
        """Cancel this try and call its callbacks, unless it is over."""
        self._end(is_cancelled=True)

    def finish(self) -> None:
        """Note that the try has returned: its callbacks will not be called."""
        self._end(is_cancelled=False)

    def next_try(self) -> "Cancellation":
        """Return the state of the try after this one; :meth:`cancel_all` reaches it too."""
        self._next_try = Cancellation()
        return self._next_try

    def branch(self) -> "Cancellation":
        """Return the state of a call that is made within this try; :meth:`cancel_all` reaches it too."""
        branch = Cancellation()
        self._branches.append(branch)
        return branch

    def cancel_all(self) -> None:
        """Cancel this try, those that came after it, and their branches."""
        cancellation: Cancellation | None = self
        while cancellation is not None:
            cancellation.cancel()
            for branch in cancellation._branches:
                branch.cancel_all()
            cancellation = cancellation._next_try

    def _end(self, *, is_cancelled: bool) -> None:
        with self._lock:
            if self._is_over:
                return
            self._is_over, self._is_cancelled = True, is_cancelled
            callbacks, self._callbacks = self._callbacks, []
        if self._ended is not None:
            self._ended.set()
        if is_cancelled:
            for callback in callbacks:
                THREADS.call(partial(_call, callback))

    def _wait_for_timeout(self, ended: threading.Event, ends_at: float) -> None:
        if not ended.wait(max(0.0, ends_at - time.monotonic())):
            self.cancel()


def _call(callback: Callback) -> None:
    try:
        result = callback()
    except Exception:
        logger.warning("a callback of on_cancel failed", exc_info=True)
        return
    if inspect.iscoroutine(result):
        result.close()
        logger.warning("a callback of on_cancel is async and was not awaited; pass a sync callable")
