"""Guard of a program: a small process that starts the program, and ends everything that the program started.

The runner executes this file as a program of its own, so it imports nothing of loopkit. On Linux the guard adopts every
process below it whose parent ends (``PR_SET_CHILD_SUBREAPER``), so none can leave its tree: not by ``setsid``, not by a
group of its own, not by a double fork, and not with an environment that was cleared. When the program has ended, is
stopped, or its runner is gone, the guard kills the tree until it has no child left. Elsewhere it kills the program's
process group; a process that leaves the group escapes.

The runner sends a request over a socket, then at most one byte: ``TERMINATE`` (SIGTERM, and SIGKILL after the grace
time) or ``KILL``. The end of the socket, which the kernel brings about however the runner dies, means ``TERMINATE``.
The guard answers with one line of those below for each thing that happens.
"""

import marshal
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

TERMINATE = b"T"
KILL = b"K"

STARTED = "started"
"""Answer: the program runs; its process id follows."""
NOT_STARTED = "not-started"
"""Answer, the last one: the program cannot be started; the number of the operating system's error follows."""
TERMINAL = "terminal"
"""Answer: the program is ended because the terminal had stopped it."""
ENDED = "ended"
"""Answer, the last one: the exit status of the program follows; negative: the number of the signal that ended it;
nothing: it cannot be ended."""

SHUTDOWN_SECONDS = 10.0
"""Longest time in which a process must be gone that was killed; the kernel may not let it end."""

_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
_SET_CHILD_SUBREAPER = 36  # prctl(2)


def pack_request(argv: Sequence[str], env: Sequence[tuple[str, str]], folder: str, grace_seconds: float) -> bytes:
    """Return the request to start a program: the length of the rest in 8 bytes, and its parts."""
    arguments = [os.fsencode(part) for part in argv]
    variables = [(os.fsencode(name), os.fsencode(value)) for name, value in env]
    body = marshal.dumps((arguments, variables, os.fsencode(folder), grace_seconds))
    return len(body).to_bytes(8, "big") + body


class Guard:
    """One program and the processes below it."""

    def __init__(self, control: int) -> None:
        self._control = control
        self._program = 0
        self._exit_status: int | None = None
        self._kill_at: float | None = None
        """Time of SIGKILL, once the program was asked to end."""

    def run(self) -> None:
        """Start the program that the runner asks for, wait for its end, and end everything that it started."""
        wakeup, default_signals = _catch_signals()
        is_subreaper = _adopt_orphans()
        argv, env, folder, grace = marshal.loads(self._read(int.from_bytes(self._read(8), "big")))
        try:
            os.chdir(folder)
            self._program = _spawn(argv, dict(env), default_signals)
        except OSError as error:
            self._answer(NOT_STARTED, error.errno)
            return
        os.chdir("/")
        _close_standard_streams()
        self._answer(STARTED, self._program)
        self._wait_for_end(wakeup, grace)
        if is_subreaper:
            self._kill_tree(wakeup)
        else:
            self._kill_group()
        self._answer(ENDED, "" if self._exit_status is None else self._exit_status)

    def _wait_for_end(self, wakeup: int, grace: float) -> None:
        """Return when the program has ended or everything is to be killed."""
        watched = [self._control, wakeup]
        while not self._reap():
            seconds = None if self._kill_at is None else self._kill_at - time.monotonic()
            if seconds is not None and seconds <= 0:
                return
            ready, _, _ = select.select(watched, [], [], seconds)
            if wakeup in ready:
                os.read(wakeup, 4096)
            if self._control in ready:
                command = _read_some(self._control, 1)
                if command == KILL:
                    return
                if not command:
                    watched.remove(self._control)
                if self._kill_at is None:
                    self._kill_at = time.monotonic() + grace
                    self._terminate()

    def _reap(self) -> bool:
        """Take note of the children that have ended; return True when the program has, or the terminal stopped it."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return self._exit_status is not None
            if pid == 0:
                return self._exit_status is not None
            if pid != self._program or self._exit_status is not None:
                continue  # an orphan that was adopted
            if not os.WIFSTOPPED(status):
                self._exit_status = os.waitstatus_to_exitcode(status)
            elif os.WSTOPSIG(status) in (signal.SIGTTIN, signal.SIGTTOU):
                # The terminal stops a group in its background that reads from it or changes it, for ever. Other stops,
                # such as SIGSTOP from a debugger, are left alone.
                self._answer(TERMINAL)
                return True

    def _terminate(self) -> None:
        """Ask the program's group to end, and continue it where it was stopped, so that it can."""
        for number in (signal.SIGTERM, signal.SIGCONT):
            with suppress(OSError):
                os.killpg(self._program, number)

    def _kill_tree(self, wakeup: int) -> None:
        """Kill every process below this one until none is left that may be killed."""
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        while time.monotonic() < deadline:
            self._reap()
            if _has_no_child():
                return
            killed = [_kill(pid) for pid in _descendants(os.getpid())]
            if not any(killed):
                return
            if select.select([wakeup], [], [], 0.05)[0]:
                os.read(wakeup, 4096)

    def _kill_group(self) -> None:
        """Kill the program's group, and wait for the program."""
        with suppress(OSError):
            os.killpg(self._program, signal.SIGKILL)
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        while not self._reap() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _answer(self, word: str, value: object = "") -> None:
        with suppress(OSError):  # the runner is gone
            os.write(self._control, f"{word} {value}\n".encode())

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = _read_some(self._control, size - len(data))
            if not part:
                raise SystemExit  # the runner is gone before it asked for anything
            data += part
        return data


