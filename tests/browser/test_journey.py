"""Tests of the life of a run in the browser, with ``loopkit-cli serve --worker`` in its own process."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import ROOT, Opener, open_page, save_screenshot
from tests.browser.server_helpers import InProcess

STAGES = '''
"""Stages whose evaluation waits for a file that permits it to end."""

import pathlib
import time

HERE = pathlib.Path(__file__).parent


def produce(ctx):
    ctx.log("Thinking about " + ctx.inputs["thing"])
    return f"# A name\\n\\nThe {ctx.inputs['thing']} of attempt {ctx.attempt}"


def evaluate(ctx):
    ctx.log("Waiting for permission")
    while not (HERE / "go").exists() and not (HERE / f"go-{ctx.attempt}").exists():
        time.sleep(0.02)
    return {"score": min(1.0, 0.45 * ctx.attempt), "feedback": "Say more of the thing, and shorter."}
'''
CONFIG = """
agents:
  namer:
    description: Names things.
    inputs:
      type: object
      required: [thing]
      properties:
        thing: {type: string, title: Thing, maxLength: 100}
    produce: {python: "stages:produce"}
    evaluate: {python: "stages:evaluate"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stages.py").write_text(STAGES)
    (tmp_path / "agents.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[InProcess]:
    with InProcess(folder) as started:
        yield started
        (folder / "go").touch()


def start(page: Any, url: str, thing: str) -> str:
    """Start a run in the dialog of the list, and return its id."""
    open_page(page, url + "/agents")
    page.get_by_role("link", name="Start Workflow").click()
    page.get_by_role("dialog").get_by_label("Thing").fill(thing)
    page.get_by_role("dialog").get_by_role("button", name="Start run").click()
    page.wait_for_url(re.compile(r"/agents/run_"))
    return str(page.url.rsplit("/", 1)[1])


def expect_badge(page: Any, text: str) -> None:
    expect(page.locator("h1 .badge")).to_have_text(text)


def test_start_watch_cancel_retry_compare(server: InProcess, opened: Opener, folder: Path) -> None:
    """A run is started in the dialog, progresses and passes without a reload, is cancelled, retried and compared."""
    page = opened()
    first = start(page, server.url, "cat")
    expect_badge(page, "Running (1/3)")
    page.evaluate("window.__same = true")
    expect(page.locator("#events").get_by_text("Waiting for permission")).to_be_visible()
    expect(page.locator("#foot")).to_have_text("Evaluating… in progress")
    (folder / "go-1").touch()
    expect_badge(page, "Running (2/3)")
    expect(page.locator("#events").get_by_text("Evaluated - Score: 0.45")).to_be_visible()
    expect(page.locator("#run-side").get_by_text("Say more of the thing")).to_be_visible()
    (folder / "go-2").touch()
    expect_badge(page, "Passed (0.90)")
    expect(page.locator("#live-state")).to_have_text("Ended")
    expect(page.locator("#say")).to_have_text("The run is now: Passed (0.90)")
    assert page.title().startswith("Passed (0.90)")
    assert page.evaluate("window.__same"), "the page was reloaded"
    for message in ("Queued", "Started", "Produced (attempt-1.md)", "Revised (attempt-2.md)", "Passed"):
        expect(page.locator("#events .event > p:last-of-type", has_text=message).last).to_be_visible()

    page.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Did attempt 2 improve on attempt 1?")
    assert "Yes. The score rose by 0.45" in page.locator("#answer").inner_text()

    for name in ("go-1", "go-2"):
        (folder / name).unlink()
    second = start(page, server.url, "dog")
    expect_badge(page, "Running (1/3)")
    page.get_by_role("button", name="Cancel run").click()
    page.get_by_role("dialog").get_by_role("button", name="Keep running").click()
    expect_badge(page, "Running (1/3)")
    page.get_by_role("button", name="Cancel run").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel run").click()
    expect(page.locator("h1 .badge")).to_have_text(re.compile("Cancelling|Cancelled"))
    (folder / "go").touch()
    expect_badge(page, "Cancelled")

    page.get_by_role("button", name="Retry").click()
    page.wait_for_url(lambda url: "run_" in url and second not in url)
    expect_badge(page, "Passed (0.90)")
    third = page.url.rsplit("/", 1)[1]
    expect(page.get_by_text("retry of")).to_be_visible()

    page.goto(f"{server.url}/agents")
    for run_id in (first, third):
        page.get_by_label(f"Select {run_id}").check()
    page.get_by_role("button", name="Compare two").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Is the second namer better?")


@pytest.fixture
def brief(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(ROOT / "examples" / "brief", database=tmp_path / "runs.db") as started:
        yield started


def test_example_passes_while_it_is_watched(brief: InProcess, opened: Opener) -> None:
    """In ``examples/brief`` a run of a real document is started in the dialog; a list that was empty shows it start and
    pass, and its own page shows how, neither of them reloaded."""
    watcher = opened()
    open_page(watcher, brief.url + "/agents")
    expect(watcher.get_by_role("heading", name="No runs yet")).to_be_visible()
    watcher.evaluate("window.__same = true")
    page = opened()
    open_page(page, brief.url + "/agents")
    page.get_by_role("link", name="Start Workflow").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Document").fill((ROOT / "docs" / "explanation" / "why.md").read_text(encoding="utf-8"))
    form.get_by_label("Word limit").fill("100")
    form.get_by_role("button", name="Start run").click()
    page.wait_for_url(re.compile(r"/agents/run_"))
    page.evaluate("window.__same = true")
    expect(page.locator("h1 .badge")).to_have_text(re.compile(r"Passed \(0\.\d\d\)"))
    for message in (
        "Produced (attempt-1.md)",
        "limit: holds",
        "Produced (attempt-2.md)",
        "Revised (attempt-3.md)",
        "reader: 0.",
    ):
        expect(page.locator("#events .event", has_text=message).last).to_be_visible()
    row = watcher.locator(f"#r-{page.url.rsplit('/', 1)[1]}")
    expect(row.locator(".status")).to_have_text(re.compile(r"Passed \(0\.\d\d\)"))
    assert page.evaluate("window.__same")
    assert watcher.evaluate("window.__same"), "the list was reloaded"
    save_screenshot(page, "example-passed")
    save_screenshot(watcher, "example-list")


def test_two_tabs_see_the_same(server: InProcess, opened: Opener, folder: Path) -> None:
    """What one tab does, the other shows by itself: the new run, its progress and its end."""
    watcher = opened()
    watcher.goto(server.url + "/agents")
    actor = opened()
    run_id = start(actor, server.url, "owl")
    row = watcher.locator(f"#r-{run_id}")  # nobody uses the list, so new runs are shown at once
    expect(row.locator(".status")).to_have_text("Running (1/3)")
    (folder / "go").touch()
    expect(row.locator(".status")).to_have_text("Passed (0.90)")
    expect_badge(actor, "Passed (0.90)")
    expect(row.locator(".spark")).to_have_attribute("aria-label", "Scores 0.45, 0.90; pass mark 0.80")


def test_server_that_restarts_in_mid_stream(opened: Opener, folder: Path) -> None:
    """After the server is killed, the page says that it reconnects, then shows each event since once."""
    page = opened(allowed=("ERR_CONNECTION", "ERR_INCOMPLETE", "ERR_EMPTY", "Failed to load resource"))
    first = InProcess(folder)
    first.start()
    try:
        start(page, first.url, "fox")
        expect_badge(page, "Running (1/3)")
        expect(page.locator("#events").get_by_text("Waiting for permission")).to_be_visible()
    finally:
        first.kill()
    expect(page.locator("#live")).to_have_attribute("data-state", re.compile("reconnecting|polling"))
    (folder / "go").touch()
    port = int(first.url.rsplit(":", 1)[1])
    # the killed runner's lease has to run out before the run is taken over
    with InProcess(folder, port, "--stalled-after", "2", "--heartbeat", "1"):
        expect_badge(page, "Passed (0.90)")
        expect(page.locator("#events").get_by_text("Taken over")).to_be_visible()
        ids = page.eval_on_selector_all(".event", "(all) => all.map((one) => Number(one.id.slice(1)))")
        assert ids == sorted(set(ids)), "each event once, in order"


def test_everything_works_without_scripts(server: InProcess, opened: Opener, folder: Path) -> None:
    """Reading, starting, cancelling and retrying need no script; a running page refreshes itself."""
    page = opened(java_script_enabled=False)
    page.without_scripts = True
    page.goto(server.url + "/agents")
    page.get_by_role("link", name="Start a run").click()
    page.get_by_label("Thing").fill("hen")
    page.get_by_role("button", name="Start run").last.click()
    page.wait_for_url(re.compile(r"/agents/run_"))
    assert 'http-equiv="refresh" content="5"' in page.content()
    page.get_by_role("button", name="Cancel run").click()
    (folder / "go").touch()
    expect_badge(page, "Cancelled")
    page.get_by_role("button", name="Retry").click()
    expect_badge(page, "Passed (0.90)")
    expect(page.get_by_text("Evaluated - Score: 0.90")).to_be_visible()
    assert 'http-equiv="refresh"' not in page.content()
    page.get_by_role("link", name="Artifacts").click()
    expect(page.get_by_role("heading", name="A name").first).to_be_visible()
