"""Every page and state: readable by everybody, in both themes, within 320 px and its budget; its picture is kept."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from loopkit import MemoryStore
from loopkit_web import Access, TokenAccess, allow_all, create_app
from tests.browser.conftest import Opener, axe, open_page, shoot
from tests.browser.seeding import World, agents

PAGES = {
    "list": "/agents",
    "list-filtered": "/agents?status=passed&order=score",
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
    """No page, in no state and no theme, breaks a rule that axe knows; its picture is kept."""
    url, ids, _ = world
    page = opened(color_scheme=theme, allowed=NOT_FOUND)
    found = {}
    for name, path in PAGES.items():
        open_page(page, url + filled(path, ids))
        if faults := axe(page):
            found[name] = faults
        shoot(page, f"{name}-{theme}")
    assert found == {}


def test_nothing_scrolls_sideways_at_320_px(opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """On the narrowest screen (or at 400 % zoom) every page fits; wide parts scroll inside their own panel."""
    url, ids, _ = world
    page = opened(viewport={"width": 320, "height": 640}, allowed=NOT_FOUND)
    wide = {}
    for name, path in PAGES.items():
        page.goto(url + filled(path, ids))
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 320:
            wide[name] = width
        shoot(page, f"{name}-phone")
    assert wide == {}


def test_targets_can_be_hit(opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """Whatever is pressed is at least 24 px high and wide, or stands in a line of text (WCAG 2.5.8)."""
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
def test_a_page_stays_within_its_budget(name: str, opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """Three requests beside the stream, HTML of 12 KB, CSS of 10 KB and scripts of 12 KB, all gzipped."""
    url, ids, _ = world
    page = opened()
    answers: list[Any] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - a builtin cannot be marked
    open_page(page, url + filled(PAGES[name], ids))
    sizes = {one.url: len(gzip.compress(one.body(), 9)) for one in answers if not is_stream(one)}
    kinds = {one.rsplit(".", 1)[-1] if "/_s/" in one else "html": size for one, size in sizes.items()}
    print(name, kinds)
    assert set(kinds) <= {"html", "css", "js", "svg"}
    assert len([one for one in sizes if not one.endswith(".svg")]) == 3
    assert kinds["html"] <= 12_000
    assert kinds["css"] <= 10_000
    assert kinds["js"] <= 12_000


def is_stream(answer: Any) -> bool:
    return "/api/workflow-stream" in answer.url or "/api/workflow-events" in answer.url


def test_nothing_jumps_while_a_page_comes(opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """The script moves nothing of what was laid out before it (cumulative layout shift below 0.05)."""
    url, ids, _ = world
    page = opened()
    page.add_init_script(
        "window.__shift = 0; new PerformanceObserver((list) => list.getEntries().forEach((e) => __shift += e.value))"
        ".observe({type: 'layout-shift', buffered: true})"
    )
    for path in ("/agents", "/agents/{running}"):
        open_page(page, url + filled(path, ids))
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert page.evaluate("window.__shift") < 0.05


def test_the_theme_is_chosen_and_stays(opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """The button turns the other theme on, and the next page comes in it from the server."""
    url, _, _ = world
    page = opened(color_scheme="light")
    page.goto(url + "/agents")
    light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != light
    page.goto(url + "/runners")
    assert page.get_attribute("html", "data-theme") == "dark"


def test_forced_colours_and_little_motion(opened: Opener, world: tuple[str, dict[str, str], World]) -> None:
    """With the system's colours every page still passes, and who asks for stillness sees nothing move."""
    url, ids, _ = world
    page = opened(forced_colors="active", reduced_motion="reduce")
    page.goto(url + filled("/agents/{running}", ids))
    assert axe(page) == []
    shoot(page, "run-running-forced-colours")
    assert page.evaluate("document.getAnimations().length") == 0


# --- States that need a dashboard of their own -----------------------------------------------------------------------


Server = Callable[[Any], str]


@pytest.mark.parametrize(
    ("name", "with_agents", "words"), [("empty-runs", True, "No runs yet"), ("empty-agents", False, "No agents yet")]
)
def test_an_empty_dashboard_says_what_to_do(
    name: str, with_agents: bool, words: str, opened: Opener, served: Server
) -> None:
    """No runs and no agents are told apart, each with its next step."""
    page = opened()
    url = served(create_app(MemoryStore(), agents() if with_agents else [], access=allow_all))
    page.goto(url + "/agents")
    assert page.get_by_role("heading", name=words).is_visible()
    assert axe(page) == []
    shoot(page, name)
    page.goto(url + "/agents/start")
    assert axe(page) == []
    page.goto(url + "/runners")
    assert page.get_by_text("No runner was seen within a day.").is_visible()
    assert axe(page) == []
    shoot(page, f"{name}-runners")


def test_who_may_only_look_finds_no_buttons(
    opened: Opener, served: Server, world: tuple[str, dict[str, str], World]
) -> None:
    """What is not allowed is absent, and its address answers with a page that says so."""
    _, ids, made = world

    async def looker(_: Any) -> Access:
        return Access("maria", {"view"})

    page = opened(allowed=("403 (Forbidden)",))
    url = served(create_app(made.store, agents(), access=looker))
    for path in ("/agents", f"/agents/{ids['running']}", f"/agents/{ids['failed']}"):
        page.goto(url + path)
        assert page.get_by_role("button", name="Cancel run").count() == 0
        assert page.get_by_role("button", name="Retry").count() == 0
        assert page.get_by_role("link", name="Start Workflow").count() == 0
        assert axe(page) == []
    page.goto(url + "/agents/start")
    assert page.get_by_role("heading", name="You cannot do that here").is_visible()
    assert axe(page) == []
    shoot(page, "not-allowed")


def test_the_token_is_typed_once(opened: Opener, served: Server) -> None:
    """A browser that is not known gets a form, a wrong token is said, the right one opens the page asked for."""
    page = opened(allowed=("401 (Unauthorized)",))
    url = served(create_app(MemoryStore(), agents(), access=TokenAccess("a-good-token")))
    page.goto(url + "/runners")
    assert axe(page) == []
    shoot(page, "sign-in")
    page.get_by_label("Token").fill("another")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("That is not the token.")).to_be_visible()
    page.get_by_label("Token").fill("a-good-token")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(url + "/runners")
    expect(page.get_by_role("heading", name="Runners")).to_be_visible()
