"""Budgets of single runs over HTTP: lower than the agent's, never higher."""

from typing import Any

import pytest

from loopkit import Agent, Budget
from tests.web.app_helpers import client, make_app

AGENT = Agent(name="a", produce=lambda _: "x", evaluate=lambda _: 1, budget=Budget(usd=0.5, tokens=100))


async def post(budget: Any, key: str | None = None) -> Any:
    async with client(make_app(agents=[AGENT])) as http:
        headers = {} if key is None else {"Idempotency-Key": key}
        body = {"agentName": "a", "inputs": {}, "budget": budget}
        first = await http.post("/api/workflows", json=body, headers=headers)
        if key is not None:
            again = await http.post("/api/workflows", json=body, headers=headers)
            assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
            other = await http.post("/api/workflows", json={**body, "budget": {"usd": 0.01}}, headers=headers)
            assert other.status_code == 422
        return first


@pytest.mark.parametrize(
    ("budget", "policy"),
    [
        ({"usd": 0.25}, {"usd": 0.25, "tokens": 100}),
        ({"usd": 0.5, "tokens": 50.0, "seconds": 9}, {"usd": 0.5, "tokens": 50, "seconds": 9}),
        ({}, {"usd": 0.5, "tokens": 100}),
        (None, {"usd": 0.5, "tokens": 100}),
    ],
)
async def test_a_budget_may_lower_the_agents(budget: Any, policy: dict[str, Any]) -> None:
    """Or limit what the agent does not."""
    response = await post(budget)
    assert (response.status_code, response.json().get("policy")) == (201, {"budget": policy})


@pytest.mark.parametrize(
    ("budget", "pointers"),
    [
        ({"usd": 0.51, "tokens": 101}, ["/budget/usd", "/budget/tokens"]),
        ({"usd": 0}, ["/budget/usd"]),
        ({"usd": "1"}, ["/budget/usd"]),
        ({"tokens": 1.5}, ["/budget/tokens"]),
        ({"tokens": 0, "seconds": -1}, ["/budget/tokens", "/budget/seconds"]),
        ({"usd": None}, ["/budget/usd"]),
        ([], ["/budget"]),
    ],
)
async def test_a_wrong_budget_is_named(budget: Any, pointers: list[str]) -> None:
    """Each fault by its place."""
    response = await post(budget)
    assert response.status_code == 422
    found = {error["pointer"] for error in response.json()["errors"]}
    assert found == set(pointers)


async def test_an_unknown_limit_is_named() -> None:
    """It is refused."""
    response = await post({"minutes": 1})
    assert response.status_code == 422
    assert "minutes" in response.text


async def test_a_repeated_request_is_the_same_run() -> None:
    """With the same budget, and not with another."""
    assert (await post({"tokens": 50.0}, key="k")).status_code == 201
