"""Fixtures: a browser, pages that record what must never happen in them, and a dashboard with runs in every state."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from loopkit_web import allow_all, create_app
from tests.browser.seed_helpers import World, agents, fill
from tests.browser.server_helpers import InThread
from tests.tool_helpers import require_tool

playwright = pytest.importorskip("playwright.sync_api", reason="missing tool playwright (pip install playwright)")
playwright.expect.set_options(timeout=30_000)  # for a machine that does much else; nothing here is timed

ROOT = Path(__file__).parent.parent.parent
SCREENSHOTS = ROOT / ".out" / "screenshots"
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
WATCH = """
window.__reports = [];
addEventListener('securitypolicyviolation',
    (event) => __reports.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The system's Chromium, without a window.

    Its driver keeps an event loop running in this thread, where no asynchronous test could run: one for each module.
    """
    path = require_tool("chromium", "the pages in a real browser")
    flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(path), args=flags)
        yield browser
        browser.close()


class PageWatch:
    """Record of what should not have happened in the pages of one test, and of their requests."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self.allowed = allowed
        self.faults: list[str] = []
        self.requests: list[str] = []

    def attach(self, page: Any) -> None:
        page.on("pageerror", lambda error: self.faults.append(f"script error: {error}"))
        page.on("dialog", self._dialog)
        page.on("console", self._console)
        page.on("request", lambda request: self.requests.append(request.url))

    def _dialog(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning") and not any(text in message.text for text in self.allowed):
            self.faults.append(f"console: {message.text}")

    def off_origin(self, url: str) -> list[str]:
        return [one for one in self.requests if not one.startswith((url, "data:", "about:"))]


Opener = Callable[..., Any]


@pytest.fixture
def served() -> Iterator[Callable[[Any], str]]:
    """Function that serves an app on its own port until the test's pages are closed, and returns its URL."""
    with ExitStack() as servers:
        yield lambda app: servers.enter_context(InThread(app))


@pytest.fixture
def opened(chromium: Any, served: object) -> Iterator[Opener]:
    """Function that opens a page in its own browser context.

    At the end of the test there was no script error, no dialog and no policy report. With ``allowed`` a test names
    lines of the console that it causes itself, e.g. the 422 of a rejected form.
    """
    with ExitStack() as contexts:
        seen: list[tuple[Any, PageWatch]] = []

        def open_page(*, allowed: tuple[str, ...] = (), **options: Any) -> Any:
            context = chromium.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
            contexts.callback(context.close)
            context.set_default_timeout(30_000)
            context.add_init_script(WATCH)
            page = context.new_page()
            watched = PageWatch(allowed)
            watched.attach(page)
            context.on("page", watched.attach)
            page.watched = watched
            seen.append((page, watched))
            return page

        yield open_page
        for page, watched in seen:
            if page.context.browser and not page.is_closed() and options_allow_scripts(page):
                watched.faults += [f"policy: {report}" for report in page.evaluate("window.__reports || []")]
            assert watched.faults == []


def options_allow_scripts(page: Any) -> bool:
    """Return whether scripts run in this page."""
    return not getattr(page, "without_scripts", False)


@pytest.fixture(scope="session")
def world() -> Iterator[tuple[str, dict[str, str], World]]:
    """A served dashboard with runs in every state: its URL, the ids of runs by their state, and the store."""
    seeded = World()
    with start_blocking_portal() as portal:
        ids = portal.call(fill, seeded)
    seeded.clock.at = datetime.now(UTC)  # it stands still, so that no run stalls during the tests
    with InThread(create_app(seeded.store, agents(), access=allow_all)) as url:
        yield url, ids, seeded


def open_page(page: Any, address: str) -> None:
    """Open a page and wait until its script has run, so that shortcuts and dialogs work."""
    page.goto(address)
    wait_for_script(page)


def wait_for_script(page: Any) -> None:
    """Wait until the script of the page that is open, or loading, has run."""
    playwright.expect(page.locator("#theme")).to_be_visible()


def axe(page: Any) -> list[str]:
    """Return what axe reports about a page, for WCAG 2.2 A and AA and its best practices."""
    # the page's policy blocks added scripts, but not those of the debugger
    page.evaluate(AXE + "; undefined")
    found = page.evaluate(
        "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})"
        ".then((result) => result.violations)"
    )
    return [
        f"{one['id']}: {one['help']}: {json.dumps([node['html'][:160] for node in one['nodes'][:4]])}" for one in found
    ]


def save_screenshot(page: Any, name: str) -> None:
    """Save a screenshot of a whole page."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(SCREENSHOTS / f"{name}.png"), full_page=True)
