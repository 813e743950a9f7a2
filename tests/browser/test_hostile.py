"""Tests of hostile artifacts in a real browser: a payload that works in an unprotected page does nothing in ours."""

import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

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
from tests.browser.payload_helpers import generate_payloads
from tests.browser.seed_helpers import World, agents
from tests.browser.server_helpers import InThread

MIN_PAYLOADS = 500
PAYLOADS_PER_RUN = 60
PAYLOADS_PER_PAGE = 120
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
ALL = list(generate_payloads())


def unprotected(text: str) -> str:
    """Return Markdown as a page renders it that trusts its artifacts: with raw HTML, and any URL."""
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    parser.validateLink = lambda url: True  # type: ignore[method-assign]
    html: str = parser.render(text)
    return html


def unprotected_page(payloads: Sequence[tuple[int, str]]) -> str:
    """Return a page with one frame for each payload."""
    frames = (f'<iframe srcdoc="{escape(unprotected(text))}"></iframe>' for _, text in payloads)
    return "<!doctype html>" + "".join(frames)


class UnprotectedApp:
    """App that serves pages without a policy; anything else is a 404."""

    def __init__(self, pages: Sequence[str]) -> None:
        self._pages = pages
        self.streams = Streams()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        name = scope["path"][1:]
        exists = name.isdigit() and int(name) < len(self._pages)
        body = self._pages[int(name)] if exists else "nothing"
        await Response(body, 200 if exists else 404, media_type="text/html")(scope, receive, send)


@pytest.fixture(scope="module")
def fired(chromium: Any) -> set[int]:
    """Numbers of the payloads that work in an unprotected page: they run a script, or load from another origin."""
    context = chromium.new_context()
    context.add_init_script(LISTEN)
    numbers: set[int] = set()
    pages = [unprotected_page(ALL[at : at + PAYLOADS_PER_PAGE]) for at in range(0, len(ALL), PAYLOADS_PER_PAGE)]

    def note(url: str) -> None:
        if match := re.match(r"https?://evil\.test/(\d+)", url):
            numbers.add(int(match[1]))

    context.on("request", lambda request: note(request.url))
    context.on("dialog", lambda dialog: dialog.dismiss())
    page = context.new_page()
    with InThread(UnprotectedApp(pages)) as url:
        for number in range(len(pages)):
            page.goto(f"{url}/{number}")
            numbers.update(page.evaluate(PRESS_ALL))
    context.close()
    return numbers


async def fill(world: World, payloads: Sequence[tuple[int, str]]) -> str:
    """Create a run with a payload in every place that holds text, and return its id."""
    world.clock.at = None
    text = payloads[0][1]
    inputs = {"subject": text, "nested": {text: [text]}, "markdown": "\n".join(payload for _, payload in payloads[:5])}
    run = await world.submit(
        "target_builder",
        inputs,
        max_attempts=len(payloads),
        pass_threshold=1.0,
        actor=text,
        cycle_id=text[:180],
        title=text[:200],
        tags=tuple(dict.fromkeys(payload[:50] for _, payload in payloads[:20])),
    )
    held = await world.store.claim_run(_claimant(text), run.id)
    for _, payload in payloads:
        run = await world.store.get_run(run.id)
        metadata = {payload: payload, "k": [payload]}
        event = NewEvent(event_type=EventType.LOG, stage=run.current_stage, message=payload, metadata=metadata)
        await world.store.record(held.lease, machine.log_change(run, [event]))
        world.clock.at = None
        await _produce(world, held, payload)
        await _evaluate(world, held, payload)
    return run.id


def _claimant(text: str) -> Any:
    return Claimant(name=f"{text[:100]}:1")


async def _produce(world: World, held: Any, text: str) -> None:
    run = await world.store.get_run(held.run.id)
    await world.store.record(held.lease, machine.advance(run, Produced(text)))


async def _evaluate(world: World, held: Any, text: str) -> None:
    run = await world.store.get_run(held.run.id)
    rest = {"criteria": {text: {"score": 0.2, "feedback": text}}, "more": text, text: text}
    await world.store.record(held.lease, machine.advance(run, Evaluated(Evaluation(0.1, text, rest=rest))))


