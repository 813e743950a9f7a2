"""Supervisor of the runner processes of ``worker --processes``: it starts them, adds up what they report, and stops
them.

Processes are spawned, not forked, and share nothing: claims skip rows that another one has locked. One that dies is
replaced, after a pause that grows while its successors die soon as well; its runs are taken over when they are stalled,
as those of any runner that is gone. An error that would end a worker of one process ends all of them, with its status.
"""

import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from time import monotonic
from types import FrameType
from typing import Final

import attrs

from loopkit.runner import Metrics, RunnerStatus
from loopkit_cli import exits
from loopkit_cli.output import note
from loopkit_cli.runner_process import Failure, Order, Report, Step
from loopkit_cli.signals import HANDLED, PATIENCE_SECONDS, RUNS_GO_BACK, request_sentence

__all__ = ["Supervisor"]

logger = logging.getLogger("loopkit_cli")

TURN_SECONDS: Final = 0.2
"""Longest time after which a signal, or the end of a pause, is seen."""

PAUSE_SECONDS: Final = (0.5, 30.0)
"""First and longest pause before a process that died is replaced."""

LONG_LIFE_SECONDS: Final = 60.0
"""Time after which the death of a process no longer counts as one in a row."""

_LAST_REPORT_SECONDS: Final = 5.0
"""Longest time for the last report of a process that has ended; programs that it left may keep its pipe open."""

_PROGRAM: Final = """\
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from loopkit_cli.runner_process import run_as_process
run_as_process(int(sys.argv[1]))
"""


class Supervisor:
    """Runner processes of one worker, all with the same order.

    Args:
        order: what each process does.
        count: number of processes, >= 1.
        write: writes log lines of the processes; called from threads.
    """

    def __init__(self, order: Order, count: int, *, write: Callable[[str], None]) -> None:
        self._order = order
        self._places = [_Place() for _ in range(count)]
        self._write = write
        self._has_news = threading.Event()
        """Set when a process may have ended."""
        self._counts = threading.Lock()
        """Held while the counts of a process become those of one that has ended."""
        self._before = RunnerStatus(slots=0)
        """Counts of the processes that have ended."""
        self._metrics_before = Metrics()
        self._signals: list[int] = []
        self._step: Step | None = None
        self._kills_at = float("inf")
        self.failure: Failure | None = None
        """Error that ended the work."""

    @property
    def is_stopped(self) -> bool:
        """True when the work was stopped before it was done."""
        return self._step is not None

    @property
    def status(self) -> RunnerStatus:
        """Counts of all processes together."""
        with self._counts:
            counts = _sum_of([self._before, *(process.status for process in self._processes())])
        return attrs.evolve(counts, slots=self._order.concurrency * len(self._places))

    def metrics(self) -> Metrics:
        """Return what all processes have counted, also those that have ended."""
        metrics = Metrics()
        with self._counts:
            for counted in (self._metrics_before, *(process.metrics for process in self._processes())):
                metrics.add(counted)
        return metrics

    def run(self) -> int:
        """Run the processes until all are done, and return the exit status."""
        handlers = {number: signal.signal(number, self._receive) for number in HANDLED}
        try:
            while not all(place.is_done for place in self._places):
                self._start_what_is_due()
                self._has_news.wait(TURN_SECONDS)
                self._has_news.clear()
                for place in self._places:
                    if place.process is not None and (status := place.process.poll()) is not None:
                        self._replace(place, place.process, status)
                self._apply_signals()
                if monotonic() >= self._kills_at:
                    return exits.of_signal(self._signals[-1])
            return exits.DONE if self.failure is None else self.failure.status
        finally:
            for process in self._processes():
                process.kill()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _processes(self) -> "list[_Process]":
        return [place.process for place in self._places if place.process is not None]

    def _start_what_is_due(self) -> None:
        for place in self._places:
            if place.process is None and not place.is_done and monotonic() >= place.starts_at:
                place.process = _Process(self._order, self._write, self._has_news)

    def _replace(self, place: "_Place", process: "_Process", status: int) -> None:
        """Count what a process that ended has done, and decide whether another one takes its place."""
        process.join()
        with self._counts:
            place.process = None
            self._before = _sum_of([self._before, attrs.evolve(process.status, busy=0)])
            self._metrics_before.add(process.metrics)
        failure = process.failure
        if self._step is not None or (self._order.drain and status == exits.DONE):
            place.is_done = True
        elif failure is not None and (self._order.drain or not failure.is_passing):
            self.failure = failure
            place.is_done = True
            self._request(Step.STOP)
        else:
            cause = _cause(status) if failure is None else failure.sentence
            pause = place.schedule(lived=monotonic() - process.started_at)
            logger.warning("runner process %d ended (%s); starting another one in %.1f s", process.pid, cause, pause)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    def _apply_signals(self) -> None:
        count = len(self._signals)
        if count >= 1 and self._step is None:
            note(request_sentence(self._signals[0], RUNS_GO_BACK))
            self._request(Step.STOP)
        if count >= 2 and self._step is Step.STOP:
            note("ending at once")
            self._request(Step.END)
            self._kills_at = monotonic() + PATIENCE_SECONDS
        if count >= 3:
            self._kills_at = 0.0

    def _request(self, step: Step) -> None:
        self._step = step
        for place in self._places:
            if place.process is None:
                place.is_done = True
            else:
                place.process.request(step)


