"""``connect()``: opening a store outside of a block."""

from datetime import timedelta

import anyio

from loopkit.storage import RunQuery
from loopkit.stores import connect


def test_a_connected_store_serves_several_event_loops_until_it_is_closed(sqlite_url: str) -> None:
    """It has the given stall time, works in one event loop after another, and may be closed twice."""
    store = connect(sqlite_url, stalled_after=timedelta(seconds=7))
    assert store.stalled_after == timedelta(seconds=7)

    async def count() -> int:
        return len((await store.list_runs(RunQuery())).runs)

    assert [anyio.run(count, backend=backend) for backend in ("asyncio", "trio")] == [0, 0]
    anyio.run(store.aclose)
    anyio.run(store.aclose)
