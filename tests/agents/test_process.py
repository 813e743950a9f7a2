"""Programs and their guards: what they start ends with them, with the stage and with the runner."""

import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from loopkit.agents.stages import process
from loopkit.agents.stages.threads import call_in_thread
from loopkit.core.outcome import Errored, Produced
from tests.agents.command_helpers import FAMILY, is_alive, run, script, wait_for_pids, wait_until_gone
from tests.agents.context_helpers import Lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def test_what_a_program_left_in_the_background_is_killed(folder: Path) -> None:
    """The result is there at once, although the child held the pipe, and the child is gone."""
    outcome = await run(folder, script(folder, FAMILY + "print('done', flush=True)\nos._exit(0)"))
    assert outcome == Produced("done\n")
    wait_until_gone(wait_for_pids(folder / "pids", 2))


ESCAPES = {
    "session": "start_new_session=True",
    "group": "process_group=0",
    "bare": "start_new_session=True, env={}",
    "stopped": "",
    "daemon": "start_new_session=True, env={}, stdin=-3, stdout=-3, stderr=-3, "
    "preexec_fn=lambda: os.fork() and os._exit(0)",
}
"""Ways to leave the program's group: what `subprocess.Popen` is told."""


def escaping(way: str) -> str:
    """Notes the ids of the program and of a child that left its group, in the program that is run."""
    child = "import os, time; open('pids', 'a').write(f'{os.getpid()}\\n'); time.sleep(1000)"
    if way == "stopped":  # it cannot write anything itself
        return """
open("pids", "a").write(f"{os.getpid()}\\n")
pid = os.fork()
if pid == 0:
    os.setsid()
    os.kill(os.getpid(), signal.SIGSTOP)
os.waitpid(pid, os.WUNTRACED)
open("pids", "a").write(f"{pid}\\n")
"""
    return f"""
open("pids", "a").write(f"{{os.getpid()}}\\n")
subprocess.Popen([sys.executable, "-I", "-S", "-c", {child!r}], {ESCAPES[way]})
while open("pids").read().count("\\n") < 2:
    time.sleep(0.01)
"""


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows every process below another")


@linux
@pytest.mark.parametrize("way", ESCAPES)
async def test_a_child_that_left_the_group_is_killed_when_the_program_ends(folder: Path, way: str) -> None:
    """In a session or group of its own, stopped, or as a daemon that keeps nothing of the program."""
    assert await run(folder, script(folder, escaping(way) + "print('done')")) == Produced("done\n")
    pids = wait_for_pids(folder / "pids", 2)
    assert not any(map(is_alive, pids))


@linux
@pytest.mark.parametrize("way", ESCAPES)
async def test_a_child_that_left_the_group_is_killed_when_the_stage_is_cancelled(folder: Path, way: str) -> None:
    """Also when the program itself has ended by then, at SIGTERM, and left the child to nobody."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, folder, script(folder, escaping(way) + "time.sleep(1000)"))
        pids = await call_in_thread(lambda: wait_for_pids(folder / "pids", 2))
        tasks.cancel_scope.cancel()
    assert not any(map(is_alive, pids))


@linux
async def test_a_program_that_kills_its_group_leaves_no_child(folder: Path) -> None:
    """The guard is in another group, so it ends the rest."""
    source = escaping("session") + "os.killpg(0, signal.SIGKILL)"
    assert await run(folder, script(folder, source)) == Errored("ended by SIGKILL")
    assert not any(map(is_alive, wait_for_pids(folder / "pids", 2)))


async def test_a_guard_that_is_killed_is_an_error(folder: Path) -> None:
    """The program is killed with it, and nobody waits for ever."""
    outcome = await run(folder, script(folder, FAMILY + "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(1000)"))
    assert outcome == Errored("the guard of the program ended too early: it gave no reason")
    wait_until_gone(wait_for_pids(folder / "pids", 2))


async def test_a_guard_that_cannot_start_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a program that embeds Python, the interpreter is looked for beside it and on the PATH."""
    process._interpreter.cache_clear()
    try:
        monkeypatch.setattr(sys, "executable", "/usr/sbin/uwsgi")
        assert await run(folder, ["echo", "text"]) == Produced("text\n")
        process._interpreter.cache_clear()
        monkeypatch.setattr(sys, "base_exec_prefix", str(folder))
        monkeypatch.setenv("PATH", str(folder))
        outcome = await run(folder, ["echo", "text"])
        assert isinstance(outcome, Errored)
        assert outcome.message.startswith("a command needs a Python interpreter")
    finally:
        process._interpreter.cache_clear()


