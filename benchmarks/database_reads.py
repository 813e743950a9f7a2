"""Lists, tails and claims in a database of a given size: their times, and their query plans."""

import re
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import psycopg

import loopkit
from benchmarks import loops, standard, statement_counts
from loopkit.runner import claimant
from loopkit.storage import Order, RunQuery
from loopkit.stores import open_store

Look = Callable[[], Awaitable[Any]]
OWN_TABLES = re.compile(r"\b(?:SCAN|Seq Scan on) (workflow_\w+|loopkit_keys|loopkit_days)")
"""Tables that grow with the runs."""


def _looks(store: Any, run_id: str) -> dict[str, Look]:
    failed = frozenset({loopkit.RunStatus.FAILED})
    return {
        "list page": lambda: store.list_runs(RunQuery()),
        "filtered list": lambda: store.list_runs(RunQuery(agent=standard.NAME, statuses=failed)),
        "list by end": lambda: store.list_runs(RunQuery(order=Order.COMPLETED)),
        "search": lambda: store.list_runs(RunQuery(text=run_id)),
        "event tail": lambda: store.list_events(run_id, after=1),
        "claim": lambda: store.claim(claimant(), {loops.AGENT.name: loops.AGENT.definition}, limit=1),
    }


async def look(urls: dict[str, str], times: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each read on each database, measured in turns.

    First as many runs as reads are queued in each, for the claims.
    """
    took: dict[str, dict[str, list[float]]] = {place: {} for place in urls}
    async with AsyncExitStack() as stack:
        looks = {}
        for place, url in urls.items():
            await loops.queue(url, times + 1)
            looks[place] = await _looks_at(await stack.enter_async_context(open_store(url)))
        for number in range(times + 1):
            for place, names in looks.items():
                for name, one in names.items():
                    began = time.perf_counter()
                    await one()
                    if number:  # the first opens connections and prepares statements
                        took[place].setdefault(name, []).append(time.perf_counter() - began)
    return {place: {name: statistics.median(one) for name, one in names.items()} for place, names in took.items()}


async def _looks_at(store: Any) -> dict[str, Look]:
    page = await store.list_runs(RunQuery(statuses=frozenset({loopkit.RunStatus.PASSED}), limit=200))
    return _looks(store, page.runs[-1].id)


async def plans(url: str) -> dict[str, Any]:
    """Do everything a store does once; return the number of different statements and those that scan a table."""
    with statement_counts.statements() as sent:
        async with open_store(url) as store:
            await _everything(store)
    return scans(url, sent)


def scans(url: str, sent: list[statement_counts.Statement]) -> dict[str, Any]:
    """Return the number of different statements sent, and those that scan a table."""
    different = {re.sub(r"'[^']*'|\d+", "?", text): (text, values) for text, values in sent}
    explain = _explain_sqlite if url.startswith("sqlite") else _explain_postgresql
    wanted = [one for one in different.values() if one[0].lstrip().split(" ")[0] in _EXPLAINED]
    found = explain(url, wanted)
    return {"statements": len(wanted), "scans": [f"{table}: {text[:160]}" for table, text in found]}


_EXPLAINED = {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}


async def _everything(store: Any) -> None:
    await loopkit.submit(store, loops.AGENT, [standard.INPUTS] * 4)
    await loopkit.Runner(store, [loops.AGENT], concurrency=2).drain()
    (run, other) = await loopkit.submit(store, loops.AGENT, [standard.INPUTS] * 2)
    await store.submit([loopkit.new_run(loops.AGENT, standard.INPUTS, idempotency_key=f"key-{run.id}")])
    held = await store.claim_run(claimant(), run.id)
    await store.heartbeat([held.lease])
    await store.watch([held.lease])
    await store.request_cancel(other.id)
    for one in _looks(store, run.id).values():
        await one()
    for order in Order:
        await store.list_runs(RunQuery(order=order, agent=standard.NAME))
    await store.list_runs(RunQuery(stalled=True))
    await store.list_artifacts(run.id)
    await store.list_events(run.id, before=10**9, limit=5)
    for figure in (store.stats, store.holdings, store.runners):
        await figure()
    await store.trajectories([run.id])
    await store.retry(other.id)
    await store.prune(timedelta(days=1), limit=5)


def _explain_sqlite(url: str, wanted: list[statement_counts.Statement]) -> list[tuple[str, str]]:
    import sqlite3

    found = []
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    for text, _ in wanted:
        for *_, detail in connection.execute(f"EXPLAIN QUERY PLAN {text}"):
            if (scan := OWN_TABLES.search(detail)) and " USING " not in detail:
                found.append((scan[1], text))
    connection.close()
    return found


def _explain_postgresql(url: str, wanted: list[statement_counts.Statement]) -> list[tuple[str, str]]:
    found = []
    with psycopg.connect(url, autocommit=True) as connection:
        large = {
            name
            for (name,) in connection.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > 500")
        }
        for text, values in wanted:
            plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN {text}", values))
            found += [(table, text) for table in OWN_TABLES.findall(plan) if table in large]
    return found
