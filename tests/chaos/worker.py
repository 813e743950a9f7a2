"""One runner process of a fleet, forked by :mod:`fleet` or as ``python -m tests.chaos.worker URL LOG``.

It writes down each call of a stage. SIGTERM asks it to stop at the next stage boundary, as the command line does.
"""

from __future__ import annotations

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
from tests.chaos.settings import STALLED_AFTER

DEATHS: Final[dict[str, Callable[[], object]]] = {
    "exit": lambda: os._exit(0),
    "abort": os.abort,
    "segfault": lambda: ctypes.string_at(0),
}
"""What a stage does to its process when its topic asks for it."""


def agent(log: Path) -> Agent:
    """A loop of four stages that take some milliseconds each, and kill their process if they are asked to."""

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
    """The same in a process that was forked from one which has imported everything."""
    os.dup2(os.open(log.parent / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    anyio.run(main, url, log, lambda: ready.send("ready"), stalled_after)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]), lambda: print("ready", flush=True), STALLED_AFTER)
