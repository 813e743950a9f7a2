"""smolagents, which has no async calls: an agent that writes Python."""

from typing import Any

from smolagents import CodeAgent, OpenAIModel

from loopkit import StageContext
from tests.frameworks.framework_helpers import MEMO, Framework, Stages


def make() -> Stages:
    writer = CodeAgent(tools=[], model=OpenAIModel(model_id="tiny"), verbosity_level=0)

    def synchronous(ctx: StageContext) -> Any:
        return writer.run(ctx.inputs["topic"])

    def raw(ctx: StageContext) -> Any:
        return writer.run(ctx.inputs["topic"], return_full_result=True)

    return Stages(asynchronous=None, synchronous=synchronous, raw=raw)


FRAMEWORK = Framework(
    name="smolagents",
    make=make,
    is_async=False,
    is_raw=lambda output: output["output"] == MEMO and output["state"] == "success",
    answer=f'<code>\nfinal_answer("{MEMO}")\n</code>',
)
