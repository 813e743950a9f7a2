"""Work one run on an empty database, and print each acknowledgement: ``python -m tests.chaos.one_run_program URL``."""

import sys

import anyio

import loopkit
from loopkit import LoopkitError
from loopkit.stores import open_store
from tests.runner.agent_helpers import small_agent


async def main(url: str) -> None:
    async with open_store(url) as store:
        [run] = await loopkit.submit(store, small_agent(), [{"topic": "cats"}])
        print("queued", run.id, flush=True)
        await loopkit.Runner(store, [small_agent()]).drain()
        ended = await store.get_run(run.id)
        if ended.ended:
            print("ended", run.id, ended.status.value, flush=True)


try:
    anyio.run(main, sys.argv[1])
except LoopkitError as error:
    sys.exit(f"{type(error).__name__}: {error}")
