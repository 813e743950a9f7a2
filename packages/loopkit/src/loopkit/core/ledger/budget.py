"""Budget of a run: the money, tokens and time that its attempts may take, and the rule that says when it is spent.

A budget is looked at between attempts only, so the attempt that passes a limit is still judged. What a run has spent is
in its own row, and what the ledger cannot tell is a value of its own, :class:`~loopkit.core.ledger.unknowns.Unknowns`:
with an answered call of unknown price nobody can say that a limit in usd is kept, so it counts as spent.
"""

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import attrs

from loopkit.core.ledger.sums import NANOS_PER_USD, Spending
from loopkit.core.ledger.unknowns import NO_UNKNOWNS, Unknowns
from loopkit.core.values import Fields, value
from loopkit.errors import InvalidConfig

__all__ = [
    "BUDGET_KEYS",
    "MOST_AMOUNT",
    "MOST_TOKENS",
    "NO_BUDGET",
    "NO_LIMITS",
    "Budget",
    "BudgetLeft",
    "budget_left",
    "spent_sentence",
]

BUDGET_KEYS: Final = ("usd", "tokens", "seconds")

_DECIMALS: Final = 9
"""Decimals to which a computed number is rounded before it is compared."""

MOST_TOKENS: Final = 2**63 - 1
MOST_AMOUNT: Final = 1e9


def _check_amount(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidConfig("must be a number", key=attribute.name)
    if not 0 < value <= MOST_AMOUNT:
        raise InvalidConfig(f"must be greater than 0 and at most {MOST_AMOUNT:g}", key=attribute.name)


def _check_tokens(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidConfig("must be a whole number", key=attribute.name)
    if not 1 <= value <= MOST_TOKENS:
        raise InvalidConfig(f"must be in 1..{MOST_TOKENS}", key=attribute.name)


def _optional(check: Any) -> Any:
    return attrs.field(default=None, validator=attrs.validators.optional(check))


def _as_seconds(value: float | timedelta | None) -> float | None:
    """Return a duration in seconds; what is neither is left to the check."""
    return value.total_seconds() if isinstance(value, timedelta) else value


@attrs.frozen(kw_only=True)
class Budget:
    """Limits of what the attempts of a run may take together; a limit that is reached ends the run.

    Raises:
        InvalidConfig: a value is of the wrong type or out of its range; ``key`` names it.
    """

    usd: float | None = _optional(_check_amount)
    """Price of the model calls in US dollars, greater than 0; None: no limit."""
    tokens: int | None = _optional(_check_tokens)
    """Tokens of all requests and answers, judges and failed tries included, at least 1; None: no limit."""
    seconds: float | None = attrs.field(
        default=None, converter=_as_seconds, validator=attrs.validators.optional(_check_amount)
    )
    """Wall time of the stages, their tries and waits included, greater than 0, in seconds or as a timedelta; None: no
    limit."""

    def document(self) -> dict[str, Any]:
        """Return the stored form: the limits that are set."""
        return {key: limit for key in BUDGET_KEYS if (limit := getattr(self, key)) is not None}

    def replaced_by(self, other: "Budget") -> "Budget":
        """Return the budget with the limits that ``other`` sets in place of its own."""
        return Budget(**{**self.document(), **other.document()})

    def raised_by(self, other: "Budget") -> list[str]:
        """Return the keys of the limits of ``other`` that are above those of this budget."""
        own = self.document()
        return [key for key, limit in other.document().items() if key in own and limit > own[key]]


NO_BUDGET: Final = Budget()


@value(kw_only=True)
class BudgetLeft(Fields):
    """Rest of a run's budget, never below 0; None where there is no limit."""

    tokens: int | None = None
    usd: float | None = None
    seconds: float | None = None

    def document(self) -> Mapping[str, float | None]:
        """Return the JSON object that programs get."""
        return {"tokens": self.tokens, "usd": self.usd, "seconds": self.seconds}


NO_LIMITS: Final = BudgetLeft()


def budget_left(budget: Budget, spending: Spending) -> BudgetLeft:
    """Return what is left of a budget after ``spending``."""
    if budget == NO_BUDGET:
        return NO_LIMITS
    return BudgetLeft(
        tokens=None if budget.tokens is None else max(0, budget.tokens - spending.tokens),
        usd=None if budget.usd is None else max(0, _nanos(budget.usd) - (spending.cost_nanos or 0)) / NANOS_PER_USD,
        seconds=None if budget.seconds is None else max(0.0, budget.seconds - spending.stage_seconds),
    )


def spent_sentence(budget: Budget, spending: Spending, unknowns: Unknowns = NO_UNKNOWNS) -> str | None:
    """Return a sentence that says which limits of a budget are spent, and by what; None when none is.

    A call without an answer spends nothing by itself; the sentence names it.
    """
    if budget == NO_BUDGET:
        return None
    parts = [*_spent_usd(budget, spending, unknowns), *_spent_tokens(budget, spending, unknowns)]
    # A sum of ten stages of 0.1 s is not 1.0 yet, and depends on the order in which it was added up.
    if budget.seconds is not None and round(spending.stage_seconds, _DECIMALS) >= budget.seconds:
        parts.append(f"{spending.stage_seconds:.1f} of {budget.seconds:g} seconds")
    if not parts:
        return None
    if unknowns.unanswered:
        parts.append(unknowns.unanswered_text)
    return f"the budget is spent: {'; '.join(parts)}"


def _spent_usd(budget: Budget, spending: Spending, unknowns: Unknowns) -> Iterator[str]:
    if budget.usd is None:
        return
    nanos = spending.cost_nanos or 0
    if nanos >= _nanos(budget.usd):
        yield f"{_usd(nanos)} of {budget.usd:g} usd"
    if unknowns.unpriced is not None:
        yield f"the price of {unknowns.unpriced} is not known, so the limit of {budget.usd:g} usd is spent"


def _spent_tokens(budget: Budget, spending: Spending, unknowns: Unknowns) -> Iterator[str]:
    if budget.tokens is None:
        return
    if spending.tokens >= budget.tokens:
        yield f"{spending.tokens} of {budget.tokens} tokens"
    if unknowns.unreported is not None:
        yield f"{unknowns.unreported} reported no tokens, so the limit of {budget.tokens} tokens is spent"


def _nanos(usd: float) -> int:
    """Return an amount in nano-dollars, at least 1; as it is written, so that 0.1 is exact."""
    return max(1, round(Decimal(repr(usd)) * NANOS_PER_USD))


def _usd(nanos: int) -> str:
    """Return an amount of nano-dollars in usd, as many decimals as it has."""
    return f"{(Decimal(nanos) / NANOS_PER_USD).normalize():f}"
