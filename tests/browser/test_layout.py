"""Tests of the layout of runs with long names, tags, usage and many attempts: nothing overlaps or is cut off."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from loopkit.core import machine
from loopkit.core.ledger.calls import ModelCall
from loopkit.core.ledger.spent import Spent, added_spending
from loopkit.core.outcome import Produced
from loopkit.core.run import Stage
from loopkit.storage import Held
from loopkit_web import allow_all, create_app
from tests.browser.conftest import Opener, open_page
from tests.browser.seed_helpers import World, agents
from tests.browser.server_helpers import InThread

Seeded = tuple[str, dict[str, str]]

WIDTHS = [320, 375, 768, 900, 1024, 1440]
LONG_AGENT = "enterprise_contract_risk_and_obligations_summariser_v2"
LONG_HOST = "build-runner-07.eu-central-1.compute.internal.example.com:188123"
WIDE_TABLE = "| Plant | Country | Capacity | Nickel | Cobalt | Lithium | Contract | Partner |\n" + "|---" * 8 + "|\n"
OUTPUT = "# Recycling\n\nSee [a report](https://example.com/report).\n\n" + WIDE_TABLE + "| Revolt Ett " * 8 + "|\n"


async def score(world: World, held: Held, score: float) -> None:
    """Write an attempt with this score, and a model call that is paid for."""
    run = await world.store.get_run(held.run.id)
    call = ModelCall(
        id=f"{run.id}-{run.current_attempt}",
        stage=run.current_stage or Stage.PRODUCING,
        attempt=run.current_attempt,
        model="openai:gpt-5-mini",
        input_tokens=61_000,
        output_tokens=220,
        cost_nanos=139_480_000,
    )
    spent = Spent(calls=(call,), spending=added_spending([call], {}, stage_seconds=62))
    world.clock.advance(62)
    await world.store.record(held.lease, machine.advance(run, Produced(OUTPUT), spent=spent))
    await world.evaluate(held, score, "Name the source.", 25, criteria={"supported": score, "comparability": 0.7})


async def fill_crowded(world: World) -> dict[str, str]:
    """Fill a store with runs that need much room, and return their ids."""
    world.clock.set_back(timedelta(hours=1))
    title = "Obligations of both parties in the agreement with Verkehrs- und Lagerhausgesellschaft, third revision"
    tags = ("legal", "q4", "master-services-agreement-2026-third-revision", "needs-review")
    queued = await world.submit(LONG_AGENT, {"notes": "n" * 300}, title=title, tags=tags, cycle_id="c" * 60)
    passed = await world.submit(
        "brief", {"topic": "Recycling"}, max_attempts=5, title="Recycling", tags=("energy", "q4")
    )
    held = await world.claim(passed, LONG_HOST)
    for number in (0.42, 0.71, 0.79, 0.91):
        await score(world, held, number)
    many = await world.submit("brief", {"topic": "Permits"}, max_attempts=12, policy={"budget": {"usd": 12.5}})
    held = await world.claim(many, LONG_HOST)
    for number in range(9):
        await score(world, held, number / 12)
    world.clock.at = datetime.now(UTC)
    await world.store.heartbeat([held.lease])
    return {"queued": queued.id, "passed": passed.id, "many": many.id}


@pytest.fixture(scope="module")
def crowded() -> Iterator[Seeded]:
    """A served dashboard with such runs: its URL, and the ids of the runs."""
    world = World()
    with start_blocking_portal() as portal:
        ids = portal.call(fill_crowded, world)
    with InThread(create_app(world.store, agents(), access=allow_all)) as url:
        yield url, ids


def element_at(page: Any, selector: str) -> str:
    """Return the URL or tag name of what a click on the middle of an element reaches."""
    reached: str = page.eval_on_selector(
        selector,
        """(one) => {
            one.scrollIntoView({block: 'center'});
            const box = one.getBoundingClientRect();
            const top = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
            return top.closest('a')?.getAttribute('href') ?? top.tagName;
        }""",
    )
    return reached


@pytest.mark.parametrize("width", [375, 1440])
def test_row_of_a_tagged_run_opens_the_run(width: int, opened: Opener, crowded: Seeded) -> None:
    """A click on the row or the name reaches the run, one on a tag the list with that tag."""
    url, ids = crowded
    page = opened(viewport={"width": width, "height": 900})
    open_page(page, url + "/agents")
    row = f"#r-{ids['passed']}"
    for part in ("b", ".c-score", ".c-status"):
        assert element_at(page, f"{row} {part}") == f"/agents/{ids['passed']}"
    assert element_at(page, f"{row} .tag") == "/agents?tag=energy"
    assert element_at(page, f"{row} .tag + .tag") == "/agents?tag=q4"


def test_boxes_of_rows_are_large_enough_to_touch(opened: Opener, crowded: Seeded) -> None:
    """A touch within 15 px of the middle of a box reaches it and not the run's link; boxes end where scores end."""
    url, ids = crowded
    page = opened(viewport={"width": 375, "height": 900})
    open_page(page, url + "/agents")
    box = page.locator(f"#r-{ids['passed']} input")
    score = page.locator(f"#r-{ids['passed']} .c-score").bounding_box()
    assert abs(box.bounding_box()["x"] + box.bounding_box()["width"] - score["x"] - score["width"]) < 1
    missed = box.evaluate(
        """(one) => {
            one.scrollIntoView({block: 'center'});
            const {x, y, width} = one.getBoundingClientRect();
            return [[-15, 0], [15, 0], [0, -15], [0, 15]].filter(([dx, dy]) =>
                document.elementFromPoint(x + width / 2 + dx, y + width / 2 + dy)?.closest('label') !== one.parentNode);
        }"""
    )
    assert missed == []