def _read_some(fd: int, size: int) -> bytes:
    try:
        return os.read(fd, size)
    except ConnectionError:
        return b""


def _catch_signals() -> tuple[int, list[int]]:
    """Ignore the signals that ask to end, and make SIGCHLD readable.

    Returns:
        A descriptor that is readable after SIGCHLD, and the signals that the program must not find ignored.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _IGNORED}
    defaults: list[int] = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    return reader, [*defaults, signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores the last two


def _adopt_orphans() -> bool:
    """Become the parent of every process below this one whose own parent ends, where the system has that."""
    if sys.platform != "linux" or not os.path.exists("/proc/self/stat"):  # noqa: PTH110  (pathlib is slow to import)
        return False
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, OSError, AttributeError):
        return False


def _spawn(argv: list[bytes], env: dict[bytes, bytes], default_signals: list[int]) -> int:
    """Start a program in a process group of its own and return its id; its name is looked up as ``execvpe`` does.

    Raises:
        OSError: it cannot be started.
    """
    failure: OSError | None = None
    for path in _candidates(argv[0], env):
        try:
            return os.posix_spawn(path, argv, env, setpgroup=0, setsigdef=default_signals)
        except OSError as error:
            if failure is None or not isinstance(error, FileNotFoundError | NotADirectoryError):
                failure = error
    assert failure is not None
    raise failure


def _candidates(program: bytes, env: dict[bytes, bytes]) -> list[bytes]:
    if b"/" in program:
        return [program]
    folders = env.get(b"PATH", os.defpath.encode()).split(b":")
    return [os.path.join(folder, program) for folder in folders]  # noqa: PTH118  (pathlib is slow to import)


def _close_standard_streams() -> None:
    """Leave the pipes to the program alone, so that their other ends see when it closes them."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _has_no_child() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def _descendants(root: int) -> Iterator[int]:
    """Yield the processes below ``root``, parents first."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208  (pathlib is slow to import)
        if name.isdigit() and (parent := _parent(name)) is not None:
            children.setdefault(parent, []).append(int(name))
    waiting = [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        yield from below
        waiting += below


def _parent(pid: str) -> int | None:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:  # it has just ended
        return None
    try:
        # The name of the program, in brackets, may hold anything. State and parent follow it.
        return int(os.read(fd, 4096).rpartition(b")")[2].split()[1])
    except (OSError, IndexError):
        return None
    finally:
        os.close(fd)


def _kill(pid: int) -> bool:
    """Kill a process; return False when this is not allowed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError:
        return False
    except ProcessLookupError:
        return True
    return True


def main(control: int) -> None:
    """Start and end the program that the other end of the socket ``control`` asks for."""
    os.set_inheritable(control, False)
    Guard(control).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
