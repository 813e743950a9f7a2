"""pydantic-ai."""

from typing import Any

import pydantic_ai

from loopkit import StageContext
from tests.frameworks.framework_helpers import MEMO, Framework, Stages


def make() -> Stages:
    writer = pydantic_ai.Agent("openai-chat:tiny", instructions="Write a memo.")

    async def asynchronous(ctx: StageContext) -> Any:
        return (await writer.run(ctx.inputs["topic"])).output

    def synchronous(ctx: StageContext) -> Any:
        return writer.run_sync(ctx.inputs["topic"]).output

    async def raw(ctx: StageContext) -> Any:
        return await writer.run(ctx.inputs["topic"])

    return Stages(asynchronous=asynchronous, synchronous=synchronous, raw=raw)


FRAMEWORK = Framework(name="pydantic-ai", make=make, is_raw=lambda output: output == {"output": MEMO})
