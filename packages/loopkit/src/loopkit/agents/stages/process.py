"""Program run under a guard, which ends it and everything that it started (``process_guard``).

That happens in every case: when the program has ended (with what it left in the background), when it is stopped, and
when its runner is gone. No shell reads the command.
"""

import math
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Final

import attrs

from loopkit.agents.stages import process_guard
from loopkit.errors import StageFailed

__all__ = ["MAX_LINE_BYTES", "Program"]

LINGER_SECONDS: Final = 0.5
"""Time for which output is still read when the program has ended: a process of another user may hold the pipe open."""

MAX_LINE_BYTES: Final = 8 * 1024

_CHUNK_BYTES: Final = 1 << 16

_LIBRARY_PATHS: Final = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Variables that an interpreter may need to start."""


@attrs.define(eq=False, kw_only=True)
class Program:
    """One run of a program. It runs in a thread of its own and may be stopped from any other."""

    argv: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    input: bytes
    on_line: Callable[[str], None]
    """Called with each line of stderr, without its end; a line is cut to ``MAX_LINE_BYTES`` + 1."""
    on_output: Callable[[bytes], None]
    """Called with what the program writes to stdout, part by part."""
    grace_seconds: float
    """Time between SIGTERM, which asks a program to end, and SIGKILL."""
    returncode: int | None = attrs.field(default=None, init=False)
    """Exit status; negative: the number of the signal that ended the program."""
    asked_terminal: bool = attrs.field(default=False, init=False)
    """True when the program was ended because the terminal had stopped it."""
    last_line: str = attrs.field(default="", init=False)
    """Last line of stderr that is not blank."""
    _pid: int | None = attrs.field(default=None, init=False)
    _ended_at: float | None = attrs.field(default=None, init=False)
    """Time when the guard had ended the program, or was gone itself."""
    _is_unguarded: bool = attrs.field(default=False, init=False)
    """True when the guard was gone before the program."""
    _is_stopped: bool = attrs.field(default=False, init=False)
    _control: socket.socket | None = attrs.field(default=None, init=False)
    """Connection to the guard, while there is one."""
    _control_lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def stop(self) -> None:
        """Make the program end soon, by SIGTERM and then SIGKILL; its further log lines are dropped."""
        with self._control_lock:
            self._is_stopped = True
            if self._control is not None:
                _send(self._control, process_guard.TERMINATE)

    def run(self) -> None:
        """Run the program to its end. What ``on_output`` raises ends it at once.

        Raises:
            StageFailed: it cannot be started.
        """
        request = process_guard.pack_request(self.argv, list(self.env.items()), str(self.folder), self.grace_seconds)
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                guard = _start_guard(theirs)
            _send(ours, request)
            self._open_control(ours)
            try:
                self._communicate(guard, ours)
            finally:
                self._close_control()
                _end_guard(guard, ours)

    def _open_control(self, control: socket.socket) -> None:
        with self._control_lock:
            self._control = control
            if self._is_stopped:
                _send(control, process_guard.TERMINATE)

    def _close_control(self) -> None:
        with self._control_lock:
            self._control = None

    def _communicate(self, guard: "subprocess.Popen[bytes]", control: socket.socket) -> None:
        """Write the program's input and read its output, until the guard answers that it has ended."""
        with selectors.DefaultSelector() as selector:
            selector.register(control, selectors.EVENT_READ, (None, self._answer_reader()))
            _watch(selector, guard.stdin, selectors.EVENT_WRITE, _input_writer(self.input))
            _watch(selector, guard.stdout, selectors.EVENT_READ, _output_reader(self._handle_output))
            _watch(selector, guard.stderr, selectors.EVENT_READ, _line_reader(self._handle_line))
            while selector.get_map() and (seconds := self._seconds_left()) > 0:
                _serve_pipes(selector, None if seconds == math.inf else seconds)
        if self._is_unguarded:
            raise StageFailed(f"the guard of the program ended too early: {self.last_line or 'it gave no reason'}")

    def _seconds_left(self) -> float:
        """Return how long output is still read."""
        return math.inf if self._ended_at is None else self._ended_at + LINGER_SECONDS - time.monotonic()

    def _answer_reader(self) -> "_Handler":
        read_lines = _line_reader(self._handle_answer)

        def read(fd: int) -> bool:
            goes_on = read_lines(fd)
            if not goes_on and self._ended_at is None:
                self._ended_at, self._is_unguarded = time.monotonic(), True
                _kill_group(self._pid)
            return goes_on

        return read

    def _handle_answer(self, line: bytes) -> None:
        """Take note of an answer of the guard.

        Raises:
            StageFailed: the program cannot be started.
        """
        word, _, value = line.decode().partition(" ")
        if word == process_guard.NOT_STARTED:
            self._ended_at = time.monotonic()
            raise StageFailed(f"cannot start {self.argv[0]}: {os.strerror(int(value))}")
        if word == process_guard.STARTED:
            self._pid = int(value)
        elif word == process_guard.TERMINAL:
            self.asked_terminal = True
        elif word == process_guard.ENDED:
            self._ended_at = time.monotonic()
            self.returncode = int(value) if value else None

    def _handle_output(self, data: bytes) -> None:
        if not self._is_stopped:
            self.on_output(data)

    def _handle_line(self, line: bytes) -> None:
        text = line[: MAX_LINE_BYTES + 1].decode(errors="replace").removesuffix("\r")
        self.last_line = text if text.strip() else self.last_line
        if not self._is_stopped:
            self.on_line(text)


