"""SIGINT and SIGTERM for the commands that work runs: the first requests a stop, the second ends the stages.

The handlers are plain signal handlers, so they work while a stage blocks the event loop; only their messages need it.
"""

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Final

from loopkit.agents.stage_call import call_stage
from loopkit.eventloop import EventLoop
from loopkit.runner import Environment, Stopping
from loopkit_cli.exits import of_signal
from loopkit_cli.output import note

HANDLED: Final = (signal.SIGINT, signal.SIGTERM)

RUNS_GO_BACK: Final = "no new runs; those under way go back to the queue when their stages are finished"
"""End of the sentence after the first signal to a worker."""

PATIENCE_SECONDS: Final = 3.0
"""Seconds after the second signal at which the process exits, even if a stage does not end."""


def signal_aware_environment() -> Environment:
    """Return the environment of a runner beside these handlers: a KeyboardInterrupt is then an error of a stage."""
    return Environment(call_stage=partial(call_stage, passing=()))


def request_sentence(number: int, waiting_for: str) -> str:
    """Return what to write after the first signal."""
    return f"{signal.Signals(number).name}: {waiting_for}; send it again to end at once"


class Signals:
    """Context manager that turns signals into stop requests; the previous handlers are restored on exit.

    Args:
        stopping: what is requested to stop.
        waiting_for: what is waited for after the first signal, for people.
        announce: writes one line for each signal; None: nothing is written, since another process does.
    """

    def __init__(
        self, stopping: Stopping, *, waiting_for: str = RUNS_GO_BACK, announce: Callable[[str], None] | None = note
    ) -> None:
        self.first: int | None = None
        """Number of the signal that requested the stop."""
        self._stopping = stopping
        self._waiting_for = waiting_for
        self._announce = announce
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
        if self._announce is not None:
            self._announce(request_sentence(number, self._waiting_for))
        self._stopping.ask()

    def _end(self) -> None:
        if self._announce is not None:
            self._announce("ending at once")
        self._stopping.end()
