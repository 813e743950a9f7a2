"""What the ledger of a change costs, and that it is written whichever way the change is."""

from collections import Counter

import anyio
import attrs
import pytest

from benchmarks.statement_counts import statements
from loopkit.core import machine
from loopkit.core.journal import Change
from loopkit.core.ledger.calls import ModelCall, spending_of
from loopkit.core.ledger.sums import SUM_NAMES
from loopkit.core.run import Run
from loopkit.storage import Held
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.schema import migrations
from loopkit.stores.sql.statements.changes import SUMS
from loopkit.stores.sql.store import SqlStore
from loopkit.testing.steps import new_call, new_verdict, start_one
from tests.stores.ways_helpers import assert_both_taken, count_ways


def booked(run: Run, *, calls: int = 0, verdicts: int = 0) -> Change:
    """Return a change with so many model calls and verdicts and nothing else."""
    made = [new_call(f"call {number}", input_tokens=number) for number in range(calls)]
    given = [new_verdict(f"judge {number}") for number in range(verdicts)]
    return machine.log_change(run, [], calls=made, verdicts=given, spending=spending_of(made))


@pytest.mark.parametrize(("url", "each"), [("sqlite_url", 3), ("postgres_url", 1)], indirect=["url"])
async def test_calls_and_verdicts_cost_a_statement_each(url: str, each: int) -> None:
    """None where there are none; else one for the whole batch, which SQLite executes once a row."""
    with statements() as sent:

        def counted() -> Counter[str]:
            inserts = Counter(
                table for text, _ in sent for table in ("loopkit_usage", "loopkit_verdicts") if f"INTO {table}" in text
            )
            inserts["all"] = len(sent)
            sent.clear()
            return inserts

        database = open_database(url)
        migrations.migrate(database)
        async with SqlStore(database) as store:
            held = await start_one(store)
            run = await store.record(held.lease, booked(held.run))
            sent.clear()
            run = await store.record(held.lease, booked(run))
            bare = counted()
            assert (bare["loopkit_usage"], bare["loopkit_verdicts"]) == (0, 0)
            run = await store.record(held.lease, booked(run, calls=3))
            assert counted() == bare + Counter({"loopkit_usage": each, "all": each})
            run = await store.record(held.lease, booked(run, verdicts=3))
            assert counted() == bare + Counter({"loopkit_verdicts": each, "all": each})
            run = await store.record(held.lease, booked(attrs.evolve(run, input_tokens=0), calls=3, verdicts=3))
            assert counted() == bare + Counter({"loopkit_usage": each, "loopkit_verdicts": each, "all": 2 * each})


async def test_both_ways_write_the_ledger(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes of several runs that are written together keep their ledgers apart, as meant and carefully."""
    ways = count_ways(monkeypatch)
    database = open_database(url)
    migrations.migrate(database)
    async with SqlStore(database) as store, SqlStore(open_database(url)) as other:
        holds = [await start_one(store) for _ in range(4)]
        runs = {held.run.id: held.run for held in holds}
        wanted: dict[str, list[ModelCall]] = {run_id: [] for run_id in runs}

        async def record(held: Held, through: SqlStore, number: int) -> None:
            run = runs[held.run.id]
            calls = [new_call(f"{name} {number}", input_tokens=number, cost_nanos=holds.index(held)) for name in "ba"]
            change = machine.log_change(run, [], calls=calls, spending=spending_of(calls))
            runs[run.id] = await through.record(held.lease, change)
            wanted[run.id] += calls

        for number, through in enumerate([store, other, store, other]):
            async with anyio.create_task_group() as tasks:
                for held in holds:
                    tasks.start_soon(record, held, through, number)
        for run_id, run in runs.items():
            assert run == await store.get_run(run_id)
            assert run.spending == spending_of(wanted[run_id])
            assert [call.id for call in await store.list_calls(run_id)] == [call.id for call in wanted[run_id]]
        assert await store.check() == []
    if not url.startswith("http"):
        assert_both_taken(ways, least=4)


def test_sums_have_one_order() -> None:
    """The columns of the sums stand in the order of the values that a change returns."""
    assert tuple(SUMS) == SUM_NAMES
