"""Tests of the page of a run over HTTP."""

import html
import re
from collections.abc import Collection

import loopkit
from loopkit import Agent, Artifact, MemoryStore
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.lease import Claimant
from loopkit.core.machine import advance, log_change
from loopkit.core.outcome import Produced
from loopkit.core.run import NewRun, Stage
from tests.web.app_helpers import client, make_app, started, work
from tests.web.dashboard.page_helpers import PageReader


async def test_timeline_shows_the_messages_of_events() -> None:
    """The timeline has the messages from Queued to the end and, while the run is in progress, the current stage."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        assert "Waiting for a runner." in PageReader(await http.get(f"/agents/{run['id']}")).text
        held = await store.claim_run(Claimant(name="a:1"), run["id"])
        page = await http.get(f"/agents/{run['id']}")
        assert "Producing… in progress" in PageReader(page).text
        assert '<meta http-equiv="refresh" content="5">' in page.text
        await store.record(held.lease, log_change(held.run, [NewEvent(event_type=EventType.LOG, message="Half way")]))
        assert "Half way" in PageReader(await http.get(f"/agents/{run['id']}")).text
        other = await started(http)
        await work(store)
        text = PageReader(await http.get(f"/agents/{other['id']}")).text
        messages = ("Queued", "Started", "Producing", "Produced (attempt-1.md)", "Evaluated - Score: 0.45", "Revising")
        for message in (*messages, "Revised (attempt-2.md)", "Evaluated - Score: 0.90", "Passed", "The run has ended."):
            assert message in text


async def test_refresh_reads_only_the_texts_it_shows() -> None:
    """A refresh reads the evaluations and the best output, and no text if the client has the same part already.

    A download reads its own text.
    """

    class RecordingStore(MemoryStore):
        """Store that records which texts are read."""

        def __init__(self) -> None:
            super().__init__()
            self.read: list[str] = []

        async def list_artifacts(
            self, run_id: str, *, only: Collection[int] | None = None, start: int = 0, max_chars: int | None = None
        ) -> list[Artifact]:
            artifacts = await super().list_artifacts(run_id, only=only, start=start, max_chars=max_chars)
            self.read += [artifact.filename for artifact in artifacts]
            return artifacts

    store = RecordingStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        await work(store)
        here = f"/agents/{run['id']}"
        store.read.clear()
        tag = (await http.get(f"{here}?part=live")).headers["etag"]
        assert sorted(store.read) == ["attempt-1.eval.json", "attempt-2.eval.json", "attempt-2.md"]
        store.read.clear()
        assert (await http.get(f"{here}?part=live", headers={"if-none-match": tag})).status_code == 304
        assert store.read == []
        await http.get(f"{here}/artifacts/2/output")
        assert store.read == ["attempt-2.md"]
        await http.get(f"{here}?tab=artifacts")
        assert set(store.read) == {f"attempt-{n}{suffix}" for n in (1, 2) for suffix in (".md", ".eval.json")}


async def test_tab_of_artifacts_is_bounded_whatever_they_hold() -> None:
    """The page shows as many artifacts as it has room for, and links to each of the others."""
    text = "\n\n".join(f"## Part {n}\n\nSome *text* & a [link](https://example.com/{n})." for n in range(1_000))
    agent = Agent(name="namer", produce=lambda _: text, revise=lambda _: text, evaluate=lambda _: 0.1, max_attempts=30)
    store = MemoryStore()
    run = (await loopkit.run(agent, {}, store=store)).run
    async with client(make_app(store, [agent])) as http:
        here = f"/agents/{run.id}"
        page = await http.get(f"{here}?tab=artifacts")
        assert page.status_code == 200
        assert 200_000 < len(page.content) < 1_000_000
        reader = PageReader(page)
        assert f"{here}?tab=artifacts&attempt=30" in reader.links
        assert f"{here}?tab=artifacts&attempt=1" not in reader.links
        for number in range(1, 31):
            assert f"{here}/artifacts/{number}/output" in reader.links
        alone = await http.get(f"{here}?tab=artifacts&attempt=30")
        assert "Part 400" in alone.text
        assert f"{here}?tab=artifacts" in PageReader(alone).links


async def test_large_artifact_is_downloaded_whole() -> None:
    """A download is sent in parts, none of which is missing."""
    text = "é€😀x" * 700_000
    agent = Agent(name="namer", produce=lambda _: text, evaluate=lambda _: 1.0)
    store = MemoryStore()
    run = (await loopkit.run(agent, {}, store=store)).run
    async with client(make_app(store, [agent])) as http:
        response = await http.get(f"/agents/{run.id}/artifacts/1/output")
        assert response.content == text.encode()
        page = await http.get(f"/agents/{run.id}?tab=artifacts")
        assert "about 7.0 MB" in page.text
        assert "Only the beginning is shown." in page.text


async def test_window_of_long_messages_is_bounded() -> None:
    """Messages that would make the page too large are cut to the same size, each with a link to the whole event."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        held = await store.claim_run(Claimant(name="a:1"), run["id"])
        lines = [NewEvent(event_type=EventType.LOG, message=f"line {n} " + "'" * 8_000) for n in range(300)]
        await store.record(held.lease, log_change(held.run, lines))
        page = await http.get(f"/agents/{run['id']}")
        assert page.status_code == 200
        assert len(page.content) < 500_000
        assert page.text.count("whole event</a>") == 200
        assert "line 299" in page.text


