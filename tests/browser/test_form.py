"""Tests of the start form: nested values, lists, choices and bounds; rejected at the right field, then accepted."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from loopkit import MemoryStore
from loopkit.testing.sync_calls import Blocking
from loopkit_web import allow_all, create_app
from tests.browser.conftest import Opener, axe, save_screenshot, wait_for_script
from tests.browser.seed_helpers import agents

THESIS = "Mid-market logistics buyers that outgrew spreadsheets"


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_nested_form_is_rejected_and_then_accepted(scripts: bool, opened: Opener, served: Callable[[Any], str]) -> None:
    """All faults are shown at once, each at its field, and everything typed remains; corrected, it starts a run."""
    store = MemoryStore()
    url = served(create_app(store, agents(), access=allow_all))
    page = opened(java_script_enabled=scripts, allowed=("422 (Unprocessable",))
    page.without_scripts = not scripts
    page.goto(url + "/agents")
    page.get_by_role("link", name="Start").first.click()
    form = page.locator("dialog" if scripts else "main")
    expect(form.get_by_label("Companies", exact=True)).to_have_value("12")
    form.get_by_label("Thesis", exact=True).fill("too short")
    form.get_by_label("Region", exact=True).select_option("Nordics")
    form.get_by_label("Companies", exact=True).fill("250")
    form.get_by_label("Exclude 1", exact=True).fill("Ferrum")
    form.get_by_role("button", name="Add another").click()
    form.get_by_label("Exclude 2", exact=True).fill("x" * 81)
    form.get_by_label("At most", exact=True).fill("many")
    form.get_by_label("Leave out existing customers").uncheck()
    form.get_by_role("button", name="Start run").last.click()

    expect(form.get_by_role("alert")).to_contain_text("5 fields have errors. No run was started.")
    faults = {
        "Thesis": "Is too short",
        "Companies": "Is greater than the maximum of 100",
        "Exclude 2": "Is too long",
        "At least": "Is required",
        "At most": "Is not of type 'integer'",
    }
    for label, text in faults.items():
        field = form.get_by_label(label, exact=True)
        expect(field).to_have_attribute("aria-invalid", "true")
        described = str(field.get_attribute("aria-describedby")).split()[0]
        expect(page.locator(f"[id='{described}']")).to_have_text(text)
    expect(form.get_by_label("Thesis", exact=True)).to_have_value("too short")
    expect(form.get_by_label("Region", exact=True)).to_have_value("Nordics")
    expect(form.get_by_label("Companies", exact=True)).to_have_value("250")
    expect(form.get_by_label("Exclude 1", exact=True)).to_have_value("Ferrum")
    expect(form.get_by_label("At most", exact=True)).to_have_value("many")
    expect(form.get_by_label("Leave out existing customers")).not_to_be_checked()
    if scripts:
        expect(page.locator("#faults")).to_be_focused()
        assert axe(page) == []
        save_screenshot(page, "start-refused")
        form.get_by_role("link", name="Companies").click()

    form.get_by_label("Thesis", exact=True).fill(THESIS)
    form.get_by_label("Companies", exact=True).fill("25")
    form.get_by_role("button", name="Remove Exclude 2").click()
    expect(form.get_by_label("Exclude 2", exact=True)).to_have_count(0)
    form.get_by_label("At least", exact=True).fill("180")
    form.get_by_label("At most", exact=True).fill("900")
    form.get_by_role("button", name="Start run").last.click()
    expect(page.locator("h1 .badge")).to_have_text("Queued")
    with Blocking(store) as plain:
        run = plain.get_run(page.url.rsplit("/", 1)[1])
    assert run.inputs == {
        "thesis": THESIS,
        "region": "Nordics",
        "companies": 25,
        "leave_out": False,
        "exclude": ["Ferrum"],
        "staff": {"least": 180, "most": 900},
    }

    if scripts:
        wait_for_script(page)
    page.get_by_role("link", name="Edit and rerun").click()
    again = page.locator("dialog" if scripts else "main")
    expect(again.get_by_label("Thesis", exact=True)).to_have_value(THESIS)
    expect(again.get_by_label("At most", exact=True)).to_have_value("900")
    expect(again.get_by_label("Leave out existing customers")).not_to_be_checked()


def test_double_click_starts_one_run(opened: Opener, served: Callable[[Any], str]) -> None:
    """However often the button is pressed and the form submitted, one run is started."""
    store = MemoryStore()
    url = served(create_app(store, agents(), access=allow_all))
    page = opened()
    page.goto(url + "/agents/start?agent=outreach_writer")
    page.get_by_role("button", name="Start run").last.dblclick()
    expect(page.locator("h1 .badge")).to_have_text("Queued")
    page.go_back()
    page.get_by_role("button", name="Start run").last.click()
    expect(page.locator("h1 .badge")).to_have_text("Queued")
    assert page.watched.off_origin(url) == []
    keys = {one for one in page.watched.requests if "/agents/run_" in one}
    page.goto(url + "/agents")
    assert page.locator("tr.run").count() <= 2, keys


def test_file_is_dropped_into_a_text_field(opened: Opener, world: tuple[str, dict[str, str], Any]) -> None:
    """A text file that is dropped on a text field becomes its text."""
    url, _, _ = world
    page = opened()
    page.goto(url + "/agents/start?agent=target_builder")
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(['from a file'], 'notes.txt', {type: 'text/plain'}));
            const area = document.querySelector('textarea');
            area.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true}));
        }"""
    )
    expect(page.get_by_label("Thesis", exact=True)).to_have_value("from a file")


def test_unreachable_server_loses_nothing(opened: Opener, world: tuple[str, dict[str, str], Any]) -> None:
    """A form that cannot be submitted remains as it was typed, and says so."""
    url, _, _ = world
    page = opened(allowed=("ERR_FAILED", "Failed to load"))
    page.goto(url + "/agents")
    page.get_by_role("link", name="Start Workflow").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Thesis", exact=True).fill(THESIS)
    page.route("**/agents/start", lambda route: route.abort())
    form.get_by_role("button", name="Start run").last.click()
    expect(form.get_by_text("The server cannot be reached. No run was started")).to_be_visible()
    expect(form.get_by_label("Thesis", exact=True)).to_have_value(THESIS)
    expect(form.get_by_role("button", name="Start run").last).not_to_have_attribute("aria-busy", "true")


def test_dialog_has_no_strips_beside_its_columns(opened: Opener, world: tuple[str, dict[str, str], Any]) -> None:
    """The list of agents begins at the left edge, and the footer ends at the right one."""
    url, _, _ = world
    page = opened(viewport={"width": 1200, "height": 900})
    page.goto(url + "/agents")
    page.get_by_role("link", name="Start Workflow").click()
    expect(page.get_by_role("dialog").locator(".startfoot")).to_be_visible()
    gaps = page.evaluate(
        """() => {
            const [dialog, picker, foot] = ['dialog', 'dialog .picker', 'dialog .startfoot']
                .map(name => document.querySelector(name).getBoundingClientRect());
            return [picker.left - dialog.left, dialog.right - foot.right];
        }"""
    )
    assert max(gaps) <= 1, "the border of the dialog"