def _start_guard(control: socket.socket) -> "subprocess.Popen[bytes]":
    """Start the guard of one program, with the pipes that the program will have.

    Raises:
        StageFailed: it cannot be started.
    """
    descriptor = control.fileno()
    try:
        return subprocess.Popen(
            [_interpreter(), "-I", "-S", process_guard.__file__, str(descriptor)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            env={name: os.environ[name] for name in _LIBRARY_PATHS if name in os.environ},
            pass_fds=[descriptor],
            process_group=0,
        )
    except OSError as error:
        raise StageFailed(f"cannot start the guard of the program: {error.strerror}") from error


@cache
def _interpreter() -> str:
    """Return a Python interpreter; ``sys.executable`` is another program where Python is embedded, as in uWSGI.

    Raises:
        StageFailed: there is none.
    """
    for path in (sys.executable, f"{sys.base_exec_prefix}/bin/python3", shutil.which("python3")):
        if path and Path(path).name.startswith(("python", "pypy")) and os.access(path, os.X_OK):
            return path
    raise StageFailed("a command needs a Python interpreter to guard it: put a folder with python3 on the PATH")


def _end_guard(guard: "subprocess.Popen[bytes]", control: socket.socket) -> None:
    """Make the guard kill what is left of its program, and wait within bounds until it has ended."""
    _send(control, process_guard.KILL)
    for pipe in (guard.stdin, guard.stdout, guard.stderr):
        assert pipe is not None
        pipe.close()
    with suppress(subprocess.TimeoutExpired):
        guard.wait(2 * process_guard.SHUTDOWN_SECONDS)


def _send(control: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # the guard has ended
        control.sendall(data)


def _kill_group(pid: int | None) -> None:
    """Kill the group of a program whose guard is gone."""
    if pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


_Handler = Callable[[int], bool]
"""Function that reads or writes a pipe that is ready; it returns False when the pipe is no longer needed."""


def _watch(selector: selectors.BaseSelector, pipe: IO[bytes] | None, event: int, handler: _Handler) -> None:
    assert pipe is not None
    os.set_blocking(pipe.fileno(), False)
    selector.register(pipe, event, (pipe, handler))


def _serve_pipes(selector: selectors.BaseSelector, seconds: float | None) -> None:
    """Read and write what is ready, or gets ready within some seconds."""
    for key, _ in selector.select(seconds):
        pipe, handler = key.data
        if not handler(key.fd):
            selector.unregister(key.fileobj)
            if pipe is not None:
                pipe.close()


def _input_writer(data: bytes) -> _Handler:
    rest = memoryview(data)

    def write(fd: int) -> bool:
        nonlocal rest
        try:
            rest = rest[os.write(fd, rest[:_CHUNK_BYTES]) :]
        except BrokenPipeError:  # a program need not read its input
            return False
        return bool(rest)

    return write


def _output_reader(on_output: Callable[[bytes], None]) -> _Handler:
    def read(fd: int) -> bool:
        data = os.read(fd, _CHUNK_BYTES)
        on_output(data)
        return bool(data)

    return read


def _line_reader(on_line: Callable[[bytes], None]) -> _Handler:
    rest = b""

    def read(fd: int) -> bool:
        nonlocal rest
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except ConnectionResetError:  # a socket whose other end is gone
            data = b""
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[: MAX_LINE_BYTES + 1]
        if not data and rest:
            lines.append(rest)
        for line in lines:
            on_line(line)
        return bool(data)

    return read
