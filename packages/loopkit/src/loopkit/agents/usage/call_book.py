"""Book of the model calls of a stage: written before a call is sent, completed with what it gave."""

from typing import Protocol

from loopkit.core.ledger.calls import ModelCall

__all__ = ["CallBook"]


class CallBook(Protocol):
    """Book of the calls of one stage of a run. All but :meth:`open` may be called from any thread."""

    def new_id(self) -> str:
        """Return an id for a call."""
        ...

    async def open(self, call: ModelCall) -> None:
        """Write a call that is about to be sent, as unanswered and without a price; wait until it is durable.

        Raises:
            StageFailed: it cannot be written; the call must not be sent.
        """
        ...

    def complete(self, call: ModelCall) -> None:
        """Keep a call with what it gave, or usage that a stage reports, for the write of the stage's result.

        After the end of the stage it is dropped.
        """
        ...
