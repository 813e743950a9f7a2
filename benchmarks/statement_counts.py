"""Statements that loopkit sends to a database, recorded at the drivers."""

from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import psycopg
from sqlalchemy import Engine, event

import loopkit
from benchmarks import loops, standard
from loopkit.stores import open_store

Statement = tuple[str, Any]
"""Text and parameters of a statement; on SQLite the parameters are in the text."""


@contextmanager
def statements() -> Iterator[list[Statement]]:
    """Yield a list that grows by every statement sent over connections opened in the block."""
    sent: list[Statement] = []

    class Cursor(psycopg.Cursor[Any]):
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            sent.append((str(query), params))
            return super().execute(query, params, **options)

    def listen(connection: Any, _: Any) -> None:
        if isinstance(connection, psycopg.Connection):
            connection.cursor_factory = Cursor
        else:
            connection.set_trace_callback(lambda text: sent.append((text, None)))

    event.listen(Engine, "connect", listen)
    try:
        yield sent
    finally:
        event.remove(Engine, "connect", listen)


def commits(sent: list[Statement]) -> int:
    return sum(text.strip().upper().startswith("COMMIT") for text, _ in sent)


async def per_loop(url: str) -> dict[str, float]:
    """Return commits and statements per loop of a lone run, its enqueue included, and the loop's own statements.

    Statements that a runner sends once (its announcement, the claim that finds nothing) are left out: the figures are
    the difference between three loops and one. The median of three counts is returned, since a runner also checks for
    cancel requests once a second.
    """
    with statements() as sent:
        async with open_store(url) as store:
            await _loops(store, 1)  # connections are opened and statements prepared
            found = [await _difference(store, sent) for _ in range(3)]
    return {"commits": median(one for one, _ in found), "statements": median(all_of for _, all_of in found)}


async def _difference(store: Any, sent: list[Statement]) -> tuple[float, float]:
    counts = []
    for number in (1, 3):
        sent.clear()
        await _loops(store, number)
        counts.append((commits(sent), len(sent)))
    (commits_of_one, one), (commits_of_three, three) = counts
    return (commits_of_three - commits_of_one) / 2, (three - one) / 2


async def _loops(store: Any, number: int) -> None:
    for _ in range(number):
        await loopkit.submit(store, loops.AGENT, [standard.INPUTS])
    await loopkit.Runner(store, [loops.AGENT], concurrency=1).drain()
