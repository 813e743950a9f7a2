"""pgqueuer on PostgreSQL, with a table of our own for what a loop makes: one durable INSERT a boundary."""

import json
import logging
import time
from importlib.metadata import version
from typing import Any

import asyncpg
from pgqueuer import AsyncpgPoolDriver, Job, Queries, QueueManager
from pgqueuer.types import QueueExecutionMode

from benchmarks import standard
from benchmarks.peers import results


async def run(place: str, loops: int, concurrency: int) -> dict[str, Any]:
    logging.disable(logging.CRITICAL)
    async with asyncpg.create_pool(place, min_size=concurrency, max_size=concurrency) as pool:
        driver = AsyncpgPoolDriver(pool)
        queries = Queries(driver)
        await queries.install()
        await pool.execute(results.TABLE)
        payloads: list[bytes | None] = [json.dumps([n, standard.INPUTS]).encode() for n in range(loops)]
        queued = time.perf_counter()
        await queries.enqueue([standard.NAME] * loops, payloads, [0] * loops)
        queued = time.perf_counter() - queued
        manager = QueueManager(queries)

        @manager.entrypoint(standard.NAME)
        async def loop(job: Job) -> None:
            number, _ = json.loads(job.payload or b"")
            for step, content in results.steps(number):
                await pool.execute(
                    "INSERT INTO results (run, step, content) VALUES ($1, $2, $3)", number, step, content
                )

        began = time.perf_counter()
        await manager.run(mode=QueueExecutionMode.drain, batch_size=concurrency, max_concurrent_tasks=2 * concurrency)
        took = time.perf_counter() - began
        assert await pool.fetchval("SELECT count(*) FROM results") == 4 * loops
    return {
        "system": f"pgqueuer {version('pgqueuer')} + own results",
        "settings": f"synchronous_commit=on, pool and batch of {concurrency}",
        "loops": loops,
        "seconds": took,
        "queued": loops / queued,
    }
