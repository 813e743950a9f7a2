"""procrastinate on PostgreSQL, with a table of our own for what a loop makes: one durable INSERT a boundary."""

import logging
import time
from importlib.metadata import version
from typing import Any

import procrastinate
from psycopg_pool import AsyncConnectionPool

from benchmarks import standard
from benchmarks.peers import results


async def run(place: str, loops: int, concurrency: int) -> dict[str, Any]:
    logging.disable(logging.CRITICAL)
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=place, min_size=4, max_size=concurrency))

    @app.task(name=standard.NAME)
    async def loop(number: int, inputs: dict[str, Any]) -> None:
        for step, content in results.steps(number):
            async with pool.connection() as connection:
                await connection.execute("INSERT INTO results VALUES (%s, %s, %s)", (number, step, content))

    pool = AsyncConnectionPool(place, min_size=4, max_size=concurrency, open=False, kwargs={"autocommit": True})
    async with app.open_async(), pool:
        await app.schema_manager.apply_schema_async()
        async with pool.connection() as connection:
            await connection.execute(results.TABLE)
        queued = time.perf_counter()
        await loop.batch_defer_async(*({"number": number, "inputs": standard.INPUTS} for number in range(loops)))
        queued = time.perf_counter() - queued
        began = time.perf_counter()
        await app.run_worker_async(concurrency=concurrency, wait=False, install_signal_handlers=False)
        took = time.perf_counter() - began
        async with pool.connection() as connection:
            found = await (await connection.execute("SELECT count(*) FROM results")).fetchone()
        assert found == (4 * loops,)
    return {
        "system": f"procrastinate {version('procrastinate')} + own results",
        "settings": f"synchronous_commit=on, {concurrency} jobs at once",
        "loops": loops,
        "seconds": took,
        "queued": loops / queued,
    }
