"""Tests of the list of runs over HTTP."""

import re

from loopkit import MemoryStore
from tests.web.app_helpers import client, make_app, namer, started, work
from tests.web.dashboard.page_helpers import PageReader


async def test_texts_of_the_list() -> None:
    """The list has its heading, its sentence, the button to start, and each run with its status as text."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        await started(http)
        await work(store)
        await started(http)
        response = await http.get("/agents")
        page = PageReader(response)
        for text in (
            "Agent Workflows",
            "Monitor and control automated workflows",
            "+ Start Workflow",
            "Queued",
            "Passed (0.90)",
        ):
            assert text in page.text
            assert text in response.text, "a program that searches the HTML finds it as well"
        assert (await http.get("/")).headers["location"] == "/agents"


async def test_the_empty_list_has_a_command_that_works() -> None:
    """It names the inputs that the first agent requires."""
    async with client(make_app()) as http:
        assert "loopkit-cli run namer --input thing=..." in PageReader(await http.get("/agents")).text


async def test_filters_of_the_list() -> None:
    """Status, agent, time, text and order are in the query and narrow the list; an unknown value is ignored."""
    store = MemoryStore()
    async with client(make_app(store, [namer(), namer("other")])) as http:
        ended = await started(http)
        await work(store)
        waiting = await started(http)

        async def listed(query: str) -> set[str]:
            text = (await http.get(f"/agents?{query}")).text
            return {run["id"] for run in (ended, waiting) if f'id="r-{run["id"]}"' in text}

        both = {ended["id"], waiting["id"]}
        assert await listed("") == await listed("status=strange&order=strange&range=strange") == both
        assert await listed("status=queued") == {waiting["id"]}
        assert await listed("status=attention") == await listed("agent=other") == set()
        assert await listed(f"q={ended['id'][:20]}&range=1h") in ({ended["id"]}, both)
        assert await listed("order=score") == {ended["id"]}
        assert "Nothing matches these filters" in (await http.get("/agents?agent=other")).text


async def test_pages_of_a_long_list() -> None:
    """A page has 50 runs, and a link to the rest; each run is on one page."""
    async with client(make_app()) as http:
        runs = {(await started(http))["id"] for _ in range(53)}
        text = (await http.get("/agents")).text
        first = set(re.findall(r'id="r-(run_\w+)"', text))
        [link] = re.findall(r'rel="next" href="([^"]*)"', text)
        second = set(re.findall(r'id="r-(run_\w+)"', (await http.get(link.replace("&amp;", "&"))).text))
        assert len(first) == 50
        assert first | second == runs
