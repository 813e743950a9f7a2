"""Model calls of runs over HTTP."""

from typing import Any

import loopkit
from loopkit import Agent, MemoryStore
from tests.web.app_helpers import client, make_app, namer


def spend(ctx: Any) -> str:
    ctx.report_usage(input_tokens=100, output_tokens=20, usd=0.0125, model="local:m")
    return "text"


async def test_the_calls_of_a_run() -> None:
    """They are oldest first, and the total is the usage of the run."""
    store = MemoryStore()
    agent = Agent(name="namer", produce=spend, evaluate=lambda ctx: 0.5 * ctx.attempt)
    run = (await loopkit.run(agent, {}, store=store)).run
    async with client(make_app(store)) as http:
        document = (await http.get(f"/api/workflow-usage?runId={run.id}")).json()
        shown = (await http.get(f"/api/workflows?id={run.id}")).json()
    assert document["total"] == shown["usage"]
    assert (shown["usage"]["usd"], shown["usage"]["inputTokens"]) == (0.025, 200)
    assert [(call["stage"], call["attempt"], call["try"], call["usd"]) for call in document["calls"]] == [
        ("producing", 1, 1, 0.0125),
        ("revising", 2, 1, 0.0125),
    ]


async def test_a_run_without_calls_and_none() -> None:
    """An empty list, and 404."""
    store = MemoryStore()
    [run] = await loopkit.submit(store, namer(), [{"thing": "a cat"}])
    async with client(make_app(store)) as http:
        document = (await http.get(f"/api/workflow-usage?runId={run.id}")).json()
        assert document["calls"] == []
        assert document["total"] == {
            "inputTokens": 0,
            "outputTokens": 0,
            "usd": None,
            "unpricedCalls": 0,
            "seconds": 0.0,
        }
        assert (await http.get("/api/workflow-usage?runId=run_x")).status_code == 404
        assert (await http.get("/api/workflow-usage")).status_code == 400


async def test_usage_on_the_pages() -> None:
    """A tab of the run's page, and a column of the list where any run has usage; hostile names do nothing."""
    store = MemoryStore()

    def hostile(ctx: Any) -> str:
        ctx.report_usage(input_tokens=1500, output_tokens=20, usd=0.0125, model="<script>alert(1)</script>")
        return "text"

    async with client(make_app(store)) as http:
        [quiet] = await loopkit.submit(store, namer(), [{"thing": "a cat"}])
        assert "Usage" not in (await http.get("/agents")).text
        assert "tab=usage" not in (await http.get(f"/agents/{quiet.id}")).text
        assert "No model calls" in (await http.get(f"/agents/{quiet.id}?tab=usage")).text
        agent = Agent(name="namer", produce=hostile, evaluate=lambda _: 0.5, budget=loopkit.Budget(usd=0.025))
        run = (await loopkit.run(agent, {}, store=store)).run
        listed = (await http.get("/agents")).text
        page = (await http.get(f"/agents/{run.id}?tab=usage")).text
    assert run.end_reason == "budget_exhausted"
    assert listed.count("c-usage") == 3
    assert "0.025 usd" in listed
    assert "3,040 tokens" in listed
    for words in ("0.025 usd of 0.025 usd, spent", "Revise", "0.0125", "&lt;script&gt;", "3,040 tokens, 0.025 usd"):
        assert words in page
    assert "<script>alert" not in page
