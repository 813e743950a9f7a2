"""One runner that works the runs of an agent of prompts, and dies by SIGKILL at one of its writes."""

import os
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio

import loopkit
from loopkit.stores import open_store

STALLED_AFTER = timedelta(seconds=60)
PRICE = {"input": 1, "output": 1}


def prompting_agent(folder: Path, server: str, **settings: Any) -> loopkit.Agent:
    """Return an agent whose stages ask ``server``, which scores 0.5 and then 0.9."""
    (folder / "write.md").write_text("Write.")
    (folder / "judge.md").write_text("Judge attempt {{ attempt }}: {{ output }}")
    options: dict[str, Any] = {"model": "local:tiny", "base_url": server, "price": PRICE}
    return loopkit.Agent(
        name="prompting",
        max_losses=0,
        produce=loopkit.prompt(folder / "write.md", **options),
        evaluate=loopkit.prompt(folder / "judge.md", structured="text", **options),
        **settings,
    )


async def _work(url: str, folder: Path, server: str, kill_at: int, *, is_after: bool) -> None:
    writes = 0
    async with open_store(url, stalled_after=STALLED_AFTER) as store:
        record = store.record

        async def record_and_die(lease: Any, change: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes == kill_at and not is_after:
                os.kill(os.getpid(), signal.SIGKILL)
            run = await record(lease, change)
            if writes == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return run

        store.record = record_and_die  # type: ignore[method-assign]
        await loopkit.Runner(store, [prompting_agent(folder, server)], concurrency=1).drain()


def work(url: str, folder: Path, server: str, kill_at: int, is_after: bool) -> None:
    """Work all runs; before or after write number ``kill_at`` the process kills itself. 0: it does not."""
    anyio.run(lambda: _work(url, folder, server, kill_at, is_after=is_after))
