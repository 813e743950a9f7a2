"""A runner that sends a statement without the Sync after it, as ``python -m tests.chaos.vanishing_program URL``.

It prints the id of the run whose row it has locked, and stays.
"""

import sys
import time
from datetime import timedelta

import anyio
from psycopg import generators

import loopkit
from loopkit.core.lease import Claimant
from loopkit.core.run import NewRun
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.writes.postgresql_executor import BEGIN, LIMITS, PostgresqlExecutor


async def claim(url: str) -> str:
    """Claim a run, which nobody renews, and return its id."""
    async with loopkit.open_store(url, stalled_after=timedelta(seconds=1)) as store:
        await store.submit([NewRun(agent_name="chaos", inputs={})])
        [held] = await store.claim(Claimant(name="far:1", heartbeat=timedelta(seconds=0.4)), {"chaos": "d"})
        return held.run.id


def send_half(url: str, run_id: str) -> None:
    """Lock the row of a run as the writer does, and send no Sync."""
    executor = PostgresqlExecutor(open_database(url).writer, lambda: {"now": None, "stalled_seconds": 1.0})
    connection = executor._open()
    with connection.pipeline():
        connection.execute(BEGIN)
        connection.execute(LIMITS, {"statement": "5s", "idle": "250ms"})
        connection.execute("SELECT id FROM workflow_runs WHERE id = %s FOR UPDATE", [run_id])
        connection.wait(generators.send(connection.pgconn))
        print(run_id, flush=True)
        time.sleep(3600)


if __name__ == "__main__":
    send_half(sys.argv[1], anyio.run(claim, sys.argv[1]))
