"""One runner process of a fleet, ``python -m tests.chaos.worker URL LOG``: writes down each call of a stage.

SIGTERM asks it to stop at the next stage boundary, as the command line does.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio

import loopkit
from loopkit import Agent, StageContext, Stopping
from loopkit.stores import open_store
from tests.chaos.settings import HEARTBEAT, STALLED_AFTER


def agent(log: Path) -> Agent:
    """A loop of four stages that take some milliseconds each."""

    def note(word: str, context: StageContext) -> None:
        line = f"{time.time():.4f} {os.getpid()} {word} {context.run_id} {context.stage.value} {context.attempt}\n"
        with log.open("a") as file:  # one short write to a file opened for appending is whole
            file.write(line)

    async def stage(context: StageContext) -> str:
        note("begin", context)
        await anyio.sleep(random.uniform(0.001, 0.03))
        note("end", context)
        return f"{os.getpid()} {context.stage.value} {context.attempt} " + "x" * 500

    async def evaluate(context: StageContext) -> dict[str, Any]:
        told = await stage(context)
        return {"score": 0.5 if context.attempt == 1 else 0.9, "feedback": told}

    return Agent(name="chaos", produce=stage, evaluate=evaluate, revise=stage)


async def main(url: str, log: Path, concurrency: int) -> None:
    stopping = Stopping()
    async with open_store(url, stalled_after=timedelta(seconds=STALLED_AFTER)) as store:
        runner = loopkit.Runner(
            store, [agent(log)], concurrency=concurrency, heartbeat=timedelta(seconds=HEARTBEAT), stopping=stopping
        )
        async with anyio.create_task_group() as tasks:

            async def listen() -> None:
                with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                    print("ready", flush=True)
                    async for _ in signals:
                        stopping.ask()

            tasks.start_soon(listen)
            await runner.serve()
            tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 4)
