"""A server as a child process that never outlives the process it was started for.

Each server is the head of its own process group and is signalled only through it, so that nothing else on the
machine is touched. A small guard beside it waits until its *owner* is gone, however that ended, and then ends
the server. The owner is whoever holds the lock on a file; the kernel releases it with the process.
"""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

_GUARD = """
import fcntl, os, shutil, signal, sys, time
owner, head, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]

def alive():
    try:
        os.killpg(head, 0)
    except OSError:
        return False
    return True

try:
    with open(owner) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
except FileNotFoundError:
    pass
for send, number in ((os.kill, signal.SIGTERM), (os.kill, signal.SIGQUIT), (os.killpg, signal.SIGKILL)):
    deadline = time.monotonic() + 3
    try:
        send(head, number)
    except ProcessLookupError:
        pass
    while alive() and time.monotonic() < deadline:
        time.sleep(0.05)
if folder:
    shutil.rmtree(folder, ignore_errors=True)
"""


class Owner:
    """Lock on a file, held until this process ends or it is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._file = path.open()
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def close(self) -> None:
        """Release the lock: the guards end what still runs."""
        self._file.close()

    @staticmethod
    def is_gone(path: Path) -> bool:
        """Return True when the file is there and no owner holds its lock."""
        try:
            with path.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


class Server:
    """One running server process and the guard beside it."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        owner: Path,
        log: Path,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        user: int | None = None,
        group: int | None = None,
        remove: Path | None = None,
    ) -> None:
        """Start ``command``; when the owner is gone end it and delete the folder ``remove``."""
        with log.open("ab") as output:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                [os.fspath(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env=env,
                start_new_session=True,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
            )
        self.log = log
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD, owner, str(self.process.pid), str(remove or "")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = 30) -> None:
        """Wait until ``ready()`` is true; fail with the end of the log when the server ends or takes too long."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                state = f"ended with {self.process.returncode}" if self.process.returncode is not None else "is not up"
                tail = self.log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.process.args!r} {state}:\n{tail}")
            time.sleep(0.01)

    def leave(self) -> None:
        """Leave the server running after this process; its guard ends it with its owner."""
        self.process.returncode = self._guard.returncode = 0  # else Popen warns that they still run

    def stop(self, *, with_signal: int = signal.SIGTERM, seconds: float = 10) -> None:
        """Signal the server's first process, kill what is left of its group, and end the guard."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.process.wait()
        end_group(self.pid)
        self._guard.kill()
        self._guard.wait()


class Startable(ABC):
    """A server that is started for a ``with`` block, and closed at its end or when it does not start."""

    @abstractmethod
    def start(self) -> None:
        """Start the server; return when it responds."""

    @abstractmethod
    def close(self) -> None:
        """End the server at once and delete what it stored."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def end_group(group: int, *, seconds: float = 5) -> None:
    """Kill what is left of a process group that this test run started, and wait until it is gone."""
    deadline = time.monotonic() + seconds
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
    while _is_alive(group) and time.monotonic() < deadline:
        time.sleep(0.005)


def _is_alive(group: int) -> bool:
    """Return whether a process of the group still runs; a zombie does not."""
    if not Path("/proc/self/stat").exists():
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        return True
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _parent, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


def free_port() -> int:
    """Return a TCP port of the loopback address on which nothing listens at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def remove_folder(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
