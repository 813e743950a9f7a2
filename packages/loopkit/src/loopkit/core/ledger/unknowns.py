"""Unknowns of a ledger: calls whose price, tokens or answer nobody can tell."""

from collections.abc import Iterable
from typing import Final

from loopkit.core.ledger.calls import CallState, ModelCall
from loopkit.core.values import value

__all__ = ["NO_UNKNOWNS", "Unknowns", "unknowns_of"]


@value(kw_only=True)
class Unknowns:
    """Facts that the ledger of a run does not tell."""

    unpriced: str | None = None
    """Words for the first answered call without a price, such as ``a call to openai:gpt-5``; None: all are priced."""
    unreported: str | None = None
    """Words for the first answered call that reported no tokens; None: all did."""
    unanswered: int = 0
    """Calls without an answer."""
    unanswered_model: str | None = None
    """Model of the first of them."""

    @property
    def unanswered_text(self) -> str:
        """The calls without an answer, in words."""
        count = "1 call" if self.unanswered == 1 else f"{self.unanswered} calls"
        model = "" if self.unanswered_model is None else f" to {self.unanswered_model}"
        return f"{count}{model} got no answer, at an unknown price"


NO_UNKNOWNS: Final = Unknowns()


def unknowns_of(calls: Iterable[ModelCall]) -> Unknowns:
    """Return what a ledger does not tell."""
    known = list(calls)
    answered = [call for call in known if call.state is CallState.ANSWERED]
    unanswered = [call for call in known if call.state is CallState.UNANSWERED]
    return Unknowns(
        unpriced=next((_words(call) for call in answered if call.cost_nanos is None), None),
        unreported=next(
            (_words(call) for call in answered if call.input_tokens is None and call.output_tokens is None), None
        ),
        unanswered=len(unanswered),
        unanswered_model=next((call.model for call in unanswered if call.model is not None), None),
    )


def _words(call: ModelCall) -> str:
    return "a call to a model without a name" if call.model is None else f"a call to {call.model}"
