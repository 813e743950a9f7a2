"""What a lone loop sends to a database, counted as the drivers saw it. Counts do not depend on the machine."""

from __future__ import annotations

from benchmarks import counting

BOUNDARIES = 4
MOST_COMMITS = 6
"""The enqueue, the claim and the boundaries; a claim may ride with the last boundary of the loop before."""
MOST_STATEMENTS = {"sqlite": 50, "postgresql": 33}
"""BEGIN, COMMIT and time limits included."""
LAST_CLAIM = 0.5
"""What the last claim may add to each loop of two: it finds nothing, and rides with a boundary or does not."""


async def test_a_loop_on_sqlite_costs_six_commits_at_most(sqlite_url: str) -> None:
    """Enqueue, claim and four boundaries are a commit each at most, and few statements."""
    await check(sqlite_url, "sqlite")


async def test_a_loop_on_postgresql_costs_six_commits_at_most(postgres_url: str) -> None:
    """Enqueue, claim and four boundaries are a commit each at most, and few statements."""
    await check(postgres_url, "postgresql")


async def check(url: str, kind: str) -> None:
    found = await counting.per_loop(url)
    assert BOUNDARIES <= found["commits"] <= MOST_COMMITS + LAST_CLAIM
    assert found["commits"] < found["statements"] <= MOST_STATEMENTS[kind]
