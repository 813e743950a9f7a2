"""Tests of what all pages share: URLs, policy, tags of parts, and permissions."""

import re
from datetime import timedelta
from typing import Any

from loopkit import MemoryStore
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.lease import Claimant
from loopkit.core.machine import advance, log_change
from loopkit.core.outcome import Produced
from loopkit.core.run import NewRun
from loopkit.testing.hand_clock import HandClock
from loopkit_web import Access
from tests.web.app_helpers import client, make_app, started, work
from tests.web.dashboard.page_helpers import PageReader


async def test_every_url_begins_with_the_mount_prefix() -> None:
    """Under any prefix no page has a URL that leads out of the app."""
    store = MemoryStore()
    async with client(make_app(store), root_path="/deep/loop") as http:
        run = await started(http)
        await work(store)
        other = await started(http)
        paths = [
            "/agents",
            f"/agents/{run['id']}",
            f"/agents/{run['id']}?tab=artifacts",
            "/agents/start",
            "/runners",
            "/nope",
        ]
        for path in (*paths, f"/agents/{run['id']}/compare", f"/compare?runs={run['id']},{other['id']}"):
            response = await http.get(path, headers={"accept": "text/html"})
            page = PageReader(response)
            assert [one for one in page.links if not re.match(r"/deep/loop/|#", one)] == [], path
            refresh = re.search(r'data-refresh="([^"]*)"', response.text)
            assert refresh is None or refresh[1].startswith("/deep/loop/")


async def test_pages_have_no_inline_code_or_styles() -> None:
    """No page has an inline script, style or handler, which the Content-Security-Policy would block."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        await work(store)
        for path in ("/agents", f"/agents/{run['id']}", "/agents/start", "/runners", f"/agents/{run['id']}/compare"):
            text = (await http.get(path)).text
            assert re.search(r"<script(?! type=\"module\" src=)|<style|\sstyle=|\son\w+=", text) is None


async def test_unchanged_part_is_not_sent_again() -> None:
    """Parts have an ETag of what they show; whole pages have none, since their forms are new each time."""
    store = MemoryStore(now=HandClock())
    async with client(make_app(store)) as http:
        run = await started(http)
        for path in (
            "/agents?part=rows",
            f"/agents/{run['id']}?part=live",
            f"/agents/{run['id']}/events?after=0",
            "/runners?part=all",
        ):
            response = await http.get(path)
            same = await http.get(path, headers={"if-none-match": response.headers["etag"]})
            assert same.status_code == 304, path
        tag = (await http.get(f"/agents/{run['id']}?part=live")).headers["etag"]
        await work(store)
        changed = await http.get(f"/agents/{run['id']}?part=live", headers={"if-none-match": tag})
        assert changed.status_code == 200
        assert "etag" not in (await http.get("/agents")).headers


async def test_logging_stage_changes_only_the_journal() -> None:
    """Log lines move a run's heartbeat: for that its head and its row are sent again once in five seconds, for anything
    else at once."""
    clock = HandClock()
    store = MemoryStore(now=clock)
    async with client(make_app(store)) as http:
        held = await store.start(NewRun(agent_name="namer", inputs={}), Claimant(name="host:1"))
        parts = [f"/agents/{held.run.id}?part=live", "/agents?part=rows"]
        tags = [(await http.get(path)).headers["etag"] for path in parts]

        async def statuses() -> list[int]:
            return [
                (await http.get(path, headers={"if-none-match": tag})).status_code
                for path, tag in zip(parts, tags, strict=True)
            ]

        line = log_change(held.run, [NewEvent(event_type=EventType.LOG, message="one more")])
        await store.record(held.lease, line)
        assert await statuses() == [304, 304]
        clock.advance(timedelta(seconds=5))
        await store.record(held.lease, line)
        assert await statuses() == [200, 200]
        tags = [(await http.get(path)).headers["etag"] for path in parts]
        await store.record(held.lease, advance(held.run, Produced("x")))
        assert await statuses() == [200, 200]


async def test_missing_permission_hides_buttons_and_refuses() -> None:
    """An action that is not allowed is missing on the page, and its URL answers 403."""

    async def view_only(_: Any) -> Access:
        return Access("maria", {"view"})

    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
    async with client(make_app(store, access=view_only)) as http:
        page = PageReader(await http.get(f"/agents/{run['id']}"))
        assert page.forms == []
        assert "Start Workflow" not in PageReader(await http.get("/agents")).text
        for path in (
            f"/agents/{run['id']}/cancel",
            f"/agents/{run['id']}/retry",
            "/bulk/cancel",
            "/bulk/retry",
            "/agents/start",
        ):
            assert (await http.post(path, data={"id": run["id"]})).status_code == 403
