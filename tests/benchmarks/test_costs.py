"""Statements and commits of a single loop, counted at the drivers. Counts do not depend on the machine."""

from benchmarks import statement_counts

BOUNDARIES = 4
MOST_COMMITS = 6
"""The enqueue, the claim and the boundaries; a claim may share a transaction with the end of the loop before."""
MOST_STATEMENTS = {"sqlite": 50, "postgresql": 33}
"""BEGIN, COMMIT and time limits included."""
LAST_CLAIM = 0.5
"""Most that the last claim adds to each of two loops: it finds nothing, and may share a transaction with a boundary."""


async def test_a_loop_on_sqlite_costs_six_commits_at_most(sqlite_url: str) -> None:
    """Enqueue, claim and four boundaries are a commit each at most, and few statements."""
    await check(sqlite_url, "sqlite")


async def test_a_loop_on_postgresql_costs_six_commits_at_most(postgres_url: str) -> None:
    """Enqueue, claim and four boundaries are a commit each at most, and few statements."""
    await check(postgres_url, "postgresql")


async def check(url: str, kind: str) -> None:
    found = await statement_counts.per_loop(url)
    assert BOUNDARIES <= found["commits"] <= MOST_COMMITS + LAST_CLAIM
    assert found["commits"] < found["statements"] <= MOST_STATEMENTS[kind]
