"""Single statements of the page "Use your framework"."""

import asyncio
import threading
from typing import Any

import agents
import dspy
import pydantic
import pydantic_ai
import pytest
from agents import OpenAIProvider, RunConfig
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt
from openai import AsyncOpenAI
from smolagents import CodeAgent, OpenAIModel

import loopkit
from loopkit import StageContext
from tests.agents.model_server_helpers import Answer, Request, says, speaks
from tests.frameworks.conftest import Serve
from tests.frameworks.evaluator_helpers import gives


class Memo(pydantic.BaseModel):
    title: str
    words: int


def agent_of(produce: Any, **settings: Any) -> loopkit.Agent:
    return loopkit.Agent(name="memo", produce=loopkit.stage(produce, **settings), evaluate=lambda ctx: 1.0)


def test_a_model_of_pydantic_ai_is_an_output(serve: Serve) -> None:
    """Later stages and the result get its fields."""
    serve(gives({"title": "Owls", "words": 3}))
    writer = pydantic_ai.Agent("openai-chat:tiny", output_type=Memo)

    async def write(ctx: StageContext) -> Any:
        return (await writer.run(ctx.inputs["topic"])).output

    result = asyncio.run(loopkit.run(agent_of(write), {"topic": "owls"}))
    assert result.raise_for_status().output == {"title": "Owls", "words": 3}


def test_an_interrupt_of_langgraph_is_in_its_state() -> None:
    """A graph that waits for a person returns, with the key that the page names."""

    def ask(_: MessagesState) -> Any:
        return {"messages": [("user", interrupt("go on?"))]}

    graph = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()

    async def write(_: StageContext) -> Any:
        return await graph.ainvoke({"messages": []})

    assert "__interrupt__" in asyncio.run(loopkit.run(agent_of(write))).output


def test_smolagents_can_be_interrupted(serve: Serve) -> None:
    """``ctx.on_cancel(agent.interrupt)`` ends an agent before its next step, so that it asks the model no more."""
    first_asked, timed_out, ended = threading.Event(), threading.Event(), threading.Event()

    def never_done(_: Request) -> Answer:
        first_asked.set()
        assert timed_out.wait(60)
        return says("<code>\nprint(1)\n</code>")

    server = serve(never_done)
    model = OpenAIModel(model_id="tiny")

    def write(ctx: StageContext) -> Any:
        writer = CodeAgent(tools=[], model=model, verbosity_level=0)
        ctx.on_cancel(writer.interrupt)
        ctx.on_cancel(timed_out.set)
        try:
            return writer.run("owls")
        finally:
            ended.set()

    result = asyncio.run(loopkit.run(agent_of(write, timeout=1.5)))
    assert result.error == "produce: timed out after 1.5 s"
    assert first_asked.is_set()
    assert ended.wait(60)
    assert len(server.requests) == 1


USAGES = ["pydantic-ai", "openai-agents", "LangChain", "DSPy", "smolagents"]


def usage_stage(name: str) -> Any:
    """Return a stage that reports the framework's own account of its usage, as the page says."""
    if name == "pydantic-ai":
        agent = pydantic_ai.Agent("openai-chat:tiny")

        async def of_pydantic_ai(ctx: StageContext) -> Any:
            result = await agent.run("owls")
            ctx.report_usage(result.usage, model="openai:gpt-5-mini")
            return result.output

        return of_pydantic_ai
    if name == "openai-agents":
        config = RunConfig(model_provider=OpenAIProvider(openai_client=AsyncOpenAI()))
        writer = agents.Agent(name="writer", model="tiny")

        async def of_openai_agents(ctx: StageContext) -> Any:
            result = await agents.Runner.run(writer, "owls", run_config=config)
            ctx.report_usage(result.context_wrapper.usage, model="openai:gpt-5-mini")
            return result.final_output

        return of_openai_agents
    if name == "LangChain":
        chat = ChatOpenAI(model="tiny")

        async def of_langchain(ctx: StageContext) -> Any:
            message = await chat.ainvoke("owls")
            ctx.report_usage(message.usage_metadata, model="openai:gpt-5-mini")
            return message.text

        return of_langchain
    if name == "DSPy":
        lm, predict = dspy.LM("openai/tiny", cache=False), dspy.Predict("topic -> memo")

        async def of_dspy(ctx: StageContext) -> Any:
            with dspy.context(lm=lm):
                memo = (await predict.acall(topic="owls")).memo
            ctx.report_usage(lm.history[-1]["usage"], model="openai:gpt-5-mini")
            return memo

        return of_dspy

    code = CodeAgent(tools=[], model=OpenAIModel(model_id="tiny"), verbosity_level=0)

    def of_smolagents(ctx: StageContext) -> Any:
        result = code.run("owls", return_full_result=True)
        ctx.report_usage(result.token_usage, model="openai:gpt-5-mini")
        return result.output

    return of_smolagents


@pytest.mark.parametrize("name", USAGES)
def test_usage_of_a_framework(name: str, serve: Serve) -> None:
    """Its own account of a call is booked: the tokens that the server told, and their list price."""
    answers = {
        "DSPy": "[[ ## memo ## ]]\nA memo.\n\n[[ ## completed ## ]]",
        "smolagents": '<code>\nfinal_answer("A memo.")\n</code>',
    }
    serve(speaks(answers.get(name, "A memo.")))
    run = asyncio.run(loopkit.run(agent_of(usage_stage(name)))).raise_for_status().run
    assert (run.input_tokens, run.output_tokens, run.unpriced_calls) == (11, 7, 0)
    assert run.cost_nanos
