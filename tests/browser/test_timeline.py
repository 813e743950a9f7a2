"""The timeline of a long run: a window that moves, however many events there are and however fast they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from anyio.from_thread import start_blocking_portal
from playwright.sync_api import expect

from loopkit import MemoryStore
from loopkit.core import machine
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.lease import Claimant
from loopkit.core.outcome import Evaluated, Evaluation, Produced
from loopkit.core.run import NewRun
from loopkit.storage import Held
from loopkit.testing.blocking import Blocking
from loopkit_web import Streams, allow_all, create_app
from tests.browser.conftest import Opener
from tests.browser.seeding import agents

MOST = 600


async def begun(store: MemoryStore) -> Held:
    new = NewRun(agent_name="target_builder", inputs={"thesis": "Many events"})
    return await store.start(new, Claimant(name="atlas:1"))


async def logged(store: MemoryStore, held: Held, first: int, count: int) -> None:
    """Write many lines at once, as a talkative stage does."""
    run = await store.get_run(held.run.id)
    events = [
        NewEvent(event_type=EventType.LOG, stage=run.current_stage, attempt=1, message=f"Line {number}")
        for number in range(first, first + count)
    ]
    await store.record(held.lease, machine.log(run, events))


async def finished(store: MemoryStore, held: Held) -> None:
    for outcome in (Produced("# Made"), Evaluated(Evaluation(0.95, "good"))):
        run = await store.get_run(held.run.id)
        await store.record(held.lease, machine.advance(run, outcome))


def kept_in_memory(page: Any) -> dict[str, float]:
    """Give how many nodes and listeners the browser keeps for a page once its garbage is gone."""
    debugger = page.context.new_cdp_session(page)
    debugger.send("Performance.enable")
    debugger.send("HeapProfiler.collectGarbage")
    kept = {one["name"]: one["value"] for one in debugger.send("Performance.getMetrics")["metrics"]}
    debugger.detach()
    return kept


def test_ten_thousand_events_stream_through_a_window(opened: Opener, served: Callable[[Any], str]) -> None:
    """10,000 events come while the page is open: never more than 600 of them are in it, the last is there, none
    twice, memory holds no more after 10,000 than after 5,000, and the earlier ones can be had."""
    store = MemoryStore()
    url = served(create_app(store, agents(), access=allow_all, streams=Streams(poll_seconds=0.05)))
    page = opened()
    with start_blocking_portal() as portal:
        held = portal.call(begun, store)
        page.goto(f"{url}/agents/{held.run.id}")
        expect(page.locator("#live-state")).to_have_text("Live")
        page.evaluate(
            """() => {
                window.__most = 0;
                new MutationObserver(() => {
                    window.__most = Math.max(window.__most, document.querySelectorAll('.event').length);
                }).observe(document.querySelector('#events'), {childList: true, subtree: true});
            }"""
        )
        kept = []
        for half in (0, 5_000):
            for first in range(half, half + 5_000, 250):
                portal.call(logged, store, held, first, 250)
            page.get_by_label("Logs").check()
            page.get_by_label("Everything").check()
            newest = page.locator("#events").get_by_text(f"Line {half + 4_999}", exact=True)
            expect(newest).to_be_visible(timeout=60_000)
            kept.append(kept_in_memory(page))
        assert kept[1]["JSEventListeners"] == kept[0]["JSEventListeners"]
        assert kept[1]["Nodes"] < 1.5 * kept[0]["Nodes"], "what left the page is let go of"
        portal.call(finished, store, held)
    expect(page.locator("h1 .badge")).to_have_text("Passed (0.95)")
    expect(page.locator("#events .event", has_text="Evaluated - Score: 0.95")).to_be_visible()
    ids = page.eval_on_selector_all(".event", "(all) => all.map((one) => Number(one.id.slice(1)))")
    assert ids == list(range(ids[0], ids[-1] + 1)), "each event once, in order, none missing"
    assert page.evaluate("window.__most") <= MOST + 200  # what just came in is added before as many leave
    assert len(ids) <= MOST

    page.get_by_role("link", name="Earlier events").click()
    expect(page.locator(f"#e{ids[0] - 1}")).to_be_attached()
    assert page.locator(".event").count() <= MOST
    expect(page.get_by_role("link", name="Jump to latest")).to_be_visible()
    page.get_by_role("link", name="Jump to latest").click()
    expect(page.locator("#events .event", has_text="Evaluated - Score: 0.95")).to_be_visible()


def test_a_window_of_a_long_run_needs_no_script(opened: Opener, served: Callable[[Any], str]) -> None:
    """Without scripts the earlier and the later events are pages of 200."""
    store = MemoryStore()
    url = served(create_app(store, agents(), access=allow_all))
    with Blocking(store), start_blocking_portal() as portal:
        held = portal.call(begun, store)
        portal.call(logged, store, held, 0, 500)
        portal.call(finished, store, held)
    page = opened(java_script_enabled=False)
    page.without_scripts = True
    page.goto(f"{url}/agents/{held.run.id}")
    expect(page.locator(".event")).to_have_count(200)
    for _ in range(2):
        with page.expect_navigation():
            page.get_by_role("link", name="Earlier events").click()
    expect(page.get_by_text("Queued", exact=True).first).to_be_visible()
    page.get_by_role("link", name="Jump to latest").click()
    expect(page.get_by_text("Evaluated - Score: 0.95")).to_be_visible()
