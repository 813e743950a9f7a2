"""Tests of every page and state: accessible, in both themes, within 320 px and its budget; a screenshot is kept."""

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from loopkit import MemoryStore
from loopkit_web import Access, TokenAccess, allow_all, create_app
from tests.browser.conftest import Opener, axe, open_page, save_screenshot
from tests.browser.seed_helpers import World, agents

PAGES = {
    "list": "/agents",
    "list-filtered": "/agents?status=passed&order=score",
    "list-tagged": "/agents?tag=q4",
    "list-nothing": "/agents?status=failed&agent=release_notes&range=7d",
    "run-queued": "/agents/{queued}",
    "run-running": "/agents/{running}",
    "run-stalled": "/agents/{stalled}",
    "run-cancelling": "/agents/{cancelling}",
    "run-passed": "/agents/{passed}",
    "run-failed": "/agents/{failed}?tab=evaluation",
    "run-error": "/agents/{error}",
    "run-cancelled": "/agents/{cancelled}",
    "run-artifacts": "/agents/{running}?tab=artifacts",
    "run-inputs": "/agents/{running}?tab=inputs",
    "run-raw": "/agents/{running}?tab=raw",
    "compare": "/agents/{failed}/compare?a=2&b=3",
    "compare-inline": "/agents/{failed}/compare?a=2&b=3&view=inline",
    "compare-rendered": "/agents/{failed}/compare?a=2&b=3&view=rendered",
    "compare-runs": "/compare?runs={passed},{failed}",
    "start": "/agents/start?agent=target_builder",
    "start-again": "/agents/start?from={running}",
    "runners": "/runners",
    "missing": "/agents/nope",
}
NOT_FOUND = ("404 (Not Found)",)


