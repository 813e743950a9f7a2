"""One runner process of a fleet, forked by :mod:`fleet_helpers` or as ``python -m tests.chaos.worker_program URL LOG``.

It logs each stage call. SIGTERM requests a stop at the next stage boundary, as in the command line.
"""

import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import anyio

import loopkit
from loopkit import Agent, StageContext, Stopping
from loopkit.stores import open_store
from tests.chaos.timing_helpers import STALLED_AFTER

DEATHS: Final[dict[str, Callable[[], object]]] = {
    "exit": lambda: os._exit(0),
    "abort": os.abort,
    "segfault": lambda: ctypes.string_at(0),
}
"""Faults that a stage causes in its own process, by the word in its topic."""


def agent(log: Path) -> Agent:
    """Return an agent of four stages that take some milliseconds each, and kill their process if its topic says so."""

    def note(word: str, context: StageContext) -> None:
        line = f"{time.time():.4f} {os.getpid()} {word} {context.run_id} {context.stage.value} {context.attempt}\n"
        with log.open("a") as file:  # one short write to a file opened for appending is whole
            file.write(line)

    async def stage(context: StageContext) -> str:
        note("begin", context)
        DEATHS.get(context.inputs["topic"], lambda: None)()
        await anyio.sleep(random.uniform(0.001, 0.03))
        note("end", context)
        return f"{os.getpid()} {context.stage.value} {context.attempt} " + "x" * 500

    async def evaluate(context: StageContext) -> dict[str, Any]:
        told = await stage(context)
        return {"score": 0.5 if context.attempt == 1 else 0.9, "feedback": told}

    return Agent(name="chaos", produce=stage, evaluate=evaluate, revise=stage)


async def main(url: str, log: Path, ready: Callable[[], object], stalled_after: float) -> None:
    stopping = Stopping()
    async with open_store(url, stalled_after=timedelta(seconds=stalled_after)) as store:
        runner = loopkit.Runner(
            store, [agent(log)], concurrency=4, heartbeat=timedelta(seconds=stalled_after / 5), stopping=stopping
        )
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                    ready()
                    async for _ in signals:
                        stopping.ask()

            tasks.start_soon(listen)
            await runner.serve()
            tasks.cancel_scope.cancel()


def forked(url: str, log: Path, ready: Connection, stalled_after: float) -> None:
    """Run a worker in a process forked from one that has imported everything."""
    os.dup2(os.open(log.parent / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    anyio.run(main, url, log, lambda: ready.send("ready"), stalled_after)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]), lambda: print("ready", flush=True), STALLED_AFTER)
