"""Fixtures: a folder with an agent whose stages can be paused, and the program as processes in it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, TypeVar

import anyio
import pytest

import loopkit
from loopkit.core.run import Run
from loopkit.storage import RunQuery, Storage
from tests.program_helpers import Finished

T = TypeVar("T")

PROGRAM = Path(sys.executable).with_name("loopkit-cli")

STAGES = '''
import os, subprocess, time
from pathlib import Path

def called(ctx):
    """Note that a stage begins, wait while a file holds it, note that it ends."""
    name = f"{ctx.stage}-{ctx.attempt}"
    with open("calls", "a") as calls:
        calls.write(f"begin {name}\\n")
    while Path(f"hold-{name}").exists():
        time.sleep(0.01)
    with open("calls", "a") as calls:
        calls.write(f"end {name}\\n")

def produce(ctx):
    called(ctx)
    return f"draft {ctx.attempt}"

def evaluate(ctx):
    called(ctx)
    return {"score": min(1.0, 0.5 * ctx.attempt), "feedback": "\\x1b]0;owned\\x07 more\\x1b[2J"}

async def block(ctx):
    with open("calls", "a") as calls:
        calls.write("blocking\\n")
    time.sleep(600)

def noisy(ctx):
    print("printed by the stage")
    subprocess.run(["echo", "echoed by a child"], check=True)
    os.write(1, b"written by the stage\\n")
    return "quiet"
'''
AGENTS = """
agents:
  held:
    produce: {python: "stages:produce"}
    evaluate: {python: "stages:evaluate"}
  blocking:
    produce: {python: "stages:block"}
    evaluate: {python: "stages:evaluate"}
  noisy:
    pass_threshold: 0.5
    produce: {python: "stages:noisy"}
    evaluate: {python: "stages:evaluate"}
"""


class Process:
    """One running `loopkit-cli`."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def read_until(self, said: str) -> None:
        """Read stderr up to a line that says this."""
        assert self.popen.stderr is not None
        for line in self.popen.stderr:
            if said in line:
                return
        raise AssertionError(f"{said!r} was not said")

    def kill(self) -> None:
        """Kill it by SIGKILL, and wait for its end."""
        self.popen.kill()
        self.popen.communicate()

    def end(self) -> Finished:
        """Wait for its end and return the result; check that it shows no traceback."""
        out, err = self.popen.communicate(timeout=120)
        assert "Traceback" not in (err or ""), err
        return Finished(self.popen.returncode, out or "", err or "")


class Shell:
    """Runs `loopkit-cli` in a folder of its own, on one database; processes that still run at the end are killed."""

    def __init__(self, folder: Path, url: str, processes: ExitStack) -> None:
        self.folder = folder
        self.url = url
        self._processes = processes
        self.environment = {
            **os.environ,
            "LOOPKIT_DATABASE_URL": url,
            "LOOPKIT_HEARTBEAT": "0.5",
            "LOOPKIT_STALLED_AFTER": "1",
        }

    def start(self, *args: str, stdout: int | IO[Any] = subprocess.PIPE, stderr: int = subprocess.PIPE) -> Process:
        """Start the program."""
        popen = subprocess.Popen(
            [PROGRAM, *args],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )
        self._processes.callback(_reap, popen)
        return Process(popen)

    def __call__(self, *args: str, status: int = 0) -> Finished:
        """Run the program to its end and expect this status."""
        done = self.start(*args).end()
        assert done.status == status, done.stderr
        return done

    def hold(self, stage: str) -> Path:
        """Keep a stage, e.g. ``revising-2``, from ending until the returned file is deleted."""
        held = self.folder / f"hold-{stage}"
        held.touch()
        return held

    @property
    def calls(self) -> list[str]:
        """Begins and ends of stage calls, in order."""
        calls = self.folder / "calls"
        return calls.read_text().splitlines() if calls.exists() else []

    def wait_for_call(self, call: str, by: Process) -> None:
        """Wait until a stage of this process has logged a call."""

        def is_noted() -> bool:
            assert by.popen.poll() is None, by.end().stderr
            return self.calls[-1:] == [call]

        wait_until(is_noted)

    def stored(self, read: Callable[[Storage], Awaitable[T]]) -> T:
        """Read something from the database without a process."""

        async def opened() -> T:
            async with loopkit.open_store(self.url, stalled_after=timedelta(seconds=1)) as store:
                return await read(store)

        return anyio.run(opened)

    @property
    def run(self) -> Run:
        """Return the only run."""
        (run,) = self.stored(lambda store: store.list_runs(RunQuery())).runs
        return run

    @property
    def messages(self) -> list[str | None]:
        """Return the messages of the only run's events."""
        run_id = self.run.id
        return [event.message for event in self.stored(lambda store: store.list_events(run_id))]

    @property
    def made(self) -> list[str]:
        """Return the file names of the only run's artifacts."""
        run_id = self.run.id
        return [artifact.filename for artifact in self.stored(lambda store: store.list_artifacts(run_id))]


def _reap(popen: subprocess.Popen[str]) -> None:
    if popen.poll() is None:
        popen.kill()
    popen.communicate()


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail after a minute."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, "waited for a minute in vain"
        time.sleep(0.02)


@pytest.fixture(params=["sqlite", "postgres", "libsql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database, of each kind in turn."""
    given: str = request.getfixturevalue(f"{request.param}_url")
    return given


@pytest.fixture
def shell(tmp_path: Path, url: str) -> Iterator[Shell]:
    """The program on each kind of database."""
    yield from _shell(tmp_path, url)


@pytest.fixture
def local(tmp_path: Path, sqlite_url: str) -> Iterator[Shell]:
    """The program on an SQLite file."""
    yield from _shell(tmp_path, sqlite_url)


def _shell(folder: Path, url: str) -> Iterator[Shell]:
    (folder / "stages.py").write_text(STAGES)
    (folder / "agents.yaml").write_text(AGENTS)
    with ExitStack() as processes:
        yield Shell(folder, url, processes)
