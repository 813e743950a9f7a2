"""Budgets of single runs, in place of their agent's."""

import pytest

import loopkit
from loopkit import Agent, Budget, MemoryStore, UnusableOption, new_run


def agent(**settings: object) -> Agent:
    return Agent(name="a", produce=lambda _: "text", evaluate=lambda _: 1, **settings)  # type: ignore[arg-type]


def test_a_budget_replaces_the_limits_that_it_names() -> None:
    """The others stay, and so does the rest of the policy."""
    own = agent(budget=Budget(usd=0.5, tokens=100), max_losses=1)
    new = new_run(own, {}, budget=Budget(tokens=500, seconds=9))
    assert new.policy == {"budget": {"usd": 0.5, "tokens": 500, "seconds": 9}, "maxLosses": 1}
    assert new_run(own, {}).policy["budget"] == {"usd": 0.5, "tokens": 100}
    assert new_run(agent(), {}).policy == {}


def test_another_budget_is_another_request() -> None:
    """Under one idempotency key."""
    digests = {
        new_run(agent(), {}, idempotency_key="k", budget=budget).request_digest
        for budget in (None, Budget(usd=1), Budget(usd=2))
    }
    assert len(digests) == 3


async def test_every_call_that_makes_runs_takes_one() -> None:
    """A wrong one is named."""
    store = MemoryStore()
    runs = await loopkit.submit(store, agent(), [{}, {}], budget=Budget(tokens=5))
    runs.append((await loopkit.run(agent(), {}, store=store, budget=Budget(tokens=5))).run)
    assert [run.policy for run in runs] == [{"budget": {"tokens": 5}}] * 3
    with pytest.raises(UnusableOption, match=r"must be a loopkit\.Budget, not a dict"):
        new_run(agent(), {}, budget={"usd": 1})  # type: ignore[arg-type]
