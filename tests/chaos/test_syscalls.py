"""A whole run, from an empty file to its end, struck at every write and every sync it makes."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import anyio
import attrs
import pytest

import loopkit
from loopkit import RunStatus
from loopkit.storage import RunQuery
from loopkit.stores import open_store
from tests.chaos.fleet import ROOT
from tests.runner.loops import agent
from tests.settings import is_long
from tests.tools import require_tool

pytestmark = pytest.mark.chaos

CALLS = "pwrite64,fdatasync,fsync,ftruncate"
STEP = 1 if is_long() else 29
FAULTS = {"kill": "signal=SIGKILL", "eio": "error=EIO", "enospc": "error=ENOSPC"}


@attrs.frozen
class Ended:
    """How the struck process ended."""

    acknowledged: dict[str, str]
    """By run id: ``queued``, or how it ended."""
    is_struck: bool
    stderr: str


def strike(url: str, fault: str, position: int, folder: Path) -> Ended:
    """Work one run in a process whose call number ``position`` goes wrong."""
    trace = folder / f"trace-{position}"
    command = [
        *(require_tool("strace", "to make single writes fail"), "-f", "-qq", "-o", trace, "-e", f"trace={CALLS}"),
        *("-e", f"inject={CALLS}:{FAULTS[fault]}:when={position}"),
        *(sys.executable, "-m", "tests.chaos.one_run", url),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    told = {}
    for line in done.stdout.splitlines():
        word, run_id, *status = line.split()
        told[run_id] = status[0] if word == "ended" else word
    seen = trace.read_text(errors="replace")
    return Ended(told, "INJECTED" in seen or "killed by SIGKILL" in seen, done.stderr)


async def finish(url: str) -> dict[str, str]:
    """Do what is left with a sound process, and give how each run ended."""
    async with open_store(url, stalled_after=timedelta(seconds=2)) as store:
        if any(not run.ended for run in (await store.list_runs(RunQuery())).runs):
            await anyio.sleep(2.1)
        await loopkit.Runner(store, [agent()], heartbeat=timedelta(seconds=0.5)).drain()
        assert await store.check() == []
        return {run.id: run.status.value for run in (await store.list_runs(RunQuery())).runs}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_struck_at_a_call_loses_nothing(fault: str, tmp_path: Path) -> None:
    """What was acknowledged is there afterwards, the file is sound, and every run ends passed."""
    struck, position = 0, 1
    while True:
        url = f"sqlite:///{tmp_path}/{fault}-{position}.db"
        ended = strike(url, fault, position, tmp_path)
        found = anyio.run(finish, url)
        assert set(ended.acknowledged) <= set(found)
        assert set(found.values()) <= {RunStatus.PASSED.value}
        assert "Traceback" not in ended.stderr, ended.stderr
        if not ended.is_struck:
            break
        struck += 1
        position += STEP
    assert struck >= 3
    assert set(ended.acknowledged.values()) == {"passed"}
