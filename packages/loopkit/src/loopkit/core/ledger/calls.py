"""Ledger of a run: its model calls.

A call is stored before it is sent, as ``unanswered`` and without a price, and completed with what it gave; so one whose
runner died stays unanswered and unpriced without anybody's help.
"""

from collections.abc import Iterable
from datetime import datetime

from loopkit.core.ledger.sums import Spending
from loopkit.core.run import Stage
from loopkit.core.values import TextEnum, value

__all__ = ["CallState", "ModelCall", "StoredCall", "spending_of"]


class CallState(TextEnum):
    """Outcome of a model call."""

    ANSWERED = "answered"
    """The model answered, whether or not its answer could be used."""
    FAILED = "failed"
    """The server refused it, or it never got there; it costs nothing."""
    UNANSWERED = "unanswered"
    """It was sent, and nothing is known of an answer."""


@value(kw_only=True)
class ModelCall:
    """One call of a model, or usage that a stage reported, to be written; a second write with its id completes it."""

    id: str
    """Drawn before the call is sent."""
    stage: Stage
    attempt: int
    judge: str | None = None
    """Name of the judge or check that made it; None: the stage itself."""
    sample: int | None = None
    """Number of the judge's sample, from 1; None where there are no samples."""
    try_number: int = 1
    """Number of the try, from 1."""
    model: str | None = None
    """Name of the model, such as ``openai:gpt-5-mini``; None where it is not known."""
    input_tokens: int | None = None
    """Tokens of the request, those read from a cache included; None where they are not known."""
    output_tokens: int | None = None
    cached_tokens: int | None = None
    """Tokens of the request that were read from a cache."""
    cost_nanos: int | None = None
    """Price in nano-dollars; None: not known."""
    seconds: float | None = None
    """Wall time until the answer; None where it is not known."""
    state: CallState = CallState.ANSWERED


@value(kw_only=True)
class StoredCall(ModelCall):
    """Row of the ledger."""

    created_at: datetime


def spending_of(calls: Iterable[ModelCall]) -> Spending:
    """Return the sums over calls, without the time of the stages."""
    known = list(calls)
    costs = [call.cost_nanos for call in known if call.cost_nanos is not None]
    return Spending(
        input_tokens=sum(call.input_tokens or 0 for call in known),
        output_tokens=sum(call.output_tokens or 0 for call in known),
        cost_nanos=sum(costs) if costs else None,
        unpriced_calls=len(known) - len(costs),
    )
