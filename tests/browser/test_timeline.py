"""Tests of the timeline of a long run: a window that moves, however many events come, and however fast."""

from collections.abc import Callable
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import expect

from loopkit import MemoryStore
from loopkit.core import machine
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.lease import Claimant
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Produced
from loopkit.core.run import NewRun
from loopkit.storage import Held
from loopkit.testing.sync_calls import Blocking
from loopkit_web import Streams, allow_all, create_app
from tests.browser.conftest import Opener
from tests.browser.seed_helpers import Clock, agents

MAX_EVENTS = 600


async def start_run(store: MemoryStore) -> Held:
    new = NewRun(agent_name="target_builder", inputs={"thesis": "Many events"})
    return await store.start(new, Claimant(name="atlas:1"))


async def log_lines(store: MemoryStore, held: Held, first: int, count: int) -> None:
    """Write many lines at once, as a stage that logs much does."""
    run = await store.get_run(held.run.id)
    events = [
        NewEvent(event_type=EventType.LOG, stage=run.current_stage, attempt=1, message=f"Line {number}")
        for number in range(first, first + count)
    ]
    await store.record(held.lease, machine.log_change(run, events))


async def finish_run(store: MemoryStore, held: Held) -> None:
    for outcome in (Produced("# Made"), Evaluated(Evaluation(0.95, "good"))):
        run = await store.get_run(held.run.id)
        await store.record(held.lease, machine.advance(run, outcome))


def memory_figures(page: Any) -> dict[str, float]:
    """Return how many nodes and listeners the browser keeps for a page after garbage collection."""
    debugger = page.context.new_cdp_session(page)
    debugger.send("Performance.enable")
    debugger.send("HeapProfiler.collectGarbage")
    figures = {metric["name"]: metric["value"] for metric in debugger.send("Performance.getMetrics")["metrics"]}
    debugger.detach()
    return figures


def wait_for_newest(page: Any, text: str) -> None:
    """Wait until the newest event has this text, for as long as new events keep coming."""
    newest = "[...document.querySelectorAll('#events .event')].at(-1)?.innerText"
    shown = page.evaluate(newest)
    while text not in shown:
        page.wait_for_function(f"(shown) => {newest} !== shown", arg=shown)
        shown = page.evaluate(newest)


def test_ten_thousand_events_stream_through_a_window(opened: Opener, served: Callable[[Any], str]) -> None:
    """10,000 events come while the page is open: at most 600 of them are in it, the last one is there, none is there
    twice, memory use after 10,000 is as after 5,000, and earlier events can be loaded."""
    store = MemoryStore()
    url = served(create_app(store, agents(), access=allow_all, streams=Streams(poll_seconds=0.05)))
    page = opened()
    with start_blocking_portal() as portal:
        held = portal.call(start_run, store)
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
        figures = []
        for half in (0, 5_000):
            for first in range(half, half + 5_000, 250):
                portal.call(log_lines, store, held, first, 250)
            page.get_by_label("Logs").check()
            page.get_by_label("All", exact=True).check()
            wait_for_newest(page, f"Line {half + 4_999}")
            figures.append(memory_figures(page))
        assert figures[1]["JSEventListeners"] == figures[0]["JSEventListeners"]
        assert figures[1]["Nodes"] < 1.5 * figures[0]["Nodes"], "removed events are released"
        portal.call(finish_run, store, held)
    expect(page.locator("h1 .badge")).to_have_text("Passed (0.95)")
    expect(page.locator("#events .event", has_text="Evaluated - Score: 0.95")).to_be_visible()
    ids = page.eval_on_selector_all(".event", "(all) => all.map((one) => Number(one.id.slice(1)))")
    assert ids == list(range(ids[0], ids[-1] + 1)), "each event once, in order, none missing"
    assert (
        page.evaluate("window.__most") <= MAX_EVENTS + 200
    )  # new events are added before as many old ones are removed
    assert len(ids) <= MAX_EVENTS

    page.get_by_role("link", name="Earlier events").click()
    expect(page.locator(f"#e{ids[0] - 1}")).to_be_attached()
    assert page.locator(".event").count() <= MAX_EVENTS
    expect(page.get_by_role("link", name="Jump to latest")).to_be_visible()
    page.get_by_role("link", name="Jump to latest").click()
    expect(page.locator("#events .event", has_text="Evaluated - Score: 0.95")).to_be_visible()


def test_window_of_a_long_run_needs_no_script(opened: Opener, served: Callable[[Any], str]) -> None:
    """Without scripts, earlier and later events are on pages of 200 events."""
    store = MemoryStore()
    url = served(create_app(store, agents(), access=allow_all))
    with Blocking(store), start_blocking_portal() as portal:
        held = portal.call(start_run, store)
        portal.call(log_lines, store, held, 0, 500)
        portal.call(finish_run, store, held)
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


def stage_heads(page: Any) -> list[str]:
    """Return the heads of all attempts and stages as they are shown."""
    heads: list[str] = page.eval_on_selector_all("#events summary", "(all) => all.map((head) => head.innerText)")
    return [head for head in heads if "attempt-" not in head]


@pytest.mark.parametrize("ending", ["passed", "failed", "released"])
def test_times_watched_live_equal_those_after_a_reload(
    ending: str, opened: Opener, served: Callable[[Any], str]
) -> None:
    """A stage whose events come one after another keeps its start and gets its end; a run that is queued again, or has
    failed, shows no stage in progress."""
    clock = Clock()
    store = MemoryStore(now=clock)
    url = served(create_app(store, agents(), access=allow_all, streams=Streams(poll_seconds=0.05)))
    page = opened()
    with start_blocking_portal() as portal:
        held = portal.call(start_run, store)
        page.goto(f"{url}/agents/{held.run.id}")
        expect(page.locator("#live-state")).to_have_text("Live")
        for number in range(2):
            clock.advance(6)
            portal.call(log_lines, store, held, number, 1)
            expect(page.get_by_text(f"Line {number}", exact=True)).to_be_visible()
        clock.advance(6)
        if ending == "passed":
            portal.call(finish_run, store, held)
        elif ending == "failed":
            portal.call(store.record, held.lease, machine.advance(held.run, Errored("produce: no")))
        else:
            portal.call(store.record, held.lease, machine.released_change(held.run, "stopped"))
    expect(page.locator("#events .event").last).to_contain_text(ending.capitalize())
    live = stage_heads(page)
    assert "…" not in " ".join(live)
    page.reload()
    assert live == stage_heads(page)
