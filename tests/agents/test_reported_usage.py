"""Usage as libraries and programs report it, read into one form."""

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic_ai.usage import RequestUsage, RunUsage

from loopkit.agents.usage.prices import MAX_PRICE, Price
from loopkit.agents.usage.reported_usage import ReportedUsage, nanos_of, read_usage

OPENAI = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
}
ANTHROPIC = {
    "input_tokens": 3,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 100,
    "output_tokens": 7,
    "server_tool_use": None,
}
LANGCHAIN = {"input_tokens": 11, "output_tokens": 7, "input_token_details": {"cache_read": 4, "cache_creation": 2}}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 11, "output_tokens": 7}, ReportedUsage(input_tokens=11, output_tokens=7)),
        (
            {"input_tokens": 11, "cached_tokens": 4, "model": "x:m", "usd": 0.5},
            ReportedUsage(input_tokens=11, cached_tokens=4, model="x:m", usd=0.5),
        ),
        (OPENAI, ReportedUsage(input_tokens=11, output_tokens=7, cached_tokens=4)),
        (
            {"input_tokens": 11, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 4}},
            ReportedUsage(input_tokens=11, output_tokens=7, cached_tokens=4),
        ),
        (ANTHROPIC, ReportedUsage(input_tokens=123, output_tokens=7, cached_tokens=100, written_tokens=20)),
        (LANGCHAIN, ReportedUsage(input_tokens=11, output_tokens=7, cached_tokens=4, written_tokens=2)),
        (
            RunUsage(input_tokens=11, output_tokens=7, cache_read_tokens=4, requests=2),
            ReportedUsage(input_tokens=11, output_tokens=7, cached_tokens=4, written_tokens=0),
        ),
        (
            RequestUsage(input_tokens=11, output_tokens=7),
            ReportedUsage(input_tokens=11, output_tokens=7, cached_tokens=0, written_tokens=0),
        ),
        (
            SimpleNamespace(
                prompt_tokens=11, completion_tokens=7, prompt_tokens_details=SimpleNamespace(cached_tokens=4)
            ),
            ReportedUsage(input_tokens=11, output_tokens=7, cached_tokens=4),
        ),
        ({"input_tokens": 11.0, "output_tokens": None, "prompt_tokens_details": None}, ReportedUsage(input_tokens=11)),
        ({"total_cost_usd": 0.25}, ReportedUsage(usd=0.25)),
        ({"usd": 0}, ReportedUsage(usd=0.0)),
    ],
)
def test_usage_is_read(usage: Any, expected: ReportedUsage) -> None:
    """Mappings and objects mean the same; input tokens include those of caches."""
    assert read_usage(usage) == expected


def test_what_is_told_beside_it_counts() -> None:
    """``model``, ``usd`` and keys replace what the usage itself says."""
    read = read_usage(OPENAI, model="openai:m", usd=0.5, keys={"output_tokens": 8})
    assert read == ReportedUsage(input_tokens=11, output_tokens=8, cached_tokens=4, model="openai:m", usd=0.5)
    assert read_usage(keys={"input_tokens": 1}) == ReportedUsage(input_tokens=1)


def test_a_model_alone_is_a_call_that_told_nothing() -> None:
    """Clients give no usage for some answers, and such a call was paid for too; a wrong key stays an error."""
    assert read_usage(None, model="openai:m") == ReportedUsage(model="openai:m")
    unusable: list[dict[str, Any]] = [{}, {"model": "m", "keys": {"tokens": 3}}, {"usage": {}, "model": "m"}]
    for settings in unusable:
        with pytest.raises(ValueError, match="holds none of input_tokens"):
            read_usage(**settings)


@pytest.mark.parametrize(
    ("usage", "message"),
    [
        ({"input_tokens": -1}, "has input_tokens .*, not a whole number in 0..1000000000000"),
        ({"input_tokens": True}, "has input_tokens .*, not a whole number in 0..1000000000000"),
        ({"output_tokens": "7"}, "has output_tokens '7', not a whole number"),
        ({"input_tokens": 1.5}, "has input_tokens .*, not a whole number in 0..1000000000000"),
        ({"input_tokens": 10**12 + 1}, "has input_tokens .*, not a whole number in 0..1000000000000"),
        ({"usd": 10**400}, "has usd .*, not a number in 0..1000000"),
        ({"usd": 1_000_001}, "has usd .*, not a number in 0..1000000"),
        ({"usd": -0.1}, "has usd .*, not a number in 0..1000000"),
        ({"usd": float("nan")}, "has usd .*, not a number in 0..1000000"),
        ({"prompt_tokens_details": {"cached_tokens": "x"}}, "has prompt_tokens_details.cached_tokens 'x', not a whole"),
        ({}, "holds none of input_tokens"),
        ({"model": "m"}, "holds none of input_tokens"),
        (SimpleNamespace(tokens=3), "holds none of input_tokens"),
        ("11 tokens", "must be a mapping or an object"),
        ([1], "must be a mapping or an object"),
    ],
)
def test_unusable_usage_is_named(usage: Any, message: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match=message):
        read_usage(usage)


def test_money_is_exact() -> None:
    """An amount is taken as it is written."""
    assert (nanos_of(0.1), nanos_of(1e-9), nanos_of(0), nanos_of(None)) == (100_000_000, 1, 0, None)


def test_the_price_of_a_call_fits_the_sums() -> None:
    """Prices and tokens that are both as large as they may be come to more than a 64-bit number holds."""
    price = Price(input=MAX_PRICE, output=MAX_PRICE)
    assert price.nanos(ReportedUsage(input_tokens=10**12, output_tokens=10**12)) == 10**15
