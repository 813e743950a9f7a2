"""One runner process of ``worker --processes``: it works runs until its supervisor says otherwise, and reports to it.

Supervisor and process share a pipe. Down go an :class:`Order` and then :class:`Step` values. Up go :class:`Report`
values, at most five a second, sent by a thread, so that neither a blocked event loop nor a supervisor that does not
read stops the other. When the pipe ends, the supervisor is gone, and the process stops as at a first signal.
"""

import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from functools import partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

import attrs

from loopkit.errors import LoopkitError, StorageUnavailable
from loopkit.runner import METRICS, Metrics, Runner, RunnerStatus, Stopping, spare_collector
from loopkit_cli import exits, output, streams
from loopkit_cli.logs import LogFormat, write_log_lines
from loopkit_cli.settings import Settings
from loopkit_cli.signals import HANDLED, Signals, signal_aware_environment

if TYPE_CHECKING:
    from loopkit import Agent
    from loopkit.storage import Storage

__all__ = ["Failure", "Order", "Report", "Step", "run_as_process"]

_REPORT_SECONDS: Final = 0.2
"""Time between two reports, and between two looks for a step."""

_MOST_LINES: Final = 10_000
"""Most log lines that wait for a supervisor that does not read; older ones are dropped."""


class Step(Enum):
    """Step of a stop, as of a first and a second signal."""

    STOP = "stop"
    END = "end"


@attrs.frozen(kw_only=True)
class Order:
    """Options of ``worker`` for one of its processes."""

    settings: Settings
    names: tuple[str, ...]
    """Agents whose runs are worked; none: all that can be loaded."""
    concurrency: int
    drain: bool
    log_level: str
    log_format: LogFormat

    def agents(self) -> "list[Agent]":
        """Load the agents that can be used; the supervisor has warned of the others."""
        known = self.settings.agents()
        return [agent for name, agent in known.items() if name in (self.names or known) and not agent.problems()]


@attrs.frozen(kw_only=True)
class Failure:
    """Error that ended a process."""

    sentence: str
    status: int
    """Exit status of the command for this error."""
    is_passing: bool
    """True when the next process may well do better: the database did not respond."""


@attrs.frozen(kw_only=True)
class Report:
    """State of a process, and what it has logged since the report before."""

    status: RunnerStatus
    metrics: Metrics
    lines: tuple[str, ...] = ()
    failure: Failure | None = None


def run_as_process(descriptor: int) -> None:
    """Work runs as the whole of this process, and exit with its status.

    The supervisor has blocked the signals, so that none ends the process before it handles them; they are unblocked
    before there is a second thread, or a program of a stage, that would inherit that.

    Args:
        descriptor: this process's end of the pipe.
    """
    stopping = Stopping()
    for number in HANDLED:
        signal.signal(number, lambda *_: stopping.ask())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
    connection = Connection(descriptor)
    try:
        order: Order = connection.recv()
    except EOFError:
        return
    with streams.standard_streams(), _reporting(connection, stopping) as reporter:
        status = _run(order, reporter)
    streams.leave_stdout_to_nobody()
    sys.exit(status)


def _run(order: Order, reporter: "_Reporter") -> int:
    try:
        with write_log_lines(order.log_level, order.log_format, write=reporter.add_lines):
            order.settings.in_store(partial(_work, order, order.agents(), reporter))
    except (LoopkitError, OSError, ExceptionGroup) as error:
        cause = exits.plain_error(error)
        if not isinstance(cause, LoopkitError | OSError):
            raise
        is_passing = isinstance(cause, StorageUnavailable)
        reporter.failure = Failure(sentence=str(cause), status=exits.of_error(cause), is_passing=is_passing)
        return reporter.failure.status
    return exits.DONE


async def _work(order: Order, agents: "list[Agent]", reporter: "_Reporter", store: "Storage") -> None:
    runner = Runner(
        store,
        agents,
        concurrency=order.concurrency,
        heartbeat=order.settings.heartbeat,
        stopping=reporter.stopping,
        environment=signal_aware_environment(),
    )
    reporter.status = runner.status
    spare_collector()
    with Signals(reporter.stopping, announce=None):
        await (runner.drain() if order.drain else runner.serve())


class _Reporter:
    """This process's end of the pipe."""

    def __init__(self, connection: Connection, stopping: Stopping) -> None:
        self.stopping = stopping
        self.status = RunnerStatus(slots=0)
        self.failure: Failure | None = None
        self._connection = connection
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._sent: RunnerStatus | None = None
        self._is_over = threading.Event()
        self._is_alone = False

    def add_lines(self, text: str) -> None:
        """Send log lines with the next report; without a supervisor they go to stderr."""
        if self._is_alone:
            output.note(text)
        else:
            self._lines.append(text)

    def report(self) -> None:
        """Send reports and receive steps until :meth:`finish`, or until the supervisor is gone."""
        try:
            while not self._is_over.is_set():
                if self._connection.poll(_REPORT_SECONDS):
                    self._apply(self._connection.recv())
                if self._lines or self.status != self._sent:
                    self._send()
            self._send()
        except (EOFError, OSError):
            self._is_alone = True
            self.stopping.ask()

    def finish(self) -> None:
        """End the reports with the next one."""
        self._is_over.set()

    def _apply(self, step: Step) -> None:
        if step is Step.STOP:
            self.stopping.ask()
        else:
            self.stopping.end()

    def _send(self) -> None:
        lines = tuple(self._lines.popleft() for _ in range(len(self._lines)))
        self._sent = attrs.evolve(self.status)
        self._connection.send(Report(status=self._sent, metrics=METRICS, lines=lines, failure=self.failure))


@contextmanager
def _reporting(connection: Connection, stopping: Stopping) -> Iterator[_Reporter]:
    """Report from a thread inside ``with``; what was reported last includes everything before the end."""
    reporter = _Reporter(connection, stopping)
    thread = threading.Thread(target=reporter.report, name="loopkit reports", daemon=True)
    thread.start()
    try:
        yield reporter
    finally:
        reporter.finish()
        thread.join()
