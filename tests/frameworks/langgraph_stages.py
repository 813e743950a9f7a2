"""LangGraph: a graph of one node; its state holds the messages."""

from typing import Any

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from loopkit import StageContext
from tests.frameworks.framework_helpers import MEMO, Framework, Stages


def make() -> Stages:
    model = ChatOpenAI(model="tiny")

    async def write(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    def write_now(state: MessagesState) -> Any:
        return {"messages": [model.invoke(state["messages"])]}

    graph = StateGraph(MessagesState).add_node("write", write).add_edge(START, "write").compile()
    graph_now = StateGraph(MessagesState).add_node("write", write_now).add_edge(START, "write").compile()

    def question(ctx: StageContext) -> Any:
        return {"messages": [("user", ctx.inputs["topic"])]}

    async def asynchronous(ctx: StageContext) -> Any:
        return (await graph.ainvoke(question(ctx)))["messages"][-1].text

    def synchronous(ctx: StageContext) -> Any:
        return graph_now.invoke(question(ctx))["messages"][-1].text

    async def raw(ctx: StageContext) -> Any:
        return await graph.ainvoke(question(ctx))

    return Stages(asynchronous=asynchronous, synchronous=synchronous, raw=raw)


FRAMEWORK = Framework(
    name="LangGraph",
    make=make,
    is_raw=lambda output: [message["content"] for message in output["messages"]] == ["owls", MEMO],
)
