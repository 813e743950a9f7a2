"""Tests of cancelling and retrying by forms."""

from loopkit import MemoryStore
from tests.web.app_helpers import client, make_app, started, work
from tests.web.dashboard.page_helpers import PageReader, submit


async def test_run_is_started_cancelled_and_retried_by_forms() -> None:
    """Each form leads on by a 303, submitted twice it acts once, and the page offers the actions that are possible."""
    async with client(make_app()) as http:
        form = PageReader(await http.get("/agents/start?agent=namer")).form("Start")
        first = await submit(http, form, **{"inputs/thing": "a cat", "inputs/count": "2"})
        assert first.status_code == 303
        again = await submit(http, form, **{"inputs/thing": "a cat", "inputs/count": "2"})
        assert again.headers["location"] == first.headers["location"]
        other = await submit(http, form, **{"inputs/thing": "a dog"})
        assert other.headers["location"] != first.headers["location"]

        path = first.headers["location"]
        page = PageReader(await http.get(path))
        assert [button for form in page.forms for button in form["buttons"]] == ["Cancel run", "Save"]
        assert (await submit(http, page.form("Cancel"))).headers["location"] == path
        page = PageReader(await http.get(path))
        assert "Cancelled" in page.text
        retried = await submit(http, page.form("Retry"))
        assert retried.status_code == 303
        assert (await submit(http, page.form("Retry"))).headers["location"] == retried.headers["location"]
        assert "Queued" in PageReader(await http.get(retried.headers["location"])).text


async def test_cancelling_an_ended_run_is_no_error() -> None:
    """Cancel on a page that is out of date leads to the page that shows how the run ended."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        page = PageReader(await http.get(f"/agents/{run['id']}"))
        await work(store)
        response = await submit(http, page.form("Cancel"))
        assert response.status_code == 303
        assert "Passed (0.90)" in PageReader(await http.get(response.headers["location"])).text
