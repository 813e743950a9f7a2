"""The store in memory and each database, driven by the same operations, have the same results.

``LOOPKIT_TEST_SEQUENCES`` says how many sequences are played and ``LOOPKIT_TEST_FIRST_SEED`` where they begin, so
that 10,000 can be played in parts: the seed of a sequence is its number.
"""

from collections.abc import Sequence

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete

from loopkit.core.journal import Change
from loopkit.core.lease import Lease
from loopkit.core.run import Run
from loopkit.stores.memory import MemoryStore
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.schema import migrations, tables
from loopkit.stores.sql.store import SqlStore
from loopkit.testing import CountedIds, HandClock
from loopkit.testing.hand_clock import START
from loopkit.testing.lockstep import PANEL_WEIGHTS, VERBS, Difference, Operation, operations, play
from tests.length_helpers import count
from tests.stores.broken_ledger_helpers import ForgetsTheLastVerdict
from tests.stores.broken_store_helpers import (
    BoundariesDoNotRenew,
    FencesWithoutStatus,
    KeepsTheLastScore,
    NewestFirst,
    NoPoisonLimit,
)
from tests.stores.ways_helpers import assert_both_taken, count_ways

LENGTH = 40
KINDS = [
    pytest.param("sqlite_url", 12, id="sqlite"),
    pytest.param("postgres_url", 12, id="postgresql"),
    pytest.param("libsql_url", 2, id="libsql"),
]


class TwoStores(SqlStore):
    """A store that now and then lets a second one of the same database write a change.

    Neither knows how many events the other has written, so both ways of writing a change are taken.
    """

    def __init__(self, url: str, clock: HandClock) -> None:
        super().__init__(open_database(url), now=clock)
        self._second = SqlStore(open_database(url), now=clock)
        self._changes = 0

    async def record(self, lease: Lease, change: Change) -> Run:
        self._changes += 1
        return await (self._second.record if self._changes % 5 == 0 else super().record)(lease, change)

    async def aclose(self) -> None:
        await self._second.aclose()
        await super().aclose()


class Pair:
    """Store in memory and store in a database, both emptied for each sequence."""

    def __init__(self, url: str) -> None:
        self._clock = HandClock()
        self._database = open_database(url)
        migrations.migrate(self._database)
        self._store = TwoStores(url, self._clock)

    async def play(self, sequence: Sequence[Operation]) -> None:
        """Play a sequence on both stores."""
        with self._database.writing() as connection:
            for table in tables.metadata.sorted_tables:
                if table is not tables.schema:
                    connection.execute(delete(table))
        self._clock.time = START
        await play(MemoryStore(now=self._clock), self._store, self._clock, sequence)

    async def aclose(self) -> None:
        await self._store.aclose()
        self._database.close()


async def shortened(pair: Pair, sequence: list[Operation]) -> list[Operation]:
    """Remove from a sequence the operations that the difference does not need."""
    for number in reversed(range(len(sequence))):
        shorter = [*sequence[:number], *sequence[number + 1 :]]
        try:
            await pair.play(shorter)
        except Difference:
            sequence = shorter
    return sequence


@pytest.mark.parametrize(("kind", "short"), KINDS)
def test_drawn_sequences_leave_equal_stores(
    kind: str, short: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results, errors, rows, journals and artifacts are equal after every step of every sequence, and changes are
    written as meant and carefully. One sequence in four is about panels.
    """
    ways = count_ways(monkeypatch)
    first = count("first_seed", 0, long=0)
    seeds = range(first, first + count("sequences", short, long=10_000))
    pair = Pair(request.getfixturevalue(kind))

    async def play_all() -> None:
        try:
            for seed in seeds:
                sequence = operations(seed, LENGTH, PANEL_WEIGHTS if seed % 4 == 3 else None)
                try:
                    await pair.play(sequence)
                except Difference:
                    shortest = await shortened(pair, sequence)
                    print(f"seed {seed} (LOOPKIT_TEST_FIRST_SEED={seed}), shortened: {shortest}")
                    await pair.play(shortest)
                    raise
        finally:
            await pair.aclose()

    anyio.run(play_all)
    if kind != "libsql_url":
        assert_both_taken(ways, least=len(seeds))


@given(st.lists(st.builds(Operation, st.sampled_from(sorted(VERBS)), st.integers(0, 2**32 - 1)), max_size=30))
def test_any_operations_leave_equal_stores_in_memory(sequence: list[Operation]) -> None:
    """A store is equal to itself after every sequence: no operation depends on chance."""
    clock = HandClock()
    anyio.run(play, MemoryStore(now=clock, ids=CountedIds(1)), MemoryStore(now=clock), clock, sequence)


class CountedPanels(MemoryStore):
    """A store that counts the evaluations by panels."""

    def __init__(self, clock: HandClock) -> None:
        super().__init__(now=clock)
        self.evaluations = 0

    async def record(self, lease: Lease, change: Change) -> Run:
        content = "" if change.artifact is None else change.artifact.content
        self.evaluations += '"judges"' in content or '"checks"' in content
        return await super().record(lease, change)


def test_sequences_have_evaluations_by_panels() -> None:
    """Panels come to their evaluations, in sequences that are about them."""
    evaluations = []

    async def play_some() -> None:
        for seed in range(20):
            clock = HandClock()
            store = CountedPanels(clock)
            await play(store, MemoryStore(now=clock), clock, operations(seed, LENGTH, PANEL_WEIGHTS))
            evaluations.append(store.evaluations)

    anyio.run(play_some)
    assert sum(evaluations) >= 10, evaluations


@pytest.mark.parametrize(
    "broken",
    [FencesWithoutStatus, KeepsTheLastScore, NewestFirst, NoPoisonLimit, BoundariesDoNotRenew, ForgetsTheLastVerdict],
)
def test_a_broken_store_differs(broken: type[MemoryStore]) -> None:
    """A broken store differs within some dozens of sequences."""

    async def play_some() -> None:
        for seed in range(60):
            clock = HandClock()
            await play(MemoryStore(now=clock), broken(now=clock), clock, operations(seed, LENGTH))

    with pytest.raises(Difference):
        anyio.run(play_some)
