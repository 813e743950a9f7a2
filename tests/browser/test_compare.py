"""Tests of the comparison: a change beside the feedback it addresses, and a criterion that has regressed."""

from typing import Any

from playwright.sync_api import expect

from tests.browser.conftest import Opener

World = tuple[str, dict[str, str], Any]


def test_change_is_beside_the_feedback_it_addresses(opened: Opener, world: World) -> None:
    """Side by side: the removed text, the feedback on it, and the added text."""
    url, ids, _ = world
    page = opened()
    page.goto(f"{url}/agents/{ids['failed']}/compare?a=2&b=3")
    hunk = page.locator(".hunk", has_text="Northbeam's free tier is 100 GB, not 50.")
    expect(hunk).to_have_count(1)
    expect(hunk.locator("del")).to_have_text("50")
    expect(hunk.locator("ins")).to_have_text("100")
    expect(hunk.locator(".verdict")).to_have_text("Addressed")
    boxes = [hunk.locator(f".{name}").bounding_box() for name in ("before", "fb", "after")]
    assert boxes[0]["x"] < boxes[1]["x"] < boxes[2]["x"]
    assert len({round(box["y"]) for box in boxes}) == 1
    worse = page.locator(".hunk", has_text="Give the yearly price of Northbeam Pro")
    expect(worse.locator(".verdict")).to_have_text("Partly addressed, now worse")
    unrelated = page.locator(".hunk", has_text="Reading the table")
    expect(unrelated.locator(".verdict")).to_have_text("Not in the feedback")
    expect(page.locator(".open")).to_contain_text("Cut the text to 700 words.")


def test_criterion_that_fell_is_marked_regressed(opened: Opener, world: World) -> None:
    """The word is in the row of the criterion that fell by 0.05 or more, and in no other."""
    url, ids, _ = world
    page = opened()
    page.goto(f"{url}/agents/{ids['failed']}/compare?a=2&b=3")
    rows = page.locator("table.compare tbody tr", has_text="regressed")
    expect(rows).to_have_count(1)
    expect(rows.locator("th")).to_have_text("Evidence")
    expect(rows).to_contain_text("−0.14")
    expect(page.locator("#answer")).to_have_text(
        "No. The score fell by 0.04; 1 of 3 points of the feedback is still open and evidence regressed."
    )
    page.goto(f"{url}/agents/{ids['failed']}?tab=evaluation")
    marked = page.locator("table.matrix td", has_text="regressed")
    expect(marked).to_have_count(2)


def test_attempts_are_selected_and_changes_stepped_through(opened: Opener, world: World) -> None:
    """The attempts and the view are in the URL; n and p step from change to change."""
    url, ids, _ = world
    page = opened()
    page.goto(f"{url}/agents/{ids['failed']}/compare")
    expect(page.get_by_role("heading", level=1)).to_have_text("Did attempt 2 improve on attempt 1?")
    page.get_by_label("From").select_option("2")
    page.get_by_label("To", exact=True).select_option("3")
    page.get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_url("**/compare?*a=2&b=3*")
    page.keyboard.press("n")
    expect(page.locator("#h1")).to_be_focused()
    page.keyboard.press("n")
    expect(page.locator("#h2")).to_be_focused()
    page.keyboard.press("p")
    expect(page.locator("#h1")).to_be_focused()
    page.get_by_role("link", name="Inline").click()
    page.wait_for_url("**/compare?*view=inline*")
    expect(page.locator(".hunk").first).to_be_visible()


def test_runs_are_compared_in_the_order_in_which_they_are_chosen(opened: Opener, world: World) -> None:
    """The run that was ticked first is run A, wherever it stands in the list, and its page names both."""
    url, ids, _ = world
    for first, second in (("passed", "failed"), ("failed", "passed")):
        page = opened()
        page.goto(f"{url}/agents")
        for name in (first, second):
            page.get_by_label(f"Select {ids[name]}").check()
        page.get_by_role("button", name="Compare two").click()
        page.wait_for_url(f"**/compare?runs={ids[first]},{ids[second]}")
        sides = page.locator(".versus section")
        expect(sides.nth(0)).to_contain_text(ids[first])
        expect(sides.nth(1)).to_contain_text(ids[second])
        expect(page.locator("#answer")).to_contain_text("different agents")
        page.get_by_role("link", name="Swap sides").click()
        expect(sides.nth(0)).to_contain_text(ids[second])
