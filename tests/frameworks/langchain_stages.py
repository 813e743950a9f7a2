"""LangChain: a prompt and a model, joined."""

from typing import Any

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from loopkit import StageContext
from tests.frameworks.framework_helpers import MEMO, Framework, Stages


def make() -> Stages:
    messages = ChatPromptTemplate.from_template("Write a memo about {topic}") | ChatOpenAI(model="tiny")
    writer = messages | StrOutputParser()

    async def asynchronous(ctx: StageContext) -> Any:
        return await writer.ainvoke(dict(ctx.inputs))

    def synchronous(ctx: StageContext) -> Any:
        return writer.invoke(dict(ctx.inputs))

    async def raw(ctx: StageContext) -> Any:
        return await messages.ainvoke(dict(ctx.inputs))

    return Stages(asynchronous=asynchronous, synchronous=synchronous, raw=raw)


FRAMEWORK = Framework(
    name="LangChain",
    make=make,
    is_raw=lambda output: output["content"] == MEMO and output["type"] == "ai",
)
