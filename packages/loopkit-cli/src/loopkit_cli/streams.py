"""Standard streams of the process, whatever state they were handed over in.

A daemon, cron or a service manager may start a program with streams closed, and a log may stop taking what is written
to it. Neither may stop the work: a descriptor that is closed is opened on /dev/null, so that no file of ours, such as
the database, gets its number, and what stderr does not take is dropped.
"""

import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["discard_stdout", "leave_stdout_to_nobody", "standard_streams", "stdin_closed_to_stages"]

_FULL_PIPE_SECONDS: Final = 1.0
"""Time for which a reader of stderr that does not read is waited for; then what is written is dropped."""


@contextmanager
def standard_streams() -> Iterator[None]:
    """Keep all three descriptors open and stderr from raising inside ``with``; a closed stdin is None in ``sys``."""
    before = sys.stdin, sys.stdout, sys.stderr
    _open_missing_descriptors()
    # Python itself sets a stream to None whose descriptor was closed when it started.
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = io.TextIOWrapper(
        _LossyFile(2), encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=True
    )
    try:
        yield
    finally:
        sys.stdin, sys.stdout, sys.stderr = before


@contextmanager
def stdin_closed_to_stages() -> Iterator[None]:
    """Prevent reads from stdin inside ``with``: a background process that reads from its terminal is stopped."""
    real = os.dup(0)
    _redirect_to_null(0)
    try:
        yield
    finally:
        os.dup2(real, 0)
        os.close(real)


def discard_stdout() -> None:
    """Drop what was not written to stdout, and what will be: its reader is gone, or its disk is full."""
    _redirect_to_null(1)
    with suppress(OSError):
        sys.stdout.flush()


def leave_stdout_to_nobody() -> None:
    """Redirect stdout to stderr for the rest of the process, which may still print as it ends (``atexit``)."""
    if sys.stdout is not None:
        with suppress(OSError):
            sys.stdout.flush()
    with suppress(OSError):
        os.dup2(2, 1)


def _open_missing_descriptors() -> None:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _redirect_to_null(number)


def _redirect_to_null(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)


class _LossyFile(io.RawIOBase):
    """File descriptor for messages: what it does not take is dropped, and nothing raises."""

    def __init__(self, number: int) -> None:
        self._number = number

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def write(self, data: "ReadableBuffer", /) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self._is_ready():
                rest = rest[self._write_some(rest) :]
        except OSError:
            pass
        return size

    def _write_some(self, data: memoryview) -> int:
        try:
            return os.write(self._number, data)
        except BlockingIOError:
            return 0

    def _is_ready(self) -> bool:
        """Wait until something can be written; False when it takes too long."""
        poll = select.poll()
        poll.register(self._number, select.POLLOUT)
        return bool(poll.poll(_FULL_PIPE_SECONDS * 1000))