def test_working_payloads_do_nothing_in_the_dashboard(
    fired: set[int], opened: Opener, served: Callable[[Any], str]
) -> None:
    """At least 500 payloads, in outputs, feedback, criteria, logs, metadata, inputs, names, titles and tags, on every
    page that shows them: no script runs, no dialog opens, no request leaves, the policy reports nothing, and all URLs
    are plain."""
    corpus = [(number, text) for number, text in ALL if number in fired]
    print(f"{len(corpus)} of {len(ALL)} payloads work")
    assert len(corpus) >= MIN_PAYLOADS
    world = World()
    with start_blocking_portal() as portal:
        starts = range(0, len(corpus), PAYLOADS_PER_RUN)
        runs = [portal.call(fill, world, corpus[start : start + PAYLOADS_PER_RUN]) for start in starts]
    url = served(create_app(world.store, agents(), access=allow_all))
    page = opened(allowed=("422 (Unprocessable",))
    page.context.add_init_script(LISTEN)
    paths = [f"/agents/{run}{tab}" for run in runs for tab in ("", "?tab=artifacts", "?tab=evaluation")]
    paths += [f"/agents/{runs[0]}?tab={tab}" for tab in ("inputs", "raw")]
    paths += [f"/agents/{runs[0]}/compare?a=1&b=2&view={view}" for view in ("split", "inline", "rendered")]
    paths += [f"/agents?{urlencode({'tag': text[:50], 'q': text})}" for _, text in corpus[:3]]
    paths += ["/agents", f"/compare?runs={runs[0]},{runs[1]}", f"/agents/start?from={runs[0]}", "/runners"]
    shown = 0
    for path in paths:
        open_page(page, url + path)
        shown += page.locator(".prose").count() if "tab=artifacts" in path else 0
        assert page.evaluate("[...__fired]") == [], path
        assert page.evaluate("__reports") == [], path
        assert page.evaluate(FORBIDDEN_ELEMENTS) == [], path
    page.goto(f"{url}/agents/{runs[0]}")
    page.get_by_text("Edit title and tags").click()
    page.get_by_label("Title").fill(corpus[0][1] + " " * 10 + "x" * 200)
    page.get_by_label("Tags").fill("\n".join(text + "x" * 50 for _, text in corpus[:30]))
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Nothing was saved.").wait_for()
    assert page.evaluate("[...__fired]") == []
    assert page.evaluate("__reports") == []
    assert page.evaluate(FORBIDDEN_ELEMENTS) == []
    assert shown == len(corpus), "each payload was rendered as Markdown"
    assert page.watched.off_origin(url) == []


FORBIDDEN_ELEMENTS = """[...document.querySelectorAll('main *')].filter((one) =>
    ['SCRIPT', 'IFRAME', 'OBJECT', 'EMBED', 'IMG', 'VIDEO', 'AUDIO', 'STYLE', 'LINK', 'BASE', 'META', 'MATH'].includes(
        one.tagName)
    || [...one.attributes].some((a) => /^on|^style$|^srcdoc$|^formaction$/.test(a.name) && !/^\\/bulk/.test(a.value))
    || (one.href && typeof one.href === 'string' && !/^(https?:|mailto:)/.test(one.href))
    || (one.closest('.prose') && one.href && one.rel !== 'noopener noreferrer nofollow')
).map((one) => one.outerHTML.slice(0, 200))"""


def test_raw_artifact_is_a_download_and_never_a_page(opened: Opener, served: Callable[[Any], str]) -> None:
    """An artifact that is opened by its own URL is downloaded, whatever its name and content."""
    world = World()

    async def submit() -> str:
        world.clock.at = None
        run = await world.submit("target_builder", {})
        held = await world.store.claim_run(Claimant(name="a:1"), run.id)
        html = Produced("<script>top.postMessage(1,'*')</script>")
        await world.store.record(held.lease, machine.advance(held.run, html, output_suffix=".html"))
        return run.id

    with start_blocking_portal() as portal:
        run_id = portal.call(submit)
    url = served(create_app(world.store, agents(), access=allow_all))
    page = opened()
    page.goto(f"{url}/agents/{run_id}?tab=artifacts")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download attempt-1.html").click()
    assert download.value.suggested_filename == "attempt-1.html"
    response = page.request.get(download.value.url)
    assert response.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert response.headers["content-disposition"].startswith("attachment")
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["x-content-type-options"] == "nosniff"
