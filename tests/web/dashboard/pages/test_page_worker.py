"""Tests of the worker threads in which pages are computed."""

import threading

import anyio
import anyio.abc
import pytest
from starlette.requests import Request

from loopkit_web.dashboard.pages import layout, page_worker
from loopkit_web.dashboard.pages.page_worker import in_worker
from loopkit_web.http.call import Call
from loopkit_web.http.problems import ProblemCode, Refused
from tests.web.app_helpers import client, make_app, started


def make_call() -> Call:
    return Call(make_app()._site, Request({"type": "http", "method": "GET", "path": "/", "headers": []}))


async def test_at_most_four_pages_are_computed_at_once() -> None:
    """A fifth page waits until one of the four is ready."""
    call = make_call()
    running, most = 0, 0
    lock, go_on = threading.Lock(), threading.Event()

    def compute() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if most == 4:
                go_on.set()
        go_on.wait(30)
        with lock:
            running -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(in_worker, call, compute)
    assert most == 4


async def test_a_page_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client gets a problem that says so; the thread ends by itself."""
    monkeypatch.setattr(page_worker, "_SECONDS", 0.05)
    ended = threading.Event()
    with pytest.raises(Refused) as caught:
        await in_worker(make_call(), ended.wait, 30)
    ended.set()
    assert caught.value.code is ProblemCode.PAGE_UNAVAILABLE


@pytest.mark.parametrize("part", ["", "?part=live"])
async def test_a_sentence_stands_in_for_a_page_that_would_be_too_large(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """The last resort: whatever rows hold, a page is sent, and leads to the whole."""
    monkeypatch.setattr(layout, "MAX_PAGE_BYTES", 1000)
    async with client(make_app()) as http:
        run = await started(http)
        paths = {
            f"/agents/{run['id']}{part}": f"/api/workflow-artifacts?runId={run['id']}",
            f"/agents{part}": "/api/workflows",
        }
        for path, link in paths.items():
            response = await http.get(path, headers={"accept": "text/html"})
            assert response.status_code == 200
            assert "larger than 1 MB" in response.text
            assert f'href="{link}"' in response.text
