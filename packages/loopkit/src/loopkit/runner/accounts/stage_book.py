"""Book of the model calls of one stage of a held run, as the stage's code sees it."""

from loopkit.core.ids import Ids
from loopkit.core.ledger.calls import ModelCall
from loopkit.errors import LeaseLost, StageFailed
from loopkit.runner.run_writer import RunWriter
from loopkit.runner.stage_watch import StageWatch

__all__ = ["StageBook"]


class StageBook:
    """Book of one stage; see :class:`~loopkit.agents.usage.call_book.CallBook`.

    Args:
        writer: writes the calls.
        watch: says when the stage is over, after which nothing is booked.
        ids: source of the ids of calls.
    """

    def __init__(self, writer: RunWriter, watch: StageWatch, ids: Ids) -> None:
        self._writer = writer
        self._watch = watch
        self._ids = ids

    def new_id(self) -> str:
        return self._ids.nonce()

    async def open(self, call: ModelCall) -> None:
        if self._watch.is_over:
            raise StageFailed("the stage is over, so no further call can be booked", is_final=True)
        try:
            await self._writer.book(call)
        except LeaseLost as error:
            raise StageFailed("the call could not be booked, so it was not sent", is_final=True) from error

    def complete(self, call: ModelCall) -> None:
        if not self._watch.is_over:
            self._writer.ledger.add(call)
