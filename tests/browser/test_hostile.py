"""Hostile artifacts in a real browser: what fires in a careless page does nothing at all in ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from markdown_it import MarkdownIt
from starlette.responses import Response

from loopkit.core import machine
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.lease import Claimant
from loopkit.core.outcome import Evaluated, Evaluation, Produced
from loopkit_web import Streams, allow_all, create_app
from tests.browser.conftest import Opener, open_page
from tests.browser.payloads import payloads
from tests.browser.seeding import World, agents
from tests.browser.serving import InThread

ENOUGH = 500
A_RUN = 60
LISTEN = """
window.__fired = new Set();
addEventListener('message', (event) => typeof event.data === 'number' && __fired.add(event.data));
"""
PRESS_ALL = """async () => {
    for (const frame of document.querySelectorAll('iframe')) {
        for (const one of frame.contentDocument.querySelectorAll('a,b,button,input[type=submit]')) {
            one.dispatchEvent(new MouseEvent('click', {bubbles: true, cancelable: true}));
        }
        for (const one of frame.contentDocument.querySelectorAll('[onfocus]')) one.focus();
    }
    for (let calm = 0, seen = -1, turns = 0; calm < 5 && turns < 50; calm += 1, turns += 1) {
        await new Promise((done) => setTimeout(done, 100));
        if (__fired.size !== seen) calm = 0;
        seen = __fired.size;
    }
    return [...__fired];
}"""
ALL = list(payloads())


def careless(text: str) -> str:
    """What a page shows that trusts its artifacts: raw HTML, and any address."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    html: str = parser.render(text)
    return html


def harness(some: Sequence[tuple[int, str]]) -> str:
    frames = (f'<iframe srcdoc="{escape(careless(text))}"></iframe>' for _, text in some)
    return "<!doctype html>" + "".join(frames)


class _Careless:
    """Serves pages without any policy; what they ask for beside that is not there."""

    def __init__(self, pages: Sequence[str]) -> None:
        self._pages = pages
        self.streams = Streams()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        name = scope["path"][1:]
        there = name.isdigit() and int(name) < len(self._pages)
        body = self._pages[int(name)] if there else "nothing"
        await Response(body, 200 if there else 404, media_type="text/html")(scope, receive, send)


@pytest.fixture(scope="module")
def fired(chromium: Any) -> set[int]:
    """The numbers of the payloads that do something in a careless page: run a script, or load from elsewhere."""
    context = chromium.new_context()
    context.add_init_script(LISTEN)
    found: set[int] = set()
    pages = [harness(ALL[at : at + 120]) for at in range(0, len(ALL), 120)]

    def note(url: str) -> None:
        if away := re.match(r"https?://evil\.test/(\d+)", url):
            found.add(int(away[1]))

    context.on("request", lambda request: note(request.url))
    context.on("dialog", lambda dialog: dialog.dismiss())
    page = context.new_page()
    with InThread(_Careless(pages)) as url:
        for number in range(len(pages)):
            page.goto(f"{url}/{number}")
            found.update(page.evaluate(PRESS_ALL))
    context.close()
    return found


async def fill(world: World, some: Sequence[tuple[int, str]]) -> str:
    """Make a run that has a payload in every place that holds text."""
    world.clock.at = None
    text = some[0][1]
    inputs = {"subject": text, "nested": {text: [text]}, "markdown": "\n".join(one for _, one in some[:5])}
    run = await world.submit(
        "target_builder", inputs, max_attempts=len(some), pass_threshold=1.0, actor=text, cycle_id=text[:180]
    )
    held = await world.store.claim_run(_claimant(text), run.id)
    for _, one in some:
        run = await world.store.get_run(run.id)
        metadata = {one: one, "k": [one]}
        event = NewEvent(event_type=EventType.LOG, stage=run.current_stage, message=one, metadata=metadata)
        await world.store.record(held.lease, machine.log(run, [event]))
        world.clock.at = None
        await _made(world, held, one)
        await _judged(world, held, one)
    return run.id


def _claimant(text: str) -> Any:
    return Claimant(name=f"{text[:100]}:1")


