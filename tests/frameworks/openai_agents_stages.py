"""openai-agents, with the protocol of responses.

Its default client is one for the whole process, and breaks when the event loop in which it was first used is closed, as
each test closes its own. So these stages have clients of their own; programs with one event loop need none.
"""

from typing import Any

from agents import Agent, OpenAIProvider, RunConfig, Runner
from openai import AsyncOpenAI

from loopkit import StageContext
from tests.frameworks.framework_helpers import MEMO, Framework, Stages


def make() -> Stages:
    writer = Agent(name="writer", instructions="Write a memo.", model="tiny")
    config, config_of_sync = (
        RunConfig(model_provider=OpenAIProvider(openai_client=AsyncOpenAI(max_retries=0))) for _ in range(2)
    )

    async def asynchronous(ctx: StageContext) -> Any:
        return (await Runner.run(writer, ctx.inputs["topic"], run_config=config)).final_output

    def synchronous(ctx: StageContext) -> Any:
        return Runner.run_sync(writer, ctx.inputs["topic"], run_config=config_of_sync).final_output

    async def raw(ctx: StageContext) -> Any:
        return await Runner.run(writer, ctx.inputs["topic"], run_config=config)

    return Stages(asynchronous=asynchronous, synchronous=synchronous, raw=raw)


FRAMEWORK = Framework(
    name="openai-agents",
    make=make,
    is_raw=lambda output: output["final_output"] == MEMO and output["input"] == "owls",
)
