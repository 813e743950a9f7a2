"""LlamaIndex: a model of a server that is like OpenAI's."""

import os
from typing import Any

from llama_index.llms.openai_like import OpenAILike

from loopkit import StageContext
from tests.frameworks.framework_helpers import MEMO, Framework, Stages


def make() -> Stages:
    url = os.environ["OPENAI_BASE_URL"]
    writer = OpenAILike(model="tiny", api_base=url, api_key="sk-test", is_chat_model=True, max_retries=0)

    async def asynchronous(ctx: StageContext) -> Any:
        return (await writer.acomplete(ctx.inputs["topic"])).text

    def synchronous(ctx: StageContext) -> Any:
        return writer.complete(ctx.inputs["topic"]).text

    async def raw(ctx: StageContext) -> Any:
        return await writer.acomplete(ctx.inputs["topic"])

    return Stages(asynchronous=asynchronous, synchronous=synchronous, raw=raw)


FRAMEWORK = Framework(name="LlamaIndex", make=make, is_raw=lambda output: output["text"] == MEMO)