@pytest.mark.parametrize("width", WIDTHS)
def test_list_shows_long_names_without_overlap(width: int, opened: Opener, crowded: Seeded) -> None:
    """Cells of a row are beside each other, names have 120 px, and no column is empty; the title of a run is seen."""
    url, ids = crowded
    page = opened(viewport={"width": width, "height": 900})
    page.goto(url + "/agents")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.eval_on_selector_all(
        "tr.run td:not(.c-pick)",
        "(all) => all.filter((one) => one.scrollWidth > one.clientWidth + 1 && "
        "getComputedStyle(one).overflowX === 'visible').map((one) => one.className)",
    )
    assert wide == []
    for name, run_id in ids.items():
        row = page.locator(f"#r-{run_id}").bounding_box()
        cell = page.locator(f"#r-{run_id} .c-name").bounding_box()
        last = page.locator(f"#r-{run_id} td:visible").last.bounding_box()
        assert cell["width"] >= 120, name
        assert row["x"] + row["width"] - last["x"] - last["width"] < 20 or width < 993
        assert page.locator(f"#r-{run_id} .about").bounding_box()["width"] >= 80
        assert page.locator(f"#r-{run_id} .c-usage").is_visible() == (width == 1440)


@pytest.mark.parametrize("width", [375, 1440])
def test_row_under_the_mouse_is_painted_whole(width: int, opened: Opener, crowded: Seeded) -> None:
    """The row itself takes the colour, so that on a phone no gap stays between its cells."""
    url, ids = crowded
    page = opened(viewport={"width": width, "height": 900})
    page.goto(f"{url}/agents")
    row = page.locator(f"#r-{ids['queued']}")
    before = row.evaluate("(one) => getComputedStyle(one).backgroundColor")
    row.hover()
    assert row.evaluate("(one) => getComputedStyle(one).backgroundColor") != before


PAGES = [
    "/agents/{queued}",
    "/agents/{passed}",
    "/agents/{many}",
    "/agents/{passed}?tab=evaluation",
    "/agents/{passed}?tab=usage",
    "/agents/{passed}/compare?a=2&b=4",
    "/agents/start?from={queued}",
    "/runners",
]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_its_window(width: int, opened: Opener, crowded: Seeded) -> None:
    """Names of any length, and hosts, break where there is no room for them."""
    url, ids = crowded
    page = opened(viewport={"width": width, "height": 900}, allowed=("404 (Not Found)",))
    wide = {}
    for path in PAGES:
        page.goto(url + path.format(**ids))
        if (found := page.evaluate("document.documentElement.scrollWidth")) > width:
            wide[path] = found
    assert wide == {}


@pytest.mark.parametrize("width", WIDTHS)
def test_all_attempts_are_seen_at_once(width: int, opened: Opener, crowded: Seeded) -> None:
    """No attempt lies to the right of its panel, all have bars, and labels of scores do not overlap."""
    url, ids = crowded
    page = opened(viewport={"width": width, "height": 900})
    for run in ("passed", "many"):
        page.goto(f"{url}/agents/{ids[run]}")
        assert page.eval_on_selector(".rail .scroll", "(one) => one.scrollWidth - one.clientWidth") <= 1
        bars = "(all) => all.map((one) => one.getBoundingClientRect().width)"
        assert min(page.eval_on_selector_all(".card .bar svg", bars)) >= 12
        labels = page.eval_on_selector_all(
            ".t-score",
            "(all) => all.filter((one) => one.checkVisibility()).map((one) => one.getBoundingClientRect())"
            ".map((box) => [box.left, box.right])",
        )
        assert all(left[1] <= right[0] for left, right in pairwise(labels))


