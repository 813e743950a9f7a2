"""A journal is read whole, and followed to the last event of an ended run."""

import anyio
import pytest

import loopkit
from loopkit.core.journal import RunEvent
from loopkit.errors import RunNotFound
from loopkit.journal_reader import read_events, read_newest_event


def greeter() -> loopkit.Agent:
    return loopkit.Agent(name="greeter", produce=lambda ctx: "hello", evaluate=lambda ctx: 1.0)


async def test_follow_ends_after_the_last_event_of_an_ended_run() -> None:
    """Every event comes once, in order of id, those of a run that is worked meanwhile included."""
    store = loopkit.MemoryStore()
    (queued,) = await loopkit.submit(store, greeter(), [{}])
    followed: list[RunEvent] = []

    async def read() -> None:
        followed.extend([event async for event in loopkit.follow(store, queued.id)])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await loopkit.Runner(store, [greeter()]).drain()
    assert followed == [event async for event in read_events(store, queued.id)]
    assert (followed[-1].metadata or {})["status"] == "passed"


async def test_the_newest_event_is_the_last_of_the_journal() -> None:
    """It has the largest id; a run that is not stored is an error."""
    store = loopkit.MemoryStore()
    (queued,) = await loopkit.submit(store, greeter(), [{}])
    for _ in range(2):
        assert await read_newest_event(store, queued.id) == [event async for event in read_events(store, queued.id)][-1]
        await loopkit.Runner(store, [greeter()]).drain()
    with pytest.raises(RunNotFound):
        await read_newest_event(store, "run_unknown")


async def test_follow_resumes_after_an_event() -> None:
    """``after`` is the id of the last event that was seen."""
    store = loopkit.MemoryStore()
    result = await loopkit.run(greeter(), {}, store=store)
    every = [event async for event in loopkit.follow(store, result.run.id)]
    assert [event async for event in loopkit.follow(store, result.run.id, every[2].id)] == every[3:]


async def test_an_unknown_run_is_an_error() -> None:
    """It is raised at the first event that is asked for."""
    with pytest.raises(RunNotFound):
        await anext(loopkit.follow(loopkit.MemoryStore(), "run_unknown"))
