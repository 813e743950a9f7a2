"""A runner in the lifespan of an app, under every server: logs while a stage runs, cancels, and runs given back."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import loopkit

APP = """
import threading
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import fastapi
import loopkit

may_go_on = threading.Event()


def produce(ctx):
    ctx.log("at work")
    may_go_on.wait()
    return "text"


async def stubborn(ctx):
    ctx.log("at work")
    with anyio.CancelScope(shield=True):
        await anyio.sleep(3600)


agents = {
    "waits": loopkit.Agent(name="waits", produce=produce, evaluate=lambda ctx: 1.0),
    "stubborn": loopkit.Agent(name="stubborn", produce=stubborn, evaluate=lambda ctx: 1.0),
}


@asynccontextmanager
async def lifespan(app):
    async with loopkit.open_store("sqlite:///loopkit.db") as store, anyio.create_task_group() as tasks:
        app.state.store = store
        tasks.start_soon(loopkit.Runner(store, agents, grace=timedelta(seconds=0.5)).serve)
        yield
        tasks.cancel_scope.cancel()


app = fastapi.FastAPI(lifespan=lifespan)


@app.post("/start/{name}")
async def start(name: str):
    [run] = await loopkit.submit(app.state.store, agents[name], [{}])
    async for event in loopkit.follow(app.state.store, run.id):
        if event.message == "at work":  # while the stage runs
            return {"run": run.id}


@app.post("/go")
async def go():
    may_go_on.set()


@app.post("/cancel/{run_id}")
async def cancel(run_id: str):
    await app.state.store.request_cancel(run_id)


@app.get("/wait/{run_id}")
async def wait(run_id: str):
    return {"status": (await loopkit.wait(app.state.store, run_id)).status}
"""

SERVERS = {
    "uvicorn": ["uvicorn", "app:app", "--loop", "asyncio", "--port", "{port}"],
    "uvicorn on uvloop": ["uvicorn", "app:app", "--loop", "uvloop", "--port", "{port}"],
    "hypercorn": ["hypercorn", "app:app", "-k", "asyncio", "-b", "127.0.0.1:{port}"],
    "hypercorn on trio": ["hypercorn", "app:app", "-k", "trio", "-b", "127.0.0.1:{port}"],
    "granian": ["granian", "app:app", "--interface", "asgi", "--port", "{port}"],
}


def ask(url: str, method: str = "GET") -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=120) as response:
        return json.load(response)


@contextmanager
def serving(server: str, folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a server, and yield its address once it responds."""
    (folder / "app.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    command = [sys.executable, "-m", *(part.format(port=port) for part in SERVERS[server])]
    env = {**os.environ, "PYTHONPATH": str(folder)}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, env=env, stderr=log, start_new_session=True) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            while True:
                assert process.poll() is None, (folder / "log").read_text()
                try:
                    ask(f"{url}/openapi.json")
                    break
                except urllib.error.URLError:
                    time.sleep(0.05)
            yield url, process
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # granian has processes of its own


@pytest.mark.parametrize("server", SERVERS)
def test_a_runner_in_the_lifespan(server: str, tmp_path: Path) -> None:
    """A log line is seen while its stage waits, the run passes, and a stage that ignores its cancel is left behind."""
    with serving(server, tmp_path) as (url, _):
        run = ask(f"{url}/start/waits", "POST")["run"]
        ask(f"{url}/go", "POST")
        assert ask(f"{url}/wait/{run}") == {"status": "passed"}
        run = ask(f"{url}/start/stubborn", "POST")["run"]
        ask(f"{url}/cancel/{run}", "POST")
        assert ask(f"{url}/wait/{run}") == {"status": "cancelled"}


@pytest.mark.parametrize("server", SERVERS)
def test_a_stopped_server_gives_its_runs_back(server: str, tmp_path: Path) -> None:
    """At SIGTERM the run under way goes back to the queue, for the next process."""
    with serving(server, tmp_path) as (url, process):
        run = ask(f"{url}/start/waits", "POST")["run"]
        process.send_signal(signal.SIGTERM)
        with loopkit.sync.open_store(f"sqlite:///{tmp_path}/loopkit.db") as store:
            for event in loopkit.sync.follow(store, run):
                if (event.message or "").startswith("Released"):
                    break
            assert store.get_run(run).status == "queued"
