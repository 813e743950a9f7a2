"""Tests of the runners' page."""

import re
from datetime import timedelta

import attrs

from loopkit import MemoryStore
from loopkit.core.run import NewRun
from loopkit.storage import RunnerInfo
from tests.web.app_helpers import client, make_app

MANY = 1_200


def runner(number: int) -> RunnerInfo:
    """Return a runner whose names have their greatest length."""
    name = f"{number}{chr(39) * 190}"
    agents = (name, *(f"{other}{chr(39) * 190}" for other in range(49)))
    return RunnerInfo(
        id=f"r{number}",
        name=f"{name}:1",
        version="1",
        agents=agents,
        slots=1,
        busy=0,
        heartbeat=timedelta(seconds=30),
    )


async def test_pages_of_very_many_runners_and_agents_are_bounded() -> None:
    """The runners' page shows the first of them and links to the rest; the list names three of the agents."""
    store = MemoryStore()
    for number in range(MANY):
        await store.announce(runner(number))
    agents = [f"w{number}{chr(39) * 190}" for number in range(MANY)]
    await store.submit([NewRun(agent_name=name, inputs={}) for name in agents])
    async with client(make_app(store)) as http:
        page, listed = await http.get("/runners"), await http.get("/agents")
    assert (page.status_code, listed.status_code) == (200, 200)
    assert len(page.content) < 1_000_000
    assert len(listed.content) < 400_000
    assert re.search(f"The first [0-9]+ of {MANY:,} runners", page.text)
    assert f"The first 200 of {2 * MANY:,} agents" in page.text
    assert "and 30 more" in page.text
    assert "/api/runners" in page.text
    assert f"{MANY - 3:,} other agents" in listed.text


async def test_runners_that_have_stopped_are_not_denied() -> None:
    """The page lists only runners at work, and says so, without saying that there never was another."""
    store = MemoryStore()
    await store.announce(attrs.evolve(runner(1), gone=True))
    async with client(make_app(store)) as http:
        text = (await http.get("/runners")).text
    assert "No runner is at work. Those that have stopped are not listed." in text
    assert "24 hours" not in text
    assert "yet" not in text
