"""Usage of a run on its page: tokens, money and time by attempt, stage and judge, and what is left of its budget."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Final

import attrs

from loopkit.core.ledger.budget import Budget
from loopkit.core.ledger.calls import CallState, ModelCall, spending_of
from loopkit.core.ledger.sums import NANOS_PER_USD, Spending
from loopkit.core.policy import policy_of
from loopkit.core.run import Run, Stage
from loopkit_web.dashboard.markup import display_text
from loopkit_web.dashboard.markup.bidi_text import isolated

__all__ = ["BudgetBar", "UsageRow", "UsageView", "has_usage", "usage_text", "usage_view"]

_MAX_ROWS: Final = 300
_MAX_NAME: Final = 100


@attrs.frozen(kw_only=True)
class UsageRow:
    """Calls of one attempt, stage and judge together."""

    attempt: int
    stage: str
    judge: str
    """"": the stage itself."""
    calls: int
    models: str
    spending: Spending
    seconds: timedelta | None
    """Time until the answers; None: not known."""
    notes: str
    """Calls that were refused, got no answer or have no price; "" for none."""

    @property
    def usd(self) -> str:
        """Price of the priced calls; a dash when none is."""
        return display_text.usd(self.spending.cost_nanos)


@attrs.frozen(kw_only=True)
class BudgetBar:
    """One limit of a budget, and what is spent of it."""

    label: str
    spent: str
    limit: str
    percent: int
    """0..100."""
    is_spent: bool


@attrs.frozen(kw_only=True)
class UsageView:
    """Usage of a run."""

    rows: tuple[UsageRow, ...]
    has_more: bool
    """True: there are more rows than are shown."""
    total: Spending
    bars: tuple[BudgetBar, ...]

    @property
    def usd(self) -> str:
        """Price of all priced calls; a dash when none is."""
        return display_text.usd(self.total.cost_nanos)

    @property
    def seconds(self) -> timedelta:
        """Wall time of the stages."""
        return timedelta(seconds=self.total.stage_seconds)


def has_usage(run: Run) -> bool:
    """Return whether a run has model calls, or a budget for them."""
    spending = run.spending
    is_called = spending.cost_nanos is not None or spending.tokens > 0 or spending.unpriced_calls > 0
    return is_called or policy_of(run.policy).budget != Budget()


def usage_text(run: Run) -> str:
    """Return what a run has taken, in a few words; "" for a run without model calls."""
    spending = run.spending
    parts = [] if not spending.tokens else [f"{spending.tokens:,} tokens"]
    if spending.cost_nanos is not None:
        parts.append(f"{display_text.usd(spending.cost_nanos)} usd")
    if spending.unpriced_calls:
        parts.append(f"{spending.unpriced_calls} unpriced")
    return ", ".join(parts)


def usage_view(run: Run, calls: Iterable[ModelCall]) -> UsageView:
    """Return the usage of a run, with a row for each attempt, stage and judge in order of their first calls."""
    groups: dict[tuple[int, Stage, str], list[ModelCall]] = {}
    for call in calls:
        groups.setdefault((call.attempt, call.stage, call.judge or ""), []).append(call)
    rows = tuple(_row(*key, group) for key, group in islice(groups.items(), _MAX_ROWS))
    bars = tuple(_bars(policy_of(run.policy).budget, run.spending))
    return UsageView(rows=rows, has_more=len(groups) > _MAX_ROWS, total=run.spending, bars=bars)


def _row(attempt: int, stage: Stage, judge: str, calls: Sequence[ModelCall]) -> UsageRow:
    models = dict.fromkeys(call.model for call in calls if call.model is not None)
    measured = [call.seconds for call in calls if call.seconds is not None]
    return UsageRow(
        attempt=attempt,
        stage=stage.key.capitalize(),
        judge=display_text.shorten(judge, _MAX_NAME),
        calls=len(calls),
        models=display_text.shorten(", ".join(map(isolated, models)), _MAX_NAME),
        spending=spending_of(calls),
        seconds=timedelta(seconds=sum(measured)) if measured else None,
        notes=", ".join(_notes(calls)),
    )


def _notes(calls: Sequence[ModelCall]) -> Iterator[str]:
    counts = {
        "refused": sum(call.state is CallState.FAILED for call in calls),
        "without an answer": sum(call.state is CallState.UNANSWERED for call in calls),
        "without a price": sum(call.state is CallState.ANSWERED and call.cost_nanos is None for call in calls),
    }
    yield from (f"{count} {words}" for words, count in counts.items() if count)


def _bars(budget: Budget, spending: Spending) -> Iterator[BudgetBar]:
    if budget.usd is not None:
        usd = (spending.cost_nanos or 0) / NANOS_PER_USD
        yield _bar(
            "Money",
            usd,
            budget.usd,
            f"{display_text.usd(spending.cost_nanos or 0)} usd",
            f"{display_text.usd(round(budget.usd * NANOS_PER_USD))} usd",
        )
    if budget.tokens is not None:
        yield _bar("Tokens", spending.tokens, budget.tokens, f"{spending.tokens:,}", f"{budget.tokens:,}")
    if budget.seconds is not None:
        spent = display_text.duration(timedelta(seconds=spending.stage_seconds))
        limit = display_text.duration(timedelta(seconds=budget.seconds))
        yield _bar("Time", spending.stage_seconds, budget.seconds, spent, limit)


def _bar(label: str, spent: float, limit: float, spent_text: str, limit_text: str) -> BudgetBar:
    return BudgetBar(
        label=label,
        spent=spent_text,
        limit=limit_text,
        percent=min(100, int(100 * spent / limit)),
        is_spent=spent >= limit,
    )
