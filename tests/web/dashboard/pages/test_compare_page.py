"""Tests of the pages that compare."""

import json
from typing import Any

import httpx
import pytest

import loopkit
from loopkit import Agent, MemoryStore
from tests.web.app_helpers import client, make_app
from tests.web.dashboard.page_helpers import PageReader


@pytest.mark.parametrize(
    ("runs", "text"), [("", "Choose two runs"), ("a", "Choose two runs"), ("a,b,c", "Choose two runs")]
)
async def test_two_runs_are_needed_to_compare(runs: str, text: str) -> None:
    """The page says that two runs are needed, for one, three or none."""
    async with client(make_app()) as http:
        response = await http.get(f"/compare?runs={runs}", headers={"accept": "text/html"})
        assert response.status_code == 400
        assert text in PageReader(response).text


async def run_of(store: MemoryStore, name: str, inputs: dict[str, Any], score: float, feedback: str = "") -> str:
    """Work a run to its end, and return its id."""
    evaluation = {"score": score, "feedback": feedback}
    agent = Agent(name=name, produce=lambda ctx: f"# {ctx.inputs}", evaluate=lambda _: evaluation, max_attempts=1)
    return (await loopkit.run(agent, inputs, store=store)).run.id


async def test_two_runs_are_named_and_their_inputs_compared() -> None:
    """Both runs are named by id, agent and status in the order given, and the inputs that differ are shown."""
    store = MemoryStore()
    a = await run_of(store, "brief", {"topic": "cats", "pages": 2, "tone": "dry"}, 0.5, "Nothing is missing. Shorter!")
    b = await run_of(store, "brief", {"topic": "dogs", "pages": 2}, 0.7)
    async with client(make_app(store)) as http:
        for first, second in ((a, b), (b, a)):
            page = await http.get(f"/compare?runs={first},{second}")
            text = PageReader(page).text
            assert text.index(first) < text.index(second)
            assert f"/compare?runs={second}%2C{first}" in page.text
        text = PageReader(await http.get(f"/compare?runs={a},{b}")).text
    for words in ("Run A", "Run B", "Topic", "cats", "dogs", "Tone", "not given", "Yes. The score rose by 0.20."):
        assert words in text
    assert "Pages" not in text
    assert "Still open" not in text
    assert "of the feedback" not in text, "run B did not get the feedback on run A"
    await loopkit.label(store, a, title="A title of A")
    async with client(make_app(store)) as http:
        text = PageReader(await http.get(f"/compare?runs={a},{b}")).text
    assert text.index("A title of A") < text.index(a)


async def test_runs_of_different_agents_are_not_ranked() -> None:
    """Scores of different agents are shown, but not compared; nor are those of an agent that was changed."""
    store = MemoryStore()
    brief = await run_of(store, "brief", {}, 0.5)
    other = await run_of(store, "regex", {}, 0.7)
    async with client(make_app(store)) as http:
        text = PageReader(await http.get(f"/compare?runs={brief},{other}")).text
    assert "The runs are of different agents, brief and regex, so their scores are not compared." in text
    assert "not comparable" in text
    for words in ("better", "rose", "fell"):
        assert words not in text
    assert "the same in both runs" in text


async def compared(outputs: tuple[str, str], feedback: str = "", suffix: str = ".md") -> httpx.Response:
    """Return the comparison of two outputs of a run."""
    agent = Agent(
        name="namer",
        produce=lambda _: outputs[0],
        revise=lambda _: outputs[1],
        evaluate=lambda ctx: {"score": 0.3 * ctx.attempt, "feedback": feedback},
        max_attempts=2,
        output_suffix=suffix,
    )
    store = MemoryStore()
    run = (await loopkit.run(agent, {}, store=store)).run
    async with client(make_app(store, [agent])) as http:
        return await http.get(f"/agents/{run.id}/compare?a=1&b=2")


LINES = [f"same line {n} with five words" if n % 2 else "{} value number " + str(n) for n in range(3_300)]
POINTS = ". ".join(f"Value number {n} should be new there then please" for n in range(60))


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        pytest.param("\n".join(LINES), "\n".join(LINES).replace("{}", "new"), "not shown", id="lines"),
        pytest.param("'\n" * 3_900, "\"'\n" * 3_900, "unchanged", id="lines that repeat"),
        pytest.param("<" * 150_000, "<" * 150_001, "not shown", id="one line"),
        pytest.param("x" * 300_000, "y", "too large to compare", id="long text"),
        pytest.param("\x0b" * 50_000, "y", "too large to compare", id="lines of another kind"),
        pytest.param(json.dumps([*range(40_000)]), json.dumps([*range(9, 40_009)]), "too large", id="minified JSON"),
        pytest.param(json.dumps([*range(4_000)]), json.dumps([*range(9, 4_009)]), "not shown", id="JSON values"),
        pytest.param(
            json.dumps({"k" * 900: {str(n): n for n in range(4_000)}}),
            json.dumps({"k": 1}),
            "not shown",
            id="JSON paths",
        ),
        pytest.param(
            json.dumps(["word " * 20_000] * 1),
            json.dumps(["words " * 19_000] * 1),
            "Compare",
            id="words of a JSON text",
        ),
    ],
)
async def test_comparison_is_bounded_whatever_the_outputs_hold(before: str, after: str, text: str) -> None:
    """The page has the first changes, says how many it leaves out, and links to both outputs."""
    response = await compared((before, after), POINTS, ".json" if before[0] in "[{" else ".md")
    assert response.status_code == 200
    assert len(response.content) < 1_000_000
    if text != "unchanged":
        assert text in response.text
    if text in ("not shown", "too large"):
        assert any(link.endswith("/artifacts/2/output") for link in PageReader(response).links)