def test_attempt_that_is_next_is_not_called_optional(opened: Opener, crowded: Seeded) -> None:
    """The first attempt of a queued run has not started; only those after it depend on its score."""
    url, ids = crowded
    page = opened()
    page.goto(f"{url}/agents/{ids['queued']}")
    assert page.locator("#attempt-1 .card-head").inner_text().split("\n")[-1].endswith("not started")
    assert page.locator("#attempt-2 .card-head").inner_text().endswith("only if needed")


def test_title_that_repeats_the_subject_is_shown_once(opened: Opener, crowded: Seeded) -> None:
    """A title that is made from the first input does not stand on the page twice."""
    url, ids = crowded
    page = opened()
    page.goto(f"{url}/agents/{ids['passed']}")
    assert page.locator("#run-head .head").get_by_text("Recycling", exact=True).count() == 1


@pytest.mark.parametrize("width", [375, 768, 900])
def test_compare_shows_each_change_without_scrolling(width: int, opened: Opener, crowded: Seeded) -> None:
    """The table of criteria fits, and no legend explains a figure that is not shown."""
    url, ids = crowded
    page = opened(viewport={"width": width, "height": 900})
    page.goto(f"{url}/agents/{ids['passed']}/compare?a=2&b=4")
    assert page.eval_on_selector(".scroll", "(one) => one.scrollWidth - one.clientWidth") <= 1
    assert page.locator(".tri").first.is_visible()
    assert page.locator(".bell:visible").count() == 0
    assert page.get_by_text("hollow = attempt 2").is_hidden()


def test_tab_that_is_open_is_seen_on_a_phone(opened: Opener, crowded: Seeded) -> None:
    """All tabs of a run are within the window."""
    url, ids = crowded
    page = opened(viewport={"width": 375, "height": 900})
    page.goto(f"{url}/agents/{ids['passed']}?tab=usage")
    assert page.eval_on_selector(".tabs", "(one) => one.scrollWidth - one.clientWidth") <= 1


def test_runners_fit_a_tablet(opened: Opener, crowded: Seeded, world: tuple[str, dict[str, str], World]) -> None:
    """The tables of runners, and of agents with long names, fit 768 px."""
    page = opened(viewport={"width": 768, "height": 900})
    for url in (crowded[0], world[0]):
        page.goto(url + "/runners")
        hidden = "(all) => all.map((one) => one.scrollWidth - one.clientWidth)"
        assert max(page.eval_on_selector_all(".scroll", hidden)) <= 1


def test_paper_cuts_nothing_and_leaves_no_gaps(opened: Opener, crowded: Seeded) -> None:
    """On paper all attempts and titles are whole, borders are within the page, links show where they lead, an output
    may go on on the next page, and the evaluation comes before the timeline."""
    url, ids = crowded
    page = opened(viewport={"width": 703, "height": 1000})
    page.emulate_media(media="print")
    page.goto(f"{url}/agents/{ids['passed']}")
    assert page.eval_on_selector(".rail .scroll", "(one) => one.scrollWidth - one.clientWidth") <= 1
    panel = page.locator("#timeline").bounding_box()
    assert (panel["x"] >= 1, panel["x"] + panel["width"] <= 702) == (True, True)
    assert page.locator("#run-side").bounding_box()["y"] < panel["y"]
    outputs = "(all) => all.map((one) => getComputedStyle(one).breakInside)"
    assert set(page.eval_on_selector_all(".event:has(.artifact)", outputs)) == {"auto"}
    link = "(one) => getComputedStyle(one, '::after').content"
    assert "https://example.com/report" in page.eval_on_selector("#output .prose a", link)
    page.goto(url + "/agents")
    cut = "(all) => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.textContent)"
    assert page.eval_on_selector_all(".about, .c-name b", cut) == []


def test_a_row_of_settings_is_in_line(opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """Labels of loop settings are of one line, so their fields stand side by side at the same height."""
    url, _, _ = world
    page = opened(viewport={"width": 1200, "height": 900})
    open_page(page, f"{url}/agents/start?agent=target_builder")
    page.locator(".settings > summary").click()
    tops = page.locator(".settings input").evaluate_all("all => all.map(one => one.getBoundingClientRect().top)")
    heights = page.locator(".settings label").evaluate_all("all => all.map(one => one.getClientRects().length)")
    assert (len(tops), len(set(tops)), set(heights)) == (3, 1, {1})


def test_no_line_of_a_row_begins_with_a_dot(opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """The cycle of a run may stand below its id, at any width."""
    url, _, _ = world
    page = opened(viewport={"width": 1200, "height": 900})
    for width in (320, 700, 1200):
        page.set_viewport_size({"width": width, "height": 900})
        open_page(page, f"{url}/agents")
        parts = page.locator(".c-name .second").evaluate_all(
            "all => all.flatMap(one => [...one.children]).map(one => one.textContent)"
        )
        assert any(part.startswith("cycle") for part in parts)
        assert not [part for part in parts if part.startswith("·")]
