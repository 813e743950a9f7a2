"""Tests of what a reader sees first: the result of a run that passed, and the reason of one that failed."""

from collections.abc import Callable
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import expect

from loopkit import MemoryStore
from loopkit.core import machine
from loopkit.core.lease import Claimant
from loopkit.core.outcome import Evaluated, Evaluation, Produced
from loopkit.core.run import NewRun
from loopkit.storage import Held
from loopkit_web import allow_all, create_app
from tests.browser.conftest import Opener
from tests.browser.seed_helpers import ERROR, FAILURE, World, agents

Seeded = tuple[str, dict[str, str], World]

LONG = "# A long report\n\n" + "\n".join(f"Line {number} of it, with **bold** words.\n" for number in range(500))


async def start_run(store: MemoryStore) -> Held:
    return await store.start(NewRun(agent_name="release_notes", inputs={}), Claimant(name="atlas:1"))


async def finish_run(store: MemoryStore, held: Held, output: str) -> None:
    for outcome in (Produced(output), Evaluated(Evaluation(0.95, "good"))):
        run = await store.get_run(held.run.id)
        await store.record(held.lease, machine.advance(run, outcome))


def is_on_first_screen(locator: Any) -> bool:
    """Return whether an element begins within the window, as the page was opened."""
    box, height = locator.bounding_box(), locator.page.viewport_size["height"]
    return bool(box and 0 <= box["y"] < height - 16)


@pytest.mark.parametrize("size", [(1440, 900), (900, 700), (768, 1024), (375, 667)])
def test_output_is_on_the_first_screen(size: tuple[int, int], opened: Opener, world: Seeded) -> None:
    """The best output of a passed run, with Copy and Download, is seen without scrolling; no button is stronger."""
    url, ids, _ = world
    page = opened(viewport={"width": size[0], "height": size[1]})
    page.goto(f"{url}/agents/{ids['passed']}")
    output = page.locator("#output")
    expect(output.get_by_role("heading", name="Best output")).to_be_visible()
    for element in (
        output.get_by_role("heading", name="Refund requests after 30 days"),
        output.get_by_role("button", name="Copy"),
        output.get_by_role("link", name="Download"),
    ):
        assert is_on_first_screen(element)
    assert page.locator(".button.primary").count() == 0
    assert output.bounding_box()["y"] < page.locator(".rail").bounding_box()["y"]


def test_copy_takes_all_of_a_long_output(opened: Opener, served: Callable[[Any], str]) -> None:
    """A long output is cut on the page and says so; Copy and Download take all of it. The page shows it when the run
    ends while the page is open."""
    store = MemoryStore()
    url = served(create_app(store, agents(), access=allow_all))
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    with start_blocking_portal() as portal:
        held = portal.call(start_run, store)
        page.goto(f"{url}/agents/{held.run.id}")
        expect(page.locator("#live-state")).to_have_text("Live")
        expect(page.locator("#output")).to_have_count(0)
        portal.call(finish_run, store, held, LONG)
    output = page.locator("#output")
    expect(output).to_contain_text("Line 1 of it, with bold words.")
    expect(output).to_contain_text("Show all")
    assert "Line 499" not in output.inner_text()
    output.get_by_role("button", name="Copy").click()
    expect(page.locator("#say")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == LONG
    with page.expect_download() as download:
        output.get_by_role("link", name="Download").click()
    assert download.value.path().read_text() == LONG


def test_reason_of_a_failure_is_on_the_first_screen(opened: Opener, world: Seeded) -> None:
    """A failed run says which stage failed and why, in full, where in the code, and what to do."""
    url, ids, _ = world
    page = opened()
    page.goto(f"{url}/agents/{ids['error']}")
    strip = page.locator(".strip.bad")
    for text in ("Failed in attempt 1: evaluate ended with an error.", ERROR, FAILURE["exception"], "score.py:41"):
        expect(strip).to_contain_text(text)
    expect(strip.locator("pre")).to_have_text(FAILURE["traceback"], use_inner_text=True)
    expect(strip).to_contain_text("When the code at score.py:41 is corrected, choose Retry")
    assert is_on_first_screen(strip.locator("pre"))
    expect(page.locator(".rail svg.plot")).to_have_count(0)
    event = page.locator(".event.e-error")
    expect(event).to_contain_text("score.py:41")
    expect(event.locator("pre")).to_be_hidden()
    event.get_by_text("Traceback", exact=True).click()
    expect(event.locator("pre")).to_be_visible()


@pytest.mark.parametrize("width", [375, 768, 900, 1440])
def test_list_shows_the_reason_of_a_failure(width: int, opened: Opener, world: Seeded) -> None:
    """At every width the row of a failed run has a readable part of its error."""
    url, ids, _ = world
    page = opened(viewport={"width": width, "height": 900})
    page.goto(f"{url}/agents?status=failed")
    reason = page.locator(f"#r-{ids['error']} .reason")
    expect(reason).to_have_text(ERROR)
    box = reason.bounding_box()
    assert box["width"] >= 240
    assert box["height"] >= 15


def test_paper_shows_the_run_and_no_controls(opened: Opener, world: Any) -> None:
    """In print the reader gets status, output and attempts; nothing that only a screen can do, and no clipped row."""
    url, ids, _ = world
    page = opened(viewport={"width": 794, "height": 1123})
    page.emulate_media(media="print")
    paths = (f"/agents/{ids['passed']}", f"/agents/{ids['failed']}/compare", f"/agents/{ids['failed']}", "/agents")
    for path in paths:
        page.goto(url + path)
        assert page.locator("h1").is_visible()
        shown = page.evaluate(
            "[...document.querySelectorAll('button, a.button, select, input, nav, .seg, #labels')]"
            ".filter((one) => one.checkVisibility()).map((one) => one.outerHTML.slice(0, 120))"
        )
        assert shown == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 794
        cut = "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth + 1).length"
        assert page.evaluate(cut) == 0
    page.goto(f"{url}/agents/{ids['passed']}")
    assert page.locator("#output-title").is_visible()
