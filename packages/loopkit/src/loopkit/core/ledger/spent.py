"""Spending since a run's last write, as the next write books it."""

from collections.abc import Iterable, Mapping
from typing import Final

from loopkit.core.ledger.calls import ModelCall, spending_of
from loopkit.core.ledger.sums import NO_SPENDING, Spending
from loopkit.core.ledger.unknowns import NO_UNKNOWNS, Unknowns
from loopkit.core.values import value

__all__ = ["NOTHING_SPENT", "Spent", "added_spending"]


@value(kw_only=True)
class Spent:
    """Calls and time to book with the next write of a run."""

    calls: tuple[ModelCall, ...] = ()
    spending: Spending = NO_SPENDING
    """Amounts that the calls, and the time of the stages, add to the sums in the run's row."""
    unknowns: Unknowns = NO_UNKNOWNS
    """Facts that the ledger of the whole run does not tell, once the calls are written."""


NOTHING_SPENT: Final = Spent()


def added_spending(
    calls: Iterable[ModelCall], stored: Mapping[str, ModelCall], *, stage_seconds: float = 0.0
) -> Spending:
    """Return what a write of ``calls`` adds to the sums; one that is stored already is replaced.

    Args:
        calls: the calls to write.
        stored: the calls of the run that the ledger holds, by id.
        stage_seconds: the time of the stages to add.
    """
    total = Spending(stage_seconds=stage_seconds)
    for call in calls:
        total = total.plus(spending_of([call]))
        if (before := stored.get(call.id)) is not None:
            total = total.plus(_taken_back(spending_of([before])))
    return total


def _taken_back(sums: Spending) -> Spending:
    return Spending(
        input_tokens=-sums.input_tokens,
        output_tokens=-sums.output_tokens,
        cost_nanos=None if sums.cost_nanos is None else -sums.cost_nanos,
        unpriced_calls=-sums.unpriced_calls,
    )