async def test_artifact_is_a_download_with_a_plain_name() -> None:
    """Whatever name another program gave it, the name in the header has only letters, digits, hyphens and dots."""
    store = MemoryStore()
    agent = Agent(name="namer", produce=lambda _: "x", evaluate=lambda _: 1.0, output_suffix=".tex")
    async with client(make_app(store, [agent])) as http:
        run = (await http.post("/api/workflows", json={"agentName": "namer", "inputs": {}})).json()
        held = await store.claim_run(Claimant(name="a:1"), run["id"])
        await store.record(held.lease, advance(held.run, Produced("<b>x"), output_suffix=".tex"))
        response = await http.get(f"/agents/{run['id']}/artifacts/1/output")
        assert response.headers["content-disposition"] == 'attachment; filename="attempt-1.tex"'
        assert response.headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert response.text == "<b>x"
        for wrong in ("2/output", "1/evaluation", "1/other", "x/output"):
            assert (await http.get(f"/agents/{run['id']}/artifacts/{wrong}")).status_code == 404


async def test_rows_of_other_programs_are_shown() -> None:
    """A run of an unknown agent, with unusual inputs and no events, has a page."""
    store = MemoryStore()
    [run] = await store.submit([NewRun(agent_name="a/b c", inputs={"": None, "deep": [[1]]}, max_attempts=1000)])
    async with client(make_app(store)) as http:
        for tab in ("timeline", "artifacts", "evaluation", "inputs", "raw", "strange"):
            assert (await http.get(f"/agents/{run.id}?tab={tab}")).status_code == 200
        assert "a/b c" in PageReader(await http.get("/agents")).text
        assert "Edit and rerun" not in PageReader(await http.get(f"/agents/{run.id}")).text
        assert (await http.get(f"/agents/{run.id}/compare")).status_code == 404


async def test_inputs_and_numbers_are_shown_as_they_are() -> None:
    """Nested inputs have no escapes but HTML's own, and large numbers all their digits."""
    store = MemoryStore()
    inputs = {"budget": 1234567, "nested": {"note": "it's <b>Zürich</b> & 東京"}}
    [run] = await store.submit([NewRun(agent_name="namer", inputs=inputs)])
    async with client(make_app(store)) as http:
        page = await http.get(f"/agents/{run.id}?tab=inputs")
    assert "it's <b>Zürich</b> & 東京" in html.unescape(page.text)
    assert "\\u" not in page.text
    assert "1234567" in page.text


async def test_output_is_shown_once_and_no_id_twice() -> None:
    """A stage's own log line with a filename shows no output, and two events that report one have ids of their own."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        held = await store.claim_run(Claimant(name="a:1"), run["id"])
        lines = [
            NewEvent(
                event_type=EventType.LOG, stage=Stage.PRODUCING, attempt=1, message="m", metadata={"filename": name}
            )
            for name in ("data-1.csv", "data-2.csv", "attempt-1.md")
        ]
        await store.record(held.lease, log_change(held.run, lines[:2]))
        changed = advance(held.run, Produced("The output"), output_suffix=".md")
        await store.record(held.lease, changed)
        page = (await http.get(f"/agents/{run['id']}")).text
        assert page.count('<details class="artifact"') == 1
        await store.record(held.lease, log_change(held.run, lines[2:]))
        page = (await http.get(f"/agents/{run['id']}")).text
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


async def test_the_evaluation_tab_shows_a_panel() -> None:
    """Checks and judges from attempt to attempt, with the spread of samples, failures and shadows; all escaped."""
    scores = iter([0.5, 0.9])

    def facts(ctx: loopkit.StageContext) -> tuple[float, str]:
        return next(scores), "<script>alert(1)</script>"

    def broken(ctx: loopkit.StageContext) -> float:
        raise ValueError("<b>no</b>")

    agent = Agent(
        name="writer",
        produce=lambda ctx: f"output {ctx.attempt}",
        max_attempts=2,
        evaluate=loopkit.Panel(
            checks=[loopkit.Check(lambda ctx: (ctx.attempt > 1, "no <i>source</i>"), name="sources")],
            judges=[loopkit.Judge(facts, samples=2, name="<u>facts</u>"), loopkit.Judge(broken, weight=0)],
        ),
    )
    store = MemoryStore()
    run = (await loopkit.run(agent, store=store)).run
    async with client(make_app(store)) as http:
        page = await http.get(f"/agents/{run.id}?tab=evaluation")
    text = " ".join(PageReader(page).text.split())
    for words in ("<u>facts</u>", "2 samples, 0.50 to 0.90", "shadow, not counted", "fails holds", "no <i>source</i>"):
        assert words in text
    assert "ValueError: <b>no</b>" in text
    for markup in ("<script>alert", "<u>facts", "<i>source", "<b>no"):
        assert markup not in page.text
