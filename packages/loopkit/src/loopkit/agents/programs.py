"""Running a program so that nothing of it is left behind.

A program runs in a process group whose leader is a small guard. The guard waits for the other end of a pipe to be
closed, which the kernel does however this process dies, and then ends the group. So the group is killed in every
case: when the program has ended (with what it left in the background), when it is told to stop, and when its runner
is gone. Only a process that leaves the group, by ``setsid``, escapes. Nothing goes through a shell but the guard's
own fixed line.
"""

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import attrs

from loopkit.errors import BadOutput, StageFailed

__all__ = ["MAX_LINE_BYTES", "Program"]

GRACE_SECONDS: Final = 1.0
"""Between the signal that asks a program to end and the one that ends it."""

LINGER_SECONDS: Final = 0.5
"""How long output is still read after the group is dead: who has left the group may hold the pipe."""

MAX_LINE_BYTES: Final = 8 * 1024

_LOOK_SECONDS: Final = 0.05
"""How soon it is noticed that the program has ended while others hold its output, or that it is to stop."""

_CHUNK_BYTES: Final = 1 << 16

_GUARD: Final = ("/bin/sh", "-c", 'trap "" HUP INT QUIT TERM; read x; kill -TERM 0; sleep 1; kill -KILL 0')


@attrs.define(eq=False, kw_only=True)
class Program:
    """One run of a program. Made anywhere, run in a thread of its own, told to stop from any other."""

    argv: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    input: bytes
    on_line: Callable[[str], None]
    """Gets each line of stderr, without its end; of a longer one ``MAX_LINE_BYTES`` and one more."""
    max_output_bytes: int
    returncode: int | None = attrs.field(default=None, init=False)
    """Negative: the number of the signal that ended it."""
    last_line: str = attrs.field(default="", init=False)
    """The last line of stderr that is not blank."""
    _stop: threading.Event = attrs.field(factory=threading.Event, init=False)

    def stop(self) -> None:
        """Have the program end soon, on its own or not; what it still says is dropped."""
        self._stop.set()

    def run(self) -> bytes:
        """Run the program to its end and give what it wrote on stdout.

        Raises:
            BadOutput: it wrote more than ``max_output_bytes``.
            StageFailed: it cannot be started.
        """
        with ExitStack() as after, _group() as group:
            process = self._start(group)
            after.callback(_forget, process)
            return self._converse(process, group)

    def _start(self, group: int) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd=self.folder,
                env=self.env,
                process_group=group,
            )
        except OSError as error:
            raise StageFailed(f"cannot start {self.argv[0]}: {error.strerror}") from error

    def _converse(self, process: "subprocess.Popen[bytes]", group: int) -> bytes:
        """Feed the program, read what it says, and end it when it is time."""
        output = bytearray()
        ending = _Ending(group)
        with selectors.DefaultSelector() as selector:
            _watch(selector, process.stdin, selectors.EVENT_WRITE, _feeding(self.input))
            _watch(selector, process.stdout, selectors.EVENT_READ, _collecting(output, self.max_output_bytes))
            _watch(selector, process.stderr, selectors.EVENT_READ, _splitting(self._line))
            while process.poll() is None or (selector.get_map() and not ending.is_over):
                _serve(selector, process)
                if process.poll() is not None:
                    ending.kill()
                elif self._stop.is_set():
                    ending.ask()
                if ending.is_over:
                    break
        self.returncode = process.poll()
        return bytes(output)

    def _line(self, line: bytes) -> None:
        text = line[: MAX_LINE_BYTES + 1].decode(errors="replace").removesuffix("\r")
        self.last_line = text if text.strip() else self.last_line
        if not self._stop.is_set():
            self.on_line(text)


class _Ending:
    """The end of a group: asked first, then killed."""

    def __init__(self, group: int) -> None:
        self._group = group
        self._asked_at: float | None = None
        self._killed_at: float | None = None

    def ask(self) -> None:
        """Ask the group to end; kill it when it was asked long enough ago."""
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            _signal(self._group, signal.SIGTERM)
        elif now - self._asked_at >= GRACE_SECONDS:
            self.kill()

    def kill(self) -> None:
        if self._killed_at is None:
            self._killed_at = time.monotonic()
            _signal(self._group, signal.SIGKILL)

    @property
    def is_over(self) -> bool:
        """True when nothing more is worth waiting for."""
        return self._killed_at is not None and time.monotonic() - self._killed_at >= LINGER_SECONDS


@contextmanager
def _group() -> Iterator[int]:
    """Make a process group that dies when this context is left, or this process ends, whichever comes first."""
    guard = subprocess.Popen(
        _GUARD,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        process_group=0,
    )
    assert guard.stdin is not None
    try:
        yield guard.pid
    finally:
        # The number of the group is nobody else's until its leader, the guard, has been waited for.
        _signal(guard.pid, signal.SIGKILL)
        guard.wait()
        guard.stdin.close()


def _forget(process: "subprocess.Popen[bytes]") -> None:
    """Close the pipes of a process whose group is dead, and let go of it."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()
    with suppress(subprocess.TimeoutExpired):  # the kernel holds on to it
        process.wait(LINGER_SECONDS)


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # nobody is left in it
        os.killpg(group, number)


# --- Pipes -------------------------------------------------------------------------------------------------------

_Handler = Callable[[int], bool]
"""Serves a pipe that is ready; False when there is nothing more to do with it."""


def _watch(selector: selectors.BaseSelector, pipe: IO[bytes] | None, event: int, handler: _Handler) -> None:
    assert pipe is not None
    os.set_blocking(pipe.fileno(), False)
    selector.register(pipe, event, (pipe, handler))


def _serve(selector: selectors.BaseSelector, process: "subprocess.Popen[bytes]") -> None:
    """Serve the pipes that are ready, or wait a moment for the process."""
    if not selector.get_map():
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK_SECONDS)
        return
    for key, _ in selector.select(_LOOK_SECONDS):
        pipe, handler = key.data
        if not handler(key.fd):
            selector.unregister(pipe)
            pipe.close()


def _feeding(data: bytes) -> _Handler:
    rest = memoryview(data)

    def feed(fd: int) -> bool:
        nonlocal rest
        try:
            rest = rest[os.write(fd, rest[:_CHUNK_BYTES]) :]
        except BrokenPipeError:  # a program need not read what it is told
            return False
        return bool(rest)

    return feed


def _collecting(output: bytearray, most: int) -> _Handler:
    def collect(fd: int) -> bool:
        data = os.read(fd, _CHUNK_BYTES)
        output.extend(data)
        if len(output) > most:
            raise BadOutput(f"invalid output: is larger than {most} bytes")
        return bool(data)

    return collect


def _splitting(on_line: Callable[[bytes], None]) -> _Handler:
    rest = b""

    def split(fd: int) -> bool:
        nonlocal rest
        data = os.read(fd, _CHUNK_BYTES)
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[: MAX_LINE_BYTES + 1]
        if not data and rest:
            lines.append(rest)
        for line in lines:
            on_line(line)
        return bool(data)

    return split