async def _made(world: World, held: Any, text: str) -> None:
    run = await world.store.get_run(held.run.id)
    await world.store.record(held.lease, machine.advance(run, Produced(text)))


async def _judged(world: World, held: Any, text: str) -> None:
    run = await world.store.get_run(held.run.id)
    rest = {"criteria": {text: {"score": 0.2, "feedback": text}}, "more": text, text: text}
    await world.store.record(held.lease, machine.advance(run, Evaluated(Evaluation(0.1, text, rest=rest))))


def test_every_payload_that_fires_elsewhere_does_nothing_here(
    fired: set[int], opened: Opener, served: Callable[[Any], str]
) -> None:
    """At least 500 payloads, in outputs, feedback, criteria, logs, metadata, inputs and names, on every page that shows
    them: no script, no dialog, no request to elsewhere, no report of the policy, and no address but plain ones."""
    corpus = [(number, text) for number, text in ALL if number in fired]
    print(f"{len(corpus)} of {len(ALL)} payloads fire")
    assert len(corpus) >= ENOUGH
    world = World()
    with start_blocking_portal() as portal:
        runs = [portal.call(fill, world, corpus[start : start + A_RUN]) for start in range(0, len(corpus), A_RUN)]
    url = served(create_app(world.store, agents(), access=allow_all))
    page = opened()
    page.context.add_init_script(LISTEN)
    paths = [f"/agents/{run}{tab}" for run in runs for tab in ("", "?tab=artifacts", "?tab=evaluation")]
    paths += [f"/agents/{runs[0]}?tab={tab}" for tab in ("inputs", "raw")]
    paths += [f"/agents/{runs[0]}/compare?a=1&b=2&view={view}" for view in ("split", "inline", "rendered")]
    paths += ["/agents", f"/compare?runs={runs[0]},{runs[1]}", f"/agents/start?from={runs[0]}", "/runners"]
    shown = 0
    for path in paths:
        open_page(page, url + path)
        shown += page.locator(".prose").count() if "tab=artifacts" in path else 0
        assert page.evaluate("[...__fired]") == [], path
        assert page.evaluate("__reports") == [], path
        assert page.evaluate(ODD_ONES) == [], path
    assert shown == len(corpus), "each payload was rendered as Markdown"
    assert page.watched.off_origin(url) == []


ODD_ONES = """[...document.querySelectorAll('main *')].filter((one) =>
    ['SCRIPT', 'IFRAME', 'OBJECT', 'EMBED', 'IMG', 'VIDEO', 'AUDIO', 'STYLE', 'LINK', 'BASE', 'META', 'MATH'].includes(
        one.tagName)
    || [...one.attributes].some((a) => /^on|^style$|^srcdoc$|^formaction$/.test(a.name) && !/^\\/bulk/.test(a.value))
    || (one.href && typeof one.href === 'string' && !/^(https?:|mailto:)/.test(one.href))
    || (one.closest('.prose') && one.href && one.rel !== 'noopener noreferrer nofollow')
).map((one) => one.outerHTML.slice(0, 200))"""


def test_a_raw_artifact_is_a_file_and_never_a_page(opened: Opener, served: Callable[[Any], str], tmp_path: Any) -> None:
    """An artifact that is opened by its own address is downloaded, whatever it is called and holds."""
    world = World()

    async def make() -> str:
        world.clock.at = None
        run = await world.submit("target_builder", {})
        held = await world.store.claim_run(Claimant(name="a:1"), run.id)
        html = Produced("<script>top.postMessage(1,'*')</script>")
        await world.store.record(held.lease, machine.advance(held.run, html, output_suffix=".html"))
        return run.id

    with start_blocking_portal() as portal:
        run_id = portal.call(make)
    url = served(create_app(world.store, agents(), access=allow_all))
    page = opened()
    page.goto(f"{url}/agents/{run_id}?tab=artifacts")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download attempt-1.html").click()
    assert download.value.suggested_filename == "attempt-1.html"
    answer = page.request.get(download.value.url)
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
