"""DSPy: a signature. Its settings are of a thread or task, so each stage sets the model for itself."""

from typing import Any

import dspy

from loopkit import StageContext
from tests.frameworks.framework_helpers import MEMO, Framework, Stages


def make() -> Stages:
    model, writer = dspy.LM("openai/tiny", cache=False), dspy.Predict("topic -> memo")

    async def asynchronous(ctx: StageContext) -> Any:
        with dspy.context(lm=model):
            return (await writer.acall(topic=ctx.inputs["topic"])).memo

    def synchronous(ctx: StageContext) -> Any:
        with dspy.context(lm=model):
            return writer(topic=ctx.inputs["topic"]).memo

    async def raw(ctx: StageContext) -> Any:
        with dspy.context(lm=model):
            return await writer.acall(topic=ctx.inputs["topic"])

    return Stages(asynchronous=asynchronous, synchronous=synchronous, raw=raw)


FRAMEWORK = Framework(
    name="DSPy",
    make=make,
    raw_error="invalid output: a Prediction, not text, a mapping or a list; return its .toDict()",
    answer=f"[[ ## memo ## ]]\n{MEMO}\n\n[[ ## completed ## ]]",
)
