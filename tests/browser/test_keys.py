"""Tests of the keyboard, and of a list that changes while it is read."""

import contextlib
import re
from collections.abc import Callable
from typing import Any

from playwright import sync_api as playwright
from playwright.sync_api import expect

from loopkit import MemoryStore
from loopkit.core.run import NewRun
from loopkit.testing.sync_calls import Blocking
from loopkit_web import Streams, allow_all, create_app
from tests.browser.conftest import Opener, open_page, wait_for_script
from tests.browser.seed_helpers import agents

World = tuple[str, dict[str, str], Any]


def test_list_and_run_by_keyboard_alone(opened: Opener, world: World) -> None:
    """Every step has its key: search, rows, select, open, attempts, back to the list, runners, and the help."""
    url, _, _ = world
    page = opened()
    open_page(page, url + "/agents")
    press = page.keyboard.press
    press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.locator("body").click(position={"x": 5, "y": 300})
    press("/")
    expect(page.locator("#search")).to_be_focused()
    press("j")
    expect(page.locator("#search")).to_have_value("j")
    page.locator("#search").fill("")
    page.locator("#search").blur()
    for _ in range(3):
        press("j")
    expect(page.locator("tr.run").nth(2)).to_have_class(re.compile("cur"))
    press("k")
    expect(page.locator("tr.run").nth(1)).to_have_class(re.compile("cur"))
    press("x")
    expect(page.locator("tr.run").nth(1).locator("input")).to_be_checked()
    expect(page.get_by_role("button", name="Review and retry")).to_be_visible()
    press("Enter")
    page.wait_for_url(re.compile("/agents/run_"))
    wait_for_script(page)
    press("]")
    expect(page.locator("#attempt-1")).to_be_focused()
    go(page, "r", url + "/runners")
    press("?")
    expect(page.get_by_role("dialog").get_by_text("Single-key shortcuts")).to_be_visible()
    page.get_by_role("dialog").get_by_label("Single-key shortcuts").uncheck()
    press("Escape")
    press("g")
    press("l")
    assert page.url == url + "/runners", "single-key shortcuts are off now"
    page.click("#keys")
    page.get_by_role("dialog").get_by_label("Single-key shortcuts").check()
    press("Escape")
    go(page, "l", url + "/agents")
    press("s")
    expect(page.get_by_role("dialog").get_by_role("heading", name="Start a run")).to_be_visible()
    press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def go(page: Any, key: str, address: str) -> None:
    """Press g and then a key; again if this machine was too slow for the two to count as one shortcut."""
    while page.url != address:
        page.keyboard.press("g")
        page.keyboard.press(key)
        with contextlib.suppress(playwright.TimeoutError):
            page.wait_for_url(address, timeout=2_000)
    wait_for_script(page)


def test_new_runs_wait_while_the_list_is_in_use(opened: Opener, served: Callable[[Any], str]) -> None:
    """New runs wait behind a button while the list is in use; pressing it shows them and focuses the first."""
    store = MemoryStore()
    url = served(create_app(store, agents(), access=allow_all, streams=Streams(poll_seconds=0.05)))
    new = NewRun(agent_name="sql_reviewer", inputs={"n": 1})
    with Blocking(store) as plain:
        plain.submit([new])
        page = opened()
        page.goto(url + "/agents")
        expect(page.locator("#live-state")).to_have_text("Live")
        page.locator("tr.run a").focus()
        plain.submit([new, new])
        expect(page.locator("#new-runs")).to_have_text("2 new runs")
        assert page.locator("tr.run").count() == 1
        expect(page.locator("#say")).to_have_text("2 new runs")
        page.click("#new-runs")
        expect(page.locator("tr.run")).to_have_count(3)
        expect(page.locator("tr.run a").first).to_be_focused()


def test_paused_page_makes_no_request(opened: Opener, served: Callable[[Any], str]) -> None:
    """A paused page makes no request; when it is resumed, it catches up at once."""
    store = MemoryStore()
    url = served(create_app(store, agents(), access=allow_all, streams=Streams(poll_seconds=0.05)))
    new = NewRun(agent_name="sql_reviewer", inputs={"n": 1})
    with Blocking(store) as plain:
        plain.submit([new])
        page = opened()
        page.goto(url + "/agents")
        expect(page.locator("#live-state")).to_have_text("Live")
        page.click("#pause")
        expect(page.locator("#live-state")).to_have_text("Paused")
        before = len(page.watched.requests)
        [run] = plain.submit([new])
        page.evaluate("new Promise((done) => setTimeout(done, 700))")
        assert len(page.watched.requests) == before
        page.click("#pause")
        expect(page.locator("#new-runs").or_(page.locator(f"#r-{run.id}")).last).to_be_visible()


def test_many_runs_are_cancelled_after_a_review(opened: Opener, served: Callable[[Any], str]) -> None:
    """Bulk actions first show the runs that they would change, and skip those that they cannot."""
    store = MemoryStore()
    url = served(create_app(store, agents(), access=allow_all))
    with Blocking(store) as plain:
        runs = plain.submit([NewRun(agent_name="sql_reviewer", inputs={"n": n}) for n in range(3)])
        plain.request_cancel(runs[0].id)
        page = opened()
        page.goto(url + "/agents")
        for run in runs:
            page.get_by_label(f"Select {run.id}").check()
        page.get_by_role("button", name="Review and cancel").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Cancel 2 runs?")
        expect(page.get_by_text("skipped")).to_have_count(1)
        page.get_by_role("button", name="Cancel 2 runs").click()
        page.wait_for_url(url + "/agents")
        assert {plain.get_run(run.id).status.value for run in runs} == {"cancelled"}
