"""SIGINT and SIGTERM for the commands that work runs: the first asks for a stop, the second ends what is under way.

The handlers are plain ones, so they work even while a stage blocks the event loop; only what they say goes through it.
"""

import os
import signal
import threading
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Final

from loopkit.agents.calling import call
from loopkit.eventloop import EventLoop
from loopkit.runner import Environment, Stopping
from loopkit_cli.exits import of_signal
from loopkit_cli.output import note

HANDLED: Final = (signal.SIGINT, signal.SIGTERM)

PATIENCE_SECONDS: Final = 3.0
"""After the second signal the process is gone by then, even if a stage will not end."""


def surroundings() -> Environment:
    """Give the runner's surroundings where signals are handled here: a KeyboardInterrupt is then a stage's own."""
    return Environment(call=partial(call, passing=()))


class Signals:
    """Inside ``with``, in a running event loop, signals speak to ``stopping``; the handlers before come back after."""

    def __init__(self, stopping: Stopping, *, waiting_for: str) -> None:
        self.first: int | None = None
        """The signal that asked for the stop."""
        self._stopping = stopping
        self._waiting_for = waiting_for
        self._count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        self._loop = EventLoop()
        self._before = {number: signal.signal(number, self._received) for number in HANDLED}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _received(self, number: int, _: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            self.first = number
            self._loop.call_soon(self._ask, number)
        elif self._count == 2:
            self._loop.call_soon(self._end)
            timer = threading.Timer(PATIENCE_SECONDS, os._exit, [of_signal(number)])
            timer.daemon = True
            timer.start()
        else:
            os._exit(of_signal(number))

    def _ask(self, number: int) -> None:
        note(f"{signal.Signals(number).name}: {self._waiting_for}; once more to end at once")
        self._stopping.ask()

    def _end(self) -> None:
        note("ending at once")
        self._stopping.end()
