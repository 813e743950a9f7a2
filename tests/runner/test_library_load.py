"""Client library of models: loaded once, in a thread, before a stage's time is counted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agents.model_server_helpers import ModelServer, says

SLOW_SECONDS = 4

PROGRAM = """
import json, sys, threading, time
from importlib.abc import MetaPathFinder
import loopkit

class SlowLibrary(MetaPathFinder):
    threads = []

    def find_spec(self, name, path=None, target=None):
        if name == "pydantic_ai.models" and not self.threads:
            self.threads.append(threading.current_thread() is threading.main_thread())
            time.sleep({seconds})

sys.meta_path.insert(0, SlowLibrary())
write = loopkit.prompt("write.md", model="local:tiny", base_url=sys.argv[1], timeout={seconds}, retries=0)
agent = loopkit.Agent(name="writer", produce={produce}, evaluate={evaluate})
store = loopkit.MemoryStore()

async def main():
    result = await loopkit.run(agent, {{}}, store=store)
    calls = await store.list_calls(result.run.id)
    return [result.error, SlowLibrary.threads, result.run.stage_seconds, [[call.state, call.seconds] for call in calls]]

import anyio
print(json.dumps(anyio.run(main)))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("produce", "evaluate"),
    [("write", "lambda ctx: 1"), ("lambda ctx: 'a name'", "loopkit.Panel(judges=[write])")],
    ids=["produce", "judge"],
)
def test_a_timeout_does_not_include_the_import(tmp_path: Path, produce: str, evaluate: str) -> None:
    """Nor do the times of the call and the stage; meanwhile the event loop goes on."""
    (tmp_path / "write.md").write_text("Write.")
    program = PROGRAM.format(seconds=SLOW_SECONDS, produce=produce, evaluate=evaluate)
    with ModelServer([says('{"score": 10, "feedback": ""}')]) as server:
        done = subprocess.run(
            [sys.executable, "-c", program, server.url], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    error, in_main_thread, stage_seconds, calls = json.loads(done.stdout)
    assert (error, in_main_thread) == (None, [False])
    assert stage_seconds < SLOW_SECONDS
    states = {state for state, _ in calls}
    assert states == {"answered"}
    assert all(seconds < SLOW_SECONDS for _, seconds in calls)
