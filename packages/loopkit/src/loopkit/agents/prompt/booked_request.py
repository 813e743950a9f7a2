"""Requests to models that are booked: written before they are sent, and completed with what they gave.

Every request of a stage passes here. One that was sent and has no answer stays in the ledger as it was written, so
nothing has to be done for a request that timed out, was cut, or whose runner died.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
import attrs

from loopkit.agents.context import StageContext
from loopkit.agents.prompt.model_failure import ModelFailed
from loopkit.agents.prompt.model_request import Endpoint, Form, JsonShape, Message, ModelAnswer, check_form, send
from loopkit.core.ledger.calls import CallState

__all__ = ["send_booked"]


async def send_booked(
    context: StageContext | None,
    endpoint: Endpoint,
    messages: Sequence[Message],
    settings: Mapping[str, Any],
    *,
    shape: JsonShape | None = None,
    form: Form = Form.TEXT,
) -> ModelAnswer:
    """Send one request of a stage and return the answer, as :func:`send` does.

    Raises:
        FormUnsupported: the model cannot be asked in that form; no request was made and nothing is booked.
        StageFailed: there is no answer, or the request could not be booked and was not made.
    """
    if shape is not None:
        await check_form(endpoint, form)
    if context is None or context.book is None:
        return await send(endpoint, messages, settings, shape=shape, form=form)
    endpoint.key()  # a missing key is no request
    call = context.new_call(model=endpoint.model, state=CallState.UNANSWERED)
    await context.book.open(call)
    began_at = anyio.current_time()
    try:
        answer = await send(endpoint, messages, settings, shape=shape, form=form)
    except ModelFailed as failure:
        cost_nanos = 0 if failure.state is CallState.FAILED else None
        seconds = anyio.current_time() - began_at
        context.book.complete(attrs.evolve(call, state=failure.state, cost_nanos=cost_nanos, seconds=seconds))
        raise
    answered = attrs.evolve(
        call,
        state=CallState.ANSWERED,
        input_tokens=answer.usage.input_tokens,
        output_tokens=answer.usage.output_tokens,
        cached_tokens=answer.usage.cached_tokens,
        cost_nanos=answer.cost_nanos,
        seconds=anyio.current_time() - began_at,
    )
    context.book.complete(answered)
    return answer
