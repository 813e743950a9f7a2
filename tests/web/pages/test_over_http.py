"""The pages as a browser without scripts has them: words, forms, addresses, and what may be asked of whom."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from loopkit import Agent, Artifact, MemoryStore
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.lease import Claimant
from loopkit.core.machine import advance, log
from loopkit.core.outcome import Produced
from loopkit.core.run import NewRun
from loopkit.testing.clock import HandClock
from loopkit_web import Access
from tests.web.apps import client, make_app, namer, started, work


class Page(HTMLParser):
    """What a page holds: its words, its addresses, and its forms with their fields and buttons."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.forms: list[dict[str, Any]] = []
        self._button = False
        self.feed(answer.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.links += [given[name] for name in ("href", "src", "action", "formaction") if name in given]
        if tag == "form":
            self.forms.append({"action": given.get("action", ""), "fields": {}, "buttons": []})
        elif self.forms and tag == "input" and given.get("type") not in ("checkbox", "radio"):
            self.forms[-1]["fields"][given.get("name", "")] = given.get("value", "")
        self._button = self._button or tag == "button"

    def handle_endtag(self, tag: str) -> None:
        self._button = self._button and tag != "button"

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._button and data.strip() and self.forms:
            self.forms[-1]["buttons"].append(data.strip())
            self._button = False

    def form(self, button: str) -> dict[str, Any]:
        return next(form for form in self.forms if any(one.startswith(button) for one in form["buttons"]))


async def sent(http: httpx.AsyncClient, form: dict[str, Any], **fields: str) -> httpx.Response:
    return await http.post(form["action"], data={**form["fields"], **fields})


async def test_the_words_of_the_list() -> None:
    """The heading, its sentence, the button, and each run with its status in words."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        await started(http)
        await work(store)
        await started(http)
        page = Page(await http.get("/agents"))
        for words in (
            "Agent Workflows",
            "Monitor and control automated workflows",
            "+ Start Workflow",
            "Queued",
            "Passed (0.90)",
        ):
            assert words in page.text
        assert (await http.get("/")).headers["location"] == "/agents"


async def test_a_run_is_started_cancelled_and_retried_by_forms() -> None:
    """Each form leads on by 303, sent twice it does one thing, and the page offers what can be done now."""
    async with client(make_app()) as http:
        form = Page(await http.get("/agents/start?agent=namer")).form("Start")
        first = await sent(http, form, **{"inputs/thing": "a cat", "inputs/count": "2"})
        assert first.status_code == 303
        again = await sent(http, form, **{"inputs/thing": "a cat", "inputs/count": "2"})
        assert again.headers["location"] == first.headers["location"]
        other = await sent(http, form, **{"inputs/thing": "a dog"})
        assert other.headers["location"] != first.headers["location"]

        address = first.headers["location"]
        page = Page(await http.get(address))
        assert [button for form in page.forms for button in form["buttons"]] == ["Cancel run"]
        assert (await sent(http, page.form("Cancel"))).headers["location"] == address
        page = Page(await http.get(address))
        assert "Cancelled" in page.text
        retried = await sent(http, page.form("Retry"))
        assert retried.status_code == 303
        assert (await sent(http, page.form("Retry"))).headers["location"] == retried.headers["location"]
        assert "Queued" in Page(await http.get(retried.headers["location"])).text


async def test_a_run_that_ended_meanwhile_is_no_failure() -> None:
    """Cancel, pressed on a page that is out of date, leads to the page that says how the run ended."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        page = Page(await http.get(f"/agents/{run['id']}"))
        await work(store)
        answer = await sent(http, page.form("Cancel"))
        assert answer.status_code == 303
        assert "Passed (0.90)" in Page(await http.get(answer.headers["location"])).text


async def test_the_timeline_shows_the_events_messages() -> None:
    """From Queued to the end, and while it runs, what is under way."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        assert "Waiting for a runner." in Page(await http.get(f"/agents/{run['id']}")).text
        held = await store.claim_run(Claimant(name="a:1"), run["id"])
        page = await http.get(f"/agents/{run['id']}")
        assert "Producing… in progress" in Page(page).text
        assert '<meta http-equiv="refresh" content="5">' in page.text
        await store.record(held.lease, log(held.run, [NewEvent(event_type=EventType.LOG, message="Half way")]))
        assert "Half way" in Page(await http.get(f"/agents/{run['id']}")).text
        other = await started(http)
        await work(store)
        text = Page(await http.get(f"/agents/{other['id']}")).text
        messages = ("Queued", "Started", "Producing", "Produced (attempt-1.md)", "Evaluated - Score: 0.45", "Revising")
        for message in (*messages, "Revised (attempt-2.md)", "Evaluated - Score: 0.90", "Passed", "The end."):
            assert message in text


async def test_every_address_begins_with_the_mount() -> None:
    """Under any prefix no page holds an address that leads outside of the app."""
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
            answer = await http.get(path, headers={"accept": "text/html"})
            page = Page(answer)
            assert [one for one in page.links if not re.match(r"/deep/loop/|#", one)] == [], path
            refresh = re.search(r'data-refresh="([^"]*)"', answer.text)
            assert refresh is None or refresh[1].startswith("/deep/loop/")


async def test_no_page_holds_code_or_styles_of_its_own() -> None:
    """No inline script, no style, no handler: the policy would stop them."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        await work(store)
        for path in ("/agents", f"/agents/{run['id']}", "/agents/start", "/runners", f"/agents/{run['id']}/compare"):
            text = (await http.get(path)).text
            assert re.search(r"<script(?! type=\"module\" src=)|<style|\sstyle=|\son\w+=", text) is None


async def test_a_part_is_not_sent_again_while_nothing_changed() -> None:
    """Parts bear a tag of what they show; whole pages bear none, since their forms are made anew."""
    store = MemoryStore(now=HandClock())
    async with client(make_app(store)) as http:
        run = await started(http)
        for path in (
            "/agents?part=rows",
            f"/agents/{run['id']}?part=live",
            f"/agents/{run['id']}/events?after=0",
            "/runners?part=all",
        ):
            answer = await http.get(path)
            same = await http.get(path, headers={"if-none-match": answer.headers["etag"]})
            assert same.status_code == 304, path
        tag = (await http.get(f"/agents/{run['id']}?part=live")).headers["etag"]
        await work(store)
        changed = await http.get(f"/agents/{run['id']}?part=live", headers={"if-none-match": tag})
        assert changed.status_code == 200
        assert "etag" not in (await http.get("/agents")).headers


async def test_a_talkative_stage_changes_the_journal_alone() -> None:
    """Log lines move a run's heartbeat; its head and its row are sent again once in five seconds for that, and at once
    for anything else."""
    clock = HandClock()
    store = MemoryStore(now=clock)
    async with client(make_app(store)) as http:
        held = await store.start(NewRun(agent_name="namer", inputs={}), Claimant(name="host:1"))
        parts = [f"/agents/{held.run.id}?part=live", "/agents?part=rows"]
        tags = [(await http.get(path)).headers["etag"] for path in parts]

        async def asked() -> list[int]:
            return [
                (await http.get(path, headers={"if-none-match": tag})).status_code
                for path, tag in zip(parts, tags, strict=True)
            ]

        line = log(held.run, [NewEvent(event_type=EventType.LOG, message="one more")])
        await store.record(held.lease, line)
        assert await asked() == [304, 304]
        clock.advance(timedelta(seconds=5))
        await store.record(held.lease, line)
        assert await asked() == [200, 200]
        tags = [(await http.get(path)).headers["etag"] for path in parts]
        await store.record(held.lease, advance(held.run, Produced("x")))
        assert await asked() == [200, 200]


async def test_a_refresh_reads_no_more_texts_than_it_shows() -> None:
    """What is fetched again of a run reads its evaluations, and nothing at all while the page has the same already; a
    download reads its own text."""

    class Watched(MemoryStore):
        """Notes which texts are read."""

        def __init__(self) -> None:
            super().__init__()
            self.read: list[str] = []

        async def list_artifacts(self, run_id: str, *, only: Collection[int] | None = None) -> list[Artifact]:
            found = await super().list_artifacts(run_id, only=only)
            self.read += [artifact.filename for artifact in found]
            return found

    store = Watched()
    async with client(make_app(store)) as http:
        run = await started(http)
        await work(store)
        here = f"/agents/{run['id']}"
        store.read.clear()
        tag = (await http.get(f"{here}?part=live")).headers["etag"]
        assert store.read == ["attempt-1.eval.json", "attempt-2.eval.json"]
        store.read.clear()
        assert (await http.get(f"{here}?part=live", headers={"if-none-match": tag})).status_code == 304
        assert store.read == []
        await http.get(f"{here}/artifacts/2/output")
        assert store.read == ["attempt-2.md"]
        await http.get(f"{here}?tab=artifacts")
        assert len(store.read) == 5


async def test_the_filters_of_the_list() -> None:
    """Status, agent, time, text and order stand in the address and narrow the list; a strange value is none."""
    store = MemoryStore()
    async with client(make_app(store, [namer(), namer("other")])) as http:
        ended = await started(http)
        await work(store)
        waiting = await started(http)

        async def found(query: str) -> set[str]:
            text = (await http.get(f"/agents?{query}")).text
            return {run["id"] for run in (ended, waiting) if f'id="r-{run["id"]}"' in text}

        both = {ended["id"], waiting["id"]}
        assert await found("") == await found("status=strange&order=strange&range=strange") == both
        assert await found("status=queued") == {waiting["id"]}
        assert await found("status=attention") == await found("agent=other") == set()
        assert await found(f"q={ended['id'][:20]}&range=1h") in ({ended["id"]}, both)
        assert await found("order=score") == {ended["id"]}
        assert "Nothing matches these filters" in (await http.get("/agents?agent=other")).text


async def test_pages_of_a_long_list() -> None:
    """Fifty at a time, the rest behind a link, each run on one page."""
    async with client(make_app()) as http:
        runs = {(await started(http))["id"] for _ in range(53)}
        text = (await http.get("/agents")).text
        first = set(re.findall(r'id="r-(run_\w+)"', text))
        [link] = re.findall(r'rel="next" href="([^"]*)"', text)
        second = set(re.findall(r'id="r-(run_\w+)"', (await http.get(link.replace("&amp;", "&"))).text))
        assert len(first) == 50
        assert first | second == runs


async def test_who_may_not_sees_no_button_and_is_refused() -> None:
    """What is not allowed is absent from the page, and its address refuses."""

    async def looker(_: Any) -> Access:
        return Access("maria", {"view"})

    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
    async with client(make_app(store, access=looker)) as http:
        page = Page(await http.get(f"/agents/{run['id']}"))
        assert page.forms == []
        assert "Start Workflow" not in Page(await http.get("/agents")).text
        for path in (
            f"/agents/{run['id']}/cancel",
            f"/agents/{run['id']}/retry",
            "/bulk/cancel",
            "/bulk/retry",
            "/agents/start",
        ):
            assert (await http.post(path, data={"id": run["id"]})).status_code == 403


async def test_a_problem_is_a_page_to_a_browser() -> None:
    """It says what is wrong and under which request id, and leads back."""
    async with client(make_app()) as http:
        answer = await http.get("/agents/run_nope", headers={"accept": "text/html"})
        page = Page(answer)
        assert answer.status_code == 404
        assert "No such run" in page.text
        assert answer.headers["x-request-id"] in page.text
        assert "/agents" in page.links


async def test_files_are_kept_for_ever_and_only_as_they_are() -> None:
    """Under their hashed names, also zipped; another version, or another file, is not there."""
    async with client(make_app()) as http:
        page = Page(await http.get("/agents"))
        names = [one for one in page.links if "/_s/" in one]
        assert len(names) == 3
        for name in names:
            answer = await http.get(name)
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert answer.headers["content-encoding"] == "gzip"
            plain = await http.get(name, headers={"accept-encoding": "identity"})
            assert plain.content == answer.content
        for name in (
            "/_s/000000000000/loopkit.css",
            "/_s/x/..%2F__init__.py",
            names[0].rsplit("/", 1)[0] + "/idiomorph.min.js",
        ):
            assert (await http.get(name)).status_code == 404


async def test_an_artifact_is_sent_as_a_file_with_a_plain_name() -> None:
    """Whatever another program called it, its name in the header holds letters and dots alone."""
    store = MemoryStore()
    agent = Agent(name="namer", produce=lambda _: "x", evaluate=lambda _: 1.0, output_suffix=".tex")
    async with client(make_app(store, [agent])) as http:
        run = (await http.post("/api/workflows", json={"agentName": "namer", "inputs": {}})).json()
        held = await store.claim_run(Claimant(name="a:1"), run["id"])
        await store.record(held.lease, advance(held.run, Produced("<b>x"), output_suffix=".tex"))
        answer = await http.get(f"/agents/{run['id']}/artifacts/1/output")
        assert answer.headers["content-disposition"] == 'attachment; filename="attempt-1.tex"'
        assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert answer.text == "<b>x"
        for wrong in ("2/output", "1/evaluation", "1/other", "x/output"):
            assert (await http.get(f"/agents/{run['id']}/artifacts/{wrong}")).status_code == 404


@pytest.mark.parametrize(
    ("runs", "words"), [("", "Choose two runs"), ("a", "Choose two runs"), ("a,b,c", "Choose two runs")]
)
async def test_two_runs_are_needed_to_compare(runs: str, words: str) -> None:
    """One, three or none is said to be the wrong number."""
    async with client(make_app()) as http:
        answer = await http.get(f"/compare?runs={runs}", headers={"accept": "text/html"})
        assert answer.status_code == 400
        assert words in Page(answer).text


async def test_rows_of_other_programs_are_shown() -> None:
    """A run of an agent nobody knows, with odd inputs and no events, has a page."""
    store = MemoryStore()
    [run] = await store.submit([NewRun(agent_name="a/b c", inputs={"": None, "deep": [[1]]}, max_attempts=1000)])
    async with client(make_app(store)) as http:
        for tab in ("timeline", "artifacts", "evaluation", "inputs", "raw", "strange"):
            assert (await http.get(f"/agents/{run.id}?tab={tab}")).status_code == 200
        assert "a/b c" in Page(await http.get("/agents")).text
        assert "Edit and rerun" not in Page(await http.get(f"/agents/{run.id}")).text
        assert (await http.get(f"/agents/{run.id}/compare")).status_code == 404
