"""Reads of the store that concurrent requests share."""

import anyio
import anyio.lowlevel
import pytest

from loopkit_web.http.shared_reads import SharedReads

HOUR = 3600.0


async def test_a_value_is_shared_until_its_age_and_an_error_is_not() -> None:
    """Within its age a value is returned without another read; an error reaches one caller, and the next one reads."""
    shared = SharedReads()
    reads = 0

    async def read() -> int:
        nonlocal reads
        reads += 1
        await anyio.lowlevel.checkpoint()
        if reads == 1:
            raise RuntimeError
        return reads

    with pytest.raises(RuntimeError):
        await shared.get("key", read, max_age_seconds=HOUR)
    assert [await shared.get("key", read, max_age_seconds=HOUR) for _ in range(3)] == [2, 2, 2]
    assert await shared.get("key", read, max_age_seconds=0) == 3


async def test_concurrent_callers_of_a_key_share_one_read() -> None:
    """While a read of a key runs, others wait for its value; another key is read by itself."""
    shared = SharedReads()
    reads: list[str] = []

    async def get(key: str) -> None:
        async def read() -> str:
            reads.append(key)
            await anyio.lowlevel.checkpoint()
            return key

        assert await shared.get(key, read, max_age_seconds=HOUR) == key

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(get, "a")
            tasks.start_soon(get, "b")
    assert sorted(reads) == ["a", "b"]


async def test_the_number_of_entries_is_bounded() -> None:
    """Of many keys only the most recently used are kept."""
    shared = SharedReads()

    async def read() -> int:
        return 1

    for number in range(1000):
        await shared.get(number, read, max_age_seconds=HOUR)
    assert len(shared._entries) <= 512


def test_each_event_loop_has_its_own_entries() -> None:
    """An app that more than one event loop uses shares no lock between them."""
    shared = SharedReads()

    async def get(value: int) -> int:
        async def read() -> int:
            return value

        return await shared.get("key", read, max_age_seconds=HOUR)

    assert [anyio.run(get, number) for number in (1, 2)] == [1, 2]