@pytest.mark.parametrize(
    "source",
    [
        "time.sleep(1000)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(1000)",
        "os.close(0); os.close(1); os.close(2)\ntime.sleep(1000)",
        "signal.raise_signal(signal.SIGSTOP)",
    ],
    ids=["plain", "deaf", "silent", "stopped"],
)
async def test_a_program_and_its_children_die_when_the_stage_is_cancelled(folder: Path, source: str) -> None:
    """Asked first and killed then, whether it listens or not, with all its children."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(run, grace=0.2), folder, script(folder, FAMILY + source))
        pids = await call_in_thread(lambda: wait_for_pids(folder / "pids", 2))
        tasks.cancel_scope.cancel()
    wait_until_gone(pids)


async def test_a_program_may_clean_up_when_it_is_told_to_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM comes first, and lines that are logged from then on are dropped."""
    lines, ready = Lines(), threading.Event()

    def sink(message: str, metadata: Mapping[str, Any]) -> None:
        lines(message, metadata)
        ready.set()

    source = """
def end(*_):
    os.write(2, b"too late\\n")  # print may not be called while it is interrupted
    open("cleaned", "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
print("ready", file=sys.stderr, flush=True)
while True:  # a signal that comes just before a sleep is handled after it
    time.sleep(0.01)
"""
    async with anyio.create_task_group() as tasks:
        # A busy machine may not let it run for seconds.
        tasks.start_soon(partial(run, sink=sink, grace=60), folder, script(folder, source))
        await call_in_thread(partial(ready.wait, 60))
        tasks.cancel_scope.cancel()
    assert (folder / "cleaned").exists()
    assert lines.texts == ["ready"]


@pytest.mark.parametrize("grace", [0, timedelta(seconds=0.3)])
async def test_a_deaf_program_is_killed_when_its_grace_is_over(folder: Path, grace: float | timedelta) -> None:
    """Not before, and without waiting where there is none."""
    source = """
signal.signal(signal.SIGTERM, lambda *_: open("asked", "w").write(str(time.monotonic())))
open("ready", "w").close()
while True:
    time.sleep(0.01)
    open("alive", "a").write(f"{time.monotonic()}\\n")
"""
    command = script(folder, source)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(run, grace=grace), folder, command)
        while not (folder / "alive").exists():  # noqa: ASYNC110  (another process creates it)
            await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    if grace:
        *_, last, _ = (folder / "alive").read_text().split("\n")
        assert float(last) - float((folder / "asked").read_text()) > 0.1


async def test_nothing_is_left_open(folder: Path) -> None:
    """After many runs, failed ones too, there is no further descriptor and no child."""
    await run(folder, ["true"])
    before = open_files(), children()
    for command in (["true"], ["false"], ["./missing"], ["yes"]) * 5:
        await run(folder, command)
    assert (open_files(), children()) == before


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def children() -> set[str]:
    """This process's children where the system shows them, the dead that nobody took note of included."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}


RUNNER = """
import sys
from pathlib import Path
import anyio
from loopkit.agents.agent import StageSpec
from loopkit.agents.stage_call import call_stage
from loopkit.agents.stages.command import CommandStage
from loopkit.agents.stages.command import _failure_message as failure_message
from tests.agents.context_helpers import context
spec = StageSpec(CommandStage(command=sys.argv[2:], folder=Path(sys.argv[1]), grace=0.5))
anyio.run(call_stage, spec, context())
"""


@pytest.mark.chaos
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("is_deaf", [False, True], ids=["plain", "deaf"])
def test_programs_die_with_their_runner(folder: Path, number: signal.Signals, *, is_deaf: bool) -> None:
    """However the runner ends, its commands and their children end too, whether they listen or not."""
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if is_deaf else ""
    command = script(folder, deaf + FAMILY + "time.sleep(1000)")
    with subprocess.Popen([sys.executable, "-c", RUNNER, str(folder), *command]) as runner:
        pids = wait_for_pids(folder / "pids", 2)
        runner.send_signal(number)
        assert runner.wait(30) == -number
    wait_until_gone(pids)


@linux
@pytest.mark.chaos
@pytest.mark.parametrize("way", ESCAPES)
def test_children_that_left_the_group_die_with_the_runner(folder: Path, way: str) -> None:
    """Nobody of the runner is left to look for them; the guard does."""
    command = script(folder, escaping(way) + "time.sleep(1000)")
    with subprocess.Popen([sys.executable, "-c", RUNNER, str(folder), *command]) as runner:
        pids = wait_for_pids(folder / "pids", 2)
        runner.kill()
    wait_until_gone(pids)