@attrs.define(eq=False)
class _Place:
    """Place of one process and its successors."""

    process: "_Process | None" = None
    is_done: bool = False
    """True when no other process takes the place."""
    starts_at: float = 0.0
    """Monotonic seconds from which on the next process may start."""
    _pause: float = PAUSE_SECONDS[0]

    def schedule(self, *, lived: float) -> float:
        """Set the time of the next start after a process lived for some seconds; return the pause until then."""
        if lived >= LONG_LIFE_SECONDS:
            self._pause = PAUSE_SECONDS[0]
        pause = self._pause
        self.starts_at = monotonic() + pause
        self._pause = min(2 * pause, PAUSE_SECONDS[1])
        return pause


class _Process:
    """One runner process, with what it has reported last."""

    def __init__(self, order: Order, write: Callable[[str], None], has_news: threading.Event) -> None:
        self.status = RunnerStatus(slots=0)
        self.metrics = Metrics()
        self.failure: Failure | None = None
        self.started_at = monotonic()
        self._write = write
        self._has_news = has_news
        self._connection, self._handle = _spawn(order)
        self.pid = self._handle.pid
        self._reader = threading.Thread(target=self._read, name=f"loopkit process {self.pid}", daemon=True)
        self._reader.start()

    def poll(self) -> int | None:
        """Return the exit status, -N after signal N; None while the process runs."""
        return self._handle.poll()

    def request(self, step: Step) -> None:
        """Send a step; a process that is gone gets none."""
        with suppress(OSError):
            self._connection.send(step)

    def kill(self) -> None:
        """Kill the process and wait for its end."""
        self._handle.kill()
        self._handle.wait()

    def join(self) -> None:
        """Wait for the last report of a process that has ended."""
        self._reader.join(_LAST_REPORT_SECONDS)
        self._connection.close()

    def _read(self) -> None:
        """Receive reports until the pipe ends."""
        with suppress(EOFError, OSError):
            while True:
                report: Report = self._connection.recv()
                self.status, self.metrics, self.failure = report.status, report.metrics, report.failure
                for line in report.lines:
                    self._write(line)
        self._has_news.set()


def _spawn(order: Order) -> "tuple[Connection, subprocess.Popen[bytes]]":
    """Start a process with a pipe to this one, on the same import path, the signals blocked."""
    connection, other = Pipe()
    program = [sys.executable, "-P", "-c", _PROGRAM, str(other.fileno()), json.dumps(sys.path)]
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        handle = subprocess.Popen(program, pass_fds=[other.fileno()])
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        other.close()
    with suppress(OSError):
        connection.send(order)
    return connection, handle


def _sum_of(statuses: Iterable[RunnerStatus]) -> RunnerStatus:
    total = RunnerStatus(slots=0)
    for status in statuses:
        for field in attrs.fields(RunnerStatus):
            setattr(total, field.name, getattr(total, field.name) + getattr(status, field.name))
    return total


def _cause(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"
