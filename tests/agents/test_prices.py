"""Prices: those of a stage's settings, and the list."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit.agents.usage.prices import Price, list_price_nanos, read_prices
from loopkit.agents.usage.reported_usage import ReportedUsage
from loopkit.errors import InvalidConfig

MODELS = ["x:a", "x:b"]


def used(input_tokens: int | None, output_tokens: int | None, cached_tokens: int | None = None) -> ReportedUsage:
    return ReportedUsage(input_tokens=input_tokens, output_tokens=output_tokens, cached_tokens=cached_tokens)


def test_a_price_is_per_million_tokens() -> None:
    """Cached tokens have a price of their own, else that of the others; without tokens there is none."""
    price = Price(input=0.25, output=2.0, cached=0.02)
    assert price.nanos(used(1_000_000, 0)) == 250_000_000
    assert price.nanos(used(1_000_000, 500_000, 400_000)) == 150_000_000 + 8_000_000 + 1_000_000_000
    assert Price(input=0.25, output=2.0).nanos(used(4, 0, 4)) == 1000
    assert price.nanos(used(1, None)) is price.nanos(used(None, 1)) is None
    assert Price(input=0, output=0).nanos(used(5, 5)) == 0


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_cached_tokens_are_never_more_than_all(input_tokens: int, output_tokens: int, cached: int) -> None:
    """So that a server which counts them apart makes no negative price."""
    nanos = Price(input=1, output=1, cached=0).nanos(used(input_tokens, output_tokens, cached))
    assert nanos is not None
    assert 0 <= nanos <= (input_tokens + output_tokens) * 1000


def test_prices_are_one_for_all_or_by_model() -> None:
    """A model that a mapping leaves out has the list price."""
    one = {"input": 1, "output": 2}
    assert read_prices(one, MODELS) == {name: Price(input=1.0, output=2.0) for name in MODELS}
    assert read_prices({"x:b": {**one, "cached": 0}}, MODELS) == {"x:b": Price(input=1.0, output=2.0, cached=0.0)}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (3, "price: must be a mapping"),
        ({}, "price.input: is missing"),
        ({"input": 1}, "price.output: is missing"),
        ({"input": 1, "output": 1, "thinking": 1}, "price.thinking: is an unknown key"),
        ({"input": "1", "output": 1}, "price.input: must be a number"),
        ({"input": -1, "output": 1}, "price.input: must be in 0.."),
        ({"input": float("inf"), "output": 1}, "price.input: must be in 0.."),
        ({"input": 10**400, "output": 1}, "price.input: must be in 0.."),
        ({"x:c": {"input": 1, "output": 1}}, "price.x:c: is no model of this stage"),
        ({"in": 1, "out": 2}, "price.in: is an unknown key; known are input, output and cached"),
        ({"x:a": {"input": 1}}, "price.x:a.output: is missing"),
        ({"x:a": None}, "price.x:a: must be a mapping"),
    ],
)
def test_an_unusable_price_is_named(setting: Any, message: str) -> None:
    """The error names the key."""
    with pytest.raises(InvalidConfig) as caught:
        read_prices(setting, MODELS)
    assert str(caught.value).startswith(message)


def test_list_prices() -> None:
    """Names are found as providers tell them; an unknown provider has no prices, whatever its model is called."""
    usage = {"input_tokens": 1_000_000, "output_tokens": 0}
    listed = list_price_nanos(ReportedUsage(model="openai:gpt-4o", **usage))
    assert listed == list_price_nanos(ReportedUsage(model="gpt-4o-2024-08-06", **usage)) == 2_500_000_000
    cached = list_price_nanos(ReportedUsage(model="openai:gpt-4o", cached_tokens=1_000_000, **usage))
    assert cached == 1_250_000_000
    for model in ("local:gpt-4o", "openai:no-such-model", "", None):
        assert list_price_nanos(ReportedUsage(model=model, **usage)) is None
    assert list_price_nanos(ReportedUsage(model="openai:gpt-4o", usd=1)) is None
