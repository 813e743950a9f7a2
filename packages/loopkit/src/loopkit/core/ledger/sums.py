"""Sums over the model calls and stages of a run, as its row holds them.

Money is counted in whole nano-dollars (10^-9 usd), so that sums are exact on every database.
"""

from typing import Final

import attrs

from loopkit.core.values import maker, value

__all__ = ["NANOS_PER_USD", "NO_SPENDING", "SUM_NAMES", "RunUsage", "Spending", "sum_of_costs", "sum_of_seconds"]

NANOS_PER_USD: Final = 1_000_000_000


def sum_of_costs(cost: int | None, other: int | None) -> int | None:
    """Return the sum of two prices of which each may be unknown; None when both are."""
    if cost is None or other is None:
        return other if cost is None else cost
    return cost + other


def sum_of_seconds(seconds: float, other: float) -> float:
    """Return the sum of two times to the nanosecond: 0.3 for 0.1 and 0.2, in whatever order they were added up."""
    return round(seconds + other, 9)


@attrs.frozen(kw_only=True)
class RunUsage:
    """Sums over the model calls and stages of a run."""

    input_tokens: int
    """Tokens of the requests, those read from a cache included."""
    output_tokens: int
    usd: float | None
    """Price of the priced calls; None when nothing is priced."""
    unpriced_calls: int
    """Calls without a known price, unanswered ones included."""
    seconds: float
    """Wall time of the stages."""


@value(kw_only=True)
class Spending:
    """Sums over the calls and stages of a run, or what one write adds to them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int | None = None
    """Price of the priced calls; None when no call is priced."""
    unpriced_calls: int = 0
    """Calls without a price, unanswered ones included."""
    stage_seconds: float = 0.0
    """Wall time of the stages, their tries and waits included."""

    @property
    def tokens(self) -> int:
        """Tokens of requests and answers together."""
        return self.input_tokens + self.output_tokens

    @property
    def usage(self) -> RunUsage:
        """The sums as they are shown."""
        return RunUsage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            usd=None if self.cost_nanos is None else self.cost_nanos / NANOS_PER_USD,
            unpriced_calls=self.unpriced_calls,
            seconds=round(self.stage_seconds, 3),
        )

    def plus(self, other: "Spending") -> "Spending":
        """Return the sums with those of ``other`` added."""
        return Spending(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_nanos=sum_of_costs(self.cost_nanos, other.cost_nanos),
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
            stage_seconds=sum_of_seconds(self.stage_seconds, other.stage_seconds),
        )


make_spending: Final = maker(Spending)
NO_SPENDING: Final = Spending()

SUM_NAMES: Final = tuple(field.name for field in attrs.fields(Spending))
"""Names of the sums, in order."""