def filled(path: str, ids: dict[str, str]) -> str:
    return path.format(**ids)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(theme: Any, opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """No page in any state or theme breaks a rule that axe checks; a screenshot of each is kept."""
    url, ids, _ = world
    page = opened(color_scheme=theme, allowed=NOT_FOUND)
    found = {}
    for name, path in PAGES.items():
        open_page(page, url + filled(path, ids))
        if faults := axe(page):
            found[name] = faults
        save_screenshot(page, f"{name}-{theme}")
    assert found == {}


def test_nothing_scrolls_sideways_at_320_px(opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """On the narrowest screen (or at 400 % zoom) every page fits; wide parts scroll inside their panel."""
    url, ids, _ = world
    page = opened(viewport={"width": 320, "height": 640}, allowed=NOT_FOUND)
    wide = {}
    for name, path in PAGES.items():
        page.goto(url + filled(path, ids))
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 320:
            wide[name] = width
        save_screenshot(page, f"{name}-phone")
    assert wide == {}


@pytest.mark.parametrize("width", [320, 375, 640, 641, 720, 768, 834, 900, 992, 993, 1280])
def test_list_has_room_for_names(width: int, opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """At every width of a window the column of names has at least 120 px, and no row is higher than 160 px.

    From 375 px on no name breaks in the middle of a word, and the time stands behind the status, not over it. All
    hold with times as the server writes them, which stay where no script runs.
    """
    url, _, _ = world
    page = opened(viewport={"width": width, "height": 900})
    page.goto(f"{url}/agents")
    page.eval_on_selector_all(
        "td.c-time time", "(all) => all.forEach((time) => { time.textContent = '30 Nov 2026, 17:05 UTC' })"
    )
    names = page.eval_on_selector_all("td.c-name", "(all) => all.map((cell) => cell.getBoundingClientRect().width)")
    heights = page.eval_on_selector_all("tr.run", "(all) => all.map((row) => row.getBoundingClientRect().height)")
    assert min(names) >= 120
    assert max(heights) <= 160
    words = page.eval_on_selector_all("td.c-name b", "(all) => all.map((name) => name.getBoundingClientRect().height)")
    assert width < 375 or max(words) <= 1.5 * min(words)
    room = page.eval_on_selector_all(
        "tr.run",
        """(all) => all.map((row) => {
            const text = document.createRange();
            text.selectNodeContents(row.querySelector('.c-status .status'));
            return row.querySelector('.c-time').getBoundingClientRect().left - text.getBoundingClientRect().right;
        })""",
    )
    assert width > 992 or min(room) >= 0


def test_targets_are_large_enough(opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """Every target is at least 24 px high and wide, or is inside a line of text (WCAG 2.5.8)."""
    url, ids, _ = world
    page = opened(viewport={"width": 390, "height": 844})
    for path in ("/agents", "/agents/{running}", "/agents/start?agent=target_builder"):
        page.goto(url + filled(path, ids))
        small = page.evaluate(
            """[...document.querySelectorAll('button,select,.button,.chip,summary,.tool')]
            .filter((one) => one.checkVisibility() && !one.closest('.vh') && !one.classList.contains('vh'))
            .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
            .filter(([, box]) => box.width && (box.width < 24 || box.height < 24)).map(([html]) => html)"""
        )
        assert small == []


@pytest.mark.parametrize("name", ["list", "run-running", "compare", "start", "runners"])
def test_page_stays_within_its_budget(name: str, opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """A page needs three requests beside the stream, 12 KB of HTML, 10 KB of CSS and 12 KB of scripts, all gzipped."""
    url, ids, _ = world
    page = opened()
    responses: list[Any] = []
    page.on("response", lambda response: responses.append(response))  # noqa: PLW0108 - a builtin cannot be marked
    open_page(page, url + filled(PAGES[name], ids))
    sizes = {one.url: len(gzip.compress(one.body(), 9)) for one in responses if not is_stream(one)}
    kinds = {one.rsplit(".", 1)[-1] if "/_s/" in one else "html": size for one, size in sizes.items()}
    print(name, kinds)
    assert set(kinds) <= {"html", "css", "js", "svg"}
    assert len([one for one in sizes if not one.endswith(".svg")]) == 3
    assert kinds["html"] <= 12_000
    assert kinds["css"] <= 10_000
    assert kinds["js"] <= 12_000


def is_stream(response: Any) -> bool:
    return "/api/workflow-stream" in response.url or "/api/workflow-events" in response.url


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_shifts_while_a_page_loads(
    width: int, opened: Opener, world: tuple[str, dict[str, str], World]
) -> None:
    """On a slow machine too, nothing moves that was laid out before the script ran (layout shift below 0.05)."""
    url, ids, _ = world
    page = opened(viewport={"width": width, "height": 800})
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 20})
    page.add_init_script(
        "window.__shift = 0; new PerformanceObserver((list) => list.getEntries().forEach((e) => __shift += e.value))"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    runs = ("/agents/{running}", "/agents/{queued}", "/agents/{passed}", "/agents/{failed}")
    for path in ("/agents", *runs, "/runners"):
        open_page(page, url + filled(path, ids))
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.evaluate("window.__shift") < 0.05, path
    # The browser of the tests has no scroll bars; where there are some, the first row must not narrow the page.
    assert page.evaluate("getComputedStyle(document.documentElement).scrollbarGutter") == "stable"


def test_theme_is_chosen_and_kept(opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """The button switches the theme, and the server sends the next page in it."""
    url, _, _ = world
    page = opened(color_scheme="light")
    page.goto(url + "/agents")
    light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != light
    page.goto(url + "/runners")
    assert page.get_attribute("html", "data-theme") == "dark"


def test_forced_colours_and_reduced_motion(opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """With the system's colours the page still passes, and with reduced motion nothing moves."""
    url, ids, _ = world
    page = opened(forced_colors="active", reduced_motion="reduce")
    page.goto(url + filled("/agents/{running}", ids))
    assert axe(page) == []
    save_screenshot(page, "run-running-forced-colours")
    assert page.evaluate("document.getAnimations().length") == 0


Server = Callable[[Any], str]


@pytest.mark.parametrize(
    ("name", "with_agents", "heading"), [("empty-runs", True, "No runs yet"), ("empty-agents", False, "No agents yet")]
)
def test_empty_dashboard_says_what_to_do(
    name: str, with_agents: bool, heading: str, opened: Opener, served: Server
) -> None:
    """No runs and no agents have pages of their own, each with the next step."""
    page = opened()
    url = served(create_app(MemoryStore(), agents() if with_agents else [], access=allow_all))
    page.goto(url + "/agents")
    assert page.get_by_role("heading", name=heading).is_visible()
    assert axe(page) == []
    save_screenshot(page, name)
    page.goto(url + "/agents/start")
    assert axe(page) == []
    page.goto(url + "/runners")
    assert page.get_by_text("No runner is at work.").is_visible()
    assert axe(page) == []
    save_screenshot(page, f"{name}-runners")


def test_view_permission_alone_shows_no_buttons(
    opened: Opener, served: Server, world: tuple[str, dict[str, str], World]
) -> None:
    """An action that is not allowed is missing on the page, and its URL answers with a page that says so."""
    _, ids, seeded = world

    async def view_only(_: Any) -> Access:
        return Access("maria", {"view"})

    page = opened(allowed=("403 (Forbidden)",))
    url = served(create_app(seeded.store, agents(), access=view_only))
    for path in ("/agents", f"/agents/{ids['running']}", f"/agents/{ids['failed']}"):
        page.goto(url + path)
        assert page.get_by_role("button", name="Cancel run").count() == 0
        assert page.get_by_role("button", name="Retry").count() == 0
        assert page.get_by_role("link", name="Start Workflow").count() == 0
        assert axe(page) == []
    page.goto(url + "/agents/start")
    assert page.get_by_role("heading", name="You are not allowed to do this").is_visible()
    assert axe(page) == []
    save_screenshot(page, "not-allowed")


def test_token_is_typed_once(opened: Opener, served: Server) -> None:
    """An unknown browser gets a form; a wrong token is reported, the right one opens the requested page."""
    page = opened(allowed=("401 (Unauthorized)",))
    url = served(create_app(MemoryStore(), agents(), access=TokenAccess("a-good-token")))
    page.goto(url + "/runners")
    assert axe(page) == []
    save_screenshot(page, "sign-in")
    assert page.get_by_text("LOOPKIT_TOKEN").is_visible()
    assert page.get_by_role("button", name="Sign in").bounding_box()["height"] >= 32
    page.get_by_label("Token").fill("another")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("This token is not valid.")).to_be_visible()
    page.get_by_label("Token").fill("a-good-token")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(url + "/runners")
    expect(page.get_by_role("heading", name="Runners", level=1)).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.goto(url + "/runners")
    expect(page.get_by_label("Token")).to_be_visible()
