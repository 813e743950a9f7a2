"""Observation of the signals that stop a server, so that event streams end with it.

uvicorn, hypercorn, granian and gunicorn wait for open responses before they inform an app of their shutdown, and an
event stream has no end of its own. While streams are open, a handler of ours therefore stands before the server's: it
ends the streams and calls the server's handler, which decides as before what the signal does. That also works with
``loop.add_signal_handler``, which is notified by the interpreter and not by the handler. Signals that nobody handles in
Python are left alone, as is everything outside the main thread.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final
from weakref import WeakMethod

__all__ = ["StopSignals"]

_STOPPING: Final = (signal.SIGTERM, signal.SIGINT)


class _Handler:
    """Signal handler that calls ``notify`` and then the handler that it stands before."""

    def __init__(self, notify: Callable[[], None], before: Callable[[int, FrameType | None], object]) -> None:
        self.before: Final = before
        self._notify: Final = WeakMethod(notify)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        notify = self._notify()
        if notify is not None:
            notify()
        self.before(number, frame)

    def notifies(self, notify: Callable[[], None]) -> bool:
        """Return True if this handler, or one that it stands before, calls ``notify``."""
        return self._notify() == notify or (isinstance(self.before, _Handler) and self.before.notifies(notify))


class StopSignals:
    """Handlers that call a bound method at each signal to stop, before the server's own handlers."""

    def __init__(self, notify: Callable[[], None]) -> None:
        self._notify: Final = WeakMethod(notify)
        self._placed: Final[dict[int, _Handler]] = {}

    def observe(self) -> None:
        """Set the handlers, where the server has handlers and ours do not stand before them already."""
        notify = self._notify()
        if notify is None or threading.current_thread() is not threading.main_thread():
            return
        for number in _STOPPING:
            present = signal.getsignal(number)
            if callable(present) and not (isinstance(present, _Handler) and present.notifies(notify)):
                self._placed[number] = _Handler(notify, present)
                signal.signal(number, self._placed[number])

    def release(self) -> None:
        """Remove the handlers; one that another handler was set over stays, and is used again."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, handler in self._placed.items():
            present: object = signal.getsignal(number)
            if present is handler:
                signal.signal(number, handler.before)
        self._placed.clear()
