"""Programs as stages, and what is known of the processes that they start."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loopkit.agents.agent import StageSpec
from loopkit.agents.stage_call import call_stage
from loopkit.agents.stages.command import CommandStage
from loopkit.core.outcome import Outcome
from loopkit.core.run import Stage
from tests.agents.context_helpers import context

BODY_KEYS = ("env", "stdin", "stdout", "result", "workdir", "grace")


def script(folder: Path, source: str) -> list[str]:
    """A program of Python with this source, as a command."""
    path = folder / "program.py"
    path.write_text("import json, os, signal, subprocess, sys, time\n" + source)
    return [sys.executable, "-I", "-S", str(path)]


async def run(folder: Path, command: Sequence[str], stage: Stage = Stage.PRODUCING, **settings: Any) -> Outcome:
    own = {key: settings.pop(key) for key in ("timeout", "retries") if key in settings}
    body = {key: settings.pop(key) for key in BODY_KEYS if key in settings}
    spec = StageSpec(CommandStage(command=tuple(command), folder=folder, **body), **own)
    return await call_stage(spec, context(stage, **settings))


def is_alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        if not Path("/proc/self/stat").exists():
            os.kill(pid, 0)
            return True
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until_gone(pids: Sequence[int]) -> None:
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, "processes were left behind"
        time.sleep(0.01)


def wait_for_pids(path: Path, count: int) -> list[int]:
    """The process ids that a program wrote into a file, a line each."""
    deadline = time.monotonic() + 30
    while not path.exists() or path.read_text().count("\n") < count:
        assert time.monotonic() < deadline, "the program did not begin"
        time.sleep(0.01)
    return [int(line) for line in path.read_text().split()]


FAMILY = """
note = lambda pid: open("pids", "a").write(f"{pid}\\n")
note(os.getpid())
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)"])
note(child.pid)
"""
"""Notes its own process id and that of a child that would run for long."""
