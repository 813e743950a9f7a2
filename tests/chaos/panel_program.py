"""Work the runs of a judged agent, and die by SIGKILL after a number of verdicts has been committed.

``python -m tests.chaos.panel_program DATABASE SERVER VERDICTS``; after 0 it does not die.
"""

import json
import os
import signal
import sys
import urllib.request
from datetime import timedelta
from typing import Any

import anyio

import loopkit
from loopkit.stores import open_store

STALLED_AFTER = timedelta(seconds=2)


def judged_agent(server: str) -> loopkit.Agent:
    """Return an agent with a check, a judge of three samples, and a shadow; both judges ask ``server``."""

    def ask(ctx: loopkit.StageContext) -> float:
        # Not a prompt: its libraries take seconds to import, in each of the killed processes.
        body = json.dumps({"model": ctx.judge, "seed": ctx.sample, "messages": []}).encode()
        with urllib.request.urlopen(urllib.request.Request(server, body), timeout=60) as response:
            return float(json.load(response)["choices"][0]["message"]["content"])

    return loopkit.Agent(
        name="judged",
        max_losses=0,
        produce=lambda ctx: "text",
        evaluate=loopkit.Panel(
            checks=[has_text],
            judges=[
                loopkit.Judge(ask, name="facts", samples=3),
                loopkit.Judge(ask, name="other", weight=0),
            ],
        ),
    )


def has_text(ctx: loopkit.StageContext) -> bool:
    return bool(ctx.output)


async def main(url: str, server: str, verdicts: str) -> None:
    left = int(verdicts)
    async with open_store(url, stalled_after=STALLED_AFTER) as store:
        record = store.record

        async def record_and_die(lease: Any, change: Any) -> Any:
            nonlocal left
            run = await record(lease, change)
            if change.verdicts:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return run

        store.record = record_and_die  # type: ignore[method-assign]
        agent = judged_agent(server)
        await loopkit.Runner(store, [agent], heartbeat=STALLED_AFTER / 4).drain()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
