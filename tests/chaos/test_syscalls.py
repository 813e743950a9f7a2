"""A whole run on an empty file, with a fault at each of its writes and syncs."""

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
from tests.chaos.fleet_helpers import ROOT
from tests.length_helpers import is_long
from tests.runner.agent_helpers import small_agent
from tests.tool_helpers import require_tool

pytestmark = pytest.mark.chaos

CALLS = "pwrite64,fdatasync,fsync,ftruncate"
STEP = 1 if is_long() else 29
FAULTS = {"kill": "signal=SIGKILL", "eio": "error=EIO", "enospc": "error=ENOSPC"}


@attrs.frozen
class Ended:
    """Result of the process with a fault."""

    acknowledged: dict[str, str]
    """Acknowledged state by run id: ``queued``, or the final status."""
    is_struck: bool
    stderr: str


def strike(url: str, fault: str, position: int, folder: Path) -> Ended:
    """Work one run in a process in which system call number ``position`` fails."""
    trace = folder / f"trace-{position}"
    command = [
        *(str(require_tool("strace", "to make single writes fail")), "-f", "-qq", "-o", str(trace)),
        *("-e", f"trace={CALLS}"),
        *("-e", f"inject={CALLS}:{FAULTS[fault]}:when={position}"),
        *(sys.executable, "-m", "tests.chaos.one_run_program", url),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    told = {}
    for line in done.stdout.splitlines():
        word, run_id, *status = line.split()
        told[run_id] = status[0] if word == "ended" else word
    seen = trace.read_text(errors="replace")
    return Ended(told, "INJECTED" in seen or "killed by SIGKILL" in seen, done.stderr)


async def finish(url: str) -> dict[str, str]:
    """Finish the remaining runs in a healthy process, and return how each run ended."""
    async with open_store(url, stalled_after=timedelta(seconds=2)) as store:
        if any(not run.ended for run in (await store.list_runs(RunQuery())).runs):
            await anyio.sleep(2.1)
        await loopkit.Runner(store, [small_agent()], heartbeat=timedelta(seconds=0.5)).drain()
        assert await store.check() == []
        return {run.id: run.status.value for run in (await store.list_runs(RunQuery())).runs}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_struck_at_a_call_loses_nothing(fault: str, tmp_path: Path) -> None:
    """Acknowledged writes are still there, the file is intact, and every run passes."""
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
