"""Budgets: their stored form, what is left of them, and when they are spent."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.core.ledger.budget import NO_BUDGET, Budget, BudgetLeft, budget_left, spent_sentence
from loopkit.core.ledger.calls import CallState, ModelCall, spending_of
from loopkit.core.ledger.spent import added_spending
from loopkit.core.ledger.sums import NO_SPENDING, Spending
from loopkit.core.ledger.unknowns import Unknowns, unknowns_of
from loopkit.core.policy import Policy, read_policy
from loopkit.core.run import Stage
from loopkit.errors import InvalidConfig

BUDGETS = st.builds(
    Budget,
    usd=st.none() | st.floats(1e-6, 100),
    tokens=st.none() | st.integers(1, 10_000),
    seconds=st.none() | st.floats(0.001, 1000),
)
CALLS = st.builds(
    ModelCall,
    id=st.sampled_from(["a", "b", "c"]),
    stage=st.sampled_from(Stage),
    attempt=st.just(1),
    model=st.none() | st.just("openai:m"),
    input_tokens=st.none() | st.integers(0, 1000),
    output_tokens=st.none() | st.integers(0, 1000),
    cost_nanos=st.none() | st.integers(0, 10**9),
    state=st.sampled_from(CallState),
)


def call(state: CallState = CallState.ANSWERED, **fields: Any) -> ModelCall:
    return ModelCall(**{"id": "1", "stage": Stage.PRODUCING, "attempt": 1, "state": state, **fields})


@given(BUDGETS)
def test_a_budget_is_read_back(budget: Budget) -> None:
    """It is stored as its limits that are set."""
    document = Policy(budget=budget).document()
    assert read_policy(document).budget == budget
    assert document.get("budget", {}) == budget.document()


def test_seconds_may_be_a_timedelta() -> None:
    """As a timeout may; it is kept in seconds."""
    assert Budget(seconds=timedelta(minutes=1)) == Budget(seconds=60)
    with pytest.raises(InvalidConfig, match="seconds: must be greater than 0"):
        Budget(seconds=timedelta(0))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"usd": 0}, "usd: must be greater than 0"),
        ({"usd": "1"}, "usd: must be a number"),
        ({"usd": float("nan")}, "usd: must be greater than 0"),
        ({"usd": True}, "usd: must be a number"),
        ({"tokens": 0}, "tokens: must be in 1.."),
        ({"tokens": 1.0}, "tokens: must be a whole number"),
        ({"seconds": -1}, "seconds: must be greater than 0"),
        ({"seconds": float("inf")}, "seconds: must be greater than 0"),
    ],
)
def test_an_unusable_limit_is_named(limits: dict[str, Any], message: str) -> None:
    """The error names the key, and in a stored policy the place."""
    with pytest.raises(InvalidConfig) as caught:
        Budget(**limits)
    assert str(caught.value).startswith(message)
    with pytest.raises(InvalidConfig) as caught:
        read_policy({"budget": limits})
    assert str(caught.value).startswith(f"budget.{message}")


def test_a_given_budget_replaces_what_it_names() -> None:
    """The other limits stay; raised are those that are higher than before."""
    own, given_budget = Budget(usd=0.5, tokens=100), Budget(tokens=200, seconds=9)
    assert own.replaced_by(given_budget) == Budget(usd=0.5, tokens=200, seconds=9)
    assert own.raised_by(given_budget) == ["tokens"]
    assert own.raised_by(Budget(usd=0.5, tokens=99)) == []


def test_what_is_left() -> None:
    """Never below 0, and None without a limit."""
    spending = Spending(input_tokens=60, output_tokens=50, cost_nanos=200_000_000, stage_seconds=2.5)
    assert budget_left(Budget(usd=0.5, tokens=100, seconds=10), spending) == BudgetLeft(usd=0.3, tokens=0, seconds=7.5)
    assert budget_left(NO_BUDGET, spending) == BudgetLeft()
    assert budget_left(Budget(usd=0.5), NO_SPENDING) == BudgetLeft(usd=0.5)


@pytest.mark.parametrize(
    ("budget", "spending", "unknowns", "words"),
    [
        (Budget(usd=0.1), Spending(cost_nanos=99_999_999), Unknowns(), None),
        (Budget(usd=0.1), Spending(cost_nanos=100_000_000), Unknowns(), "0.1 of 0.1 usd"),
        (Budget(usd=0.1), NO_SPENDING, Unknowns(unpriced="a call to x:m"), "the price of a call to x:m is not known"),
        (Budget(usd=0.1), NO_SPENDING, Unknowns(unreported="a call to x:m", unanswered=3), None),
        (Budget(tokens=100), Spending(input_tokens=60, output_tokens=39), Unknowns(), None),
        (Budget(tokens=100), Spending(input_tokens=60, output_tokens=40), Unknowns(), "100 of 100 tokens"),
        (Budget(tokens=100), NO_SPENDING, Unknowns(unreported="a call to x:m"), "a call to x:m reported no tokens"),
        (Budget(tokens=100), NO_SPENDING, Unknowns(unpriced="a call to x:m"), None),
        (Budget(seconds=2), Spending(stage_seconds=1.9), Unknowns(), None),
        (Budget(seconds=2), Spending(stage_seconds=2), Unknowns(), "2.0 of 2 seconds"),
        (Budget(seconds=0.8), Spending(stage_seconds=sum(0.1 for _ in range(8))), Unknowns(), "0.8 of 0.8 seconds"),
        (
            Budget(tokens=1),
            Spending(input_tokens=1),
            Unknowns(unanswered=1, unanswered_model="x:m"),
            "1 call to x:m got no answer",
        ),
    ],
)
def test_when_a_budget_is_spent(budget: Budget, spending: Spending, unknowns: Unknowns, words: str | None) -> None:
    """A limit that is reached spends it; of unknown calls only answered ones do, in the limit that they concern."""
    sentence = spent_sentence(budget, spending, unknowns)
    assert (sentence is None) == (words is None)
    assert words is None or words in str(sentence)


def test_what_a_ledger_does_not_tell() -> None:
    """Refused calls are known to cost nothing; one that was answered has to tell its price and its tokens."""
    assert unknowns_of([call(cost_nanos=1, input_tokens=1), call(CallState.FAILED, cost_nanos=0)]) == Unknowns()
    assert unknowns_of([call(CallState.UNANSWERED, model="x:m"), call(CallState.UNANSWERED)]) == Unknowns(
        unanswered=2, unanswered_model="x:m"
    )
    assert unknowns_of([call(output_tokens=1, model="x:m")]) == Unknowns(unpriced="a call to x:m")
    assert unknowns_of([call(cost_nanos=1)]) == Unknowns(unreported="a call to a model without a name")


@given(st.lists(st.lists(CALLS, max_size=3, unique_by=lambda one: one.id), max_size=5))
def test_what_writes_add_makes_the_sums_of_the_ledger(writes: list[list[ModelCall]]) -> None:
    """However calls are written and completed, the sums of what was added are those of the calls as they are."""
    ledger: dict[str, ModelCall] = {}
    sums = NO_SPENDING
    for calls in writes:
        sums = sums.plus(added_spending(calls, ledger, stage_seconds=1))
        ledger |= {one.id: one for one in calls}
    stored = spending_of(ledger.values())
    assert (sums.tokens, sums.unpriced_calls, sums.stage_seconds) == (stored.tokens, stored.unpriced_calls, len(writes))
    assert (sums.cost_nanos or 0) == (stored.cost_nanos or 0)
