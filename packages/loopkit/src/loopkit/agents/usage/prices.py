"""Prices of models: those of a stage's settings, else the list prices of the installed ``genai-prices``.

The list comes with the extra ``loopkit[llm]`` and is read offline. A model that it does not know has no price, and
neither has one behind a ``base_url``: a server of one's own does not bill what the vendor does.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from loopkit.agents.error_text import kind_of
from loopkit.agents.usage.reported_usage import ReportedUsage, nanos_of
from loopkit.core.values import value
from loopkit.errors import InvalidConfig

__all__ = ["Price", "list_price_nanos", "read_prices"]

MAX_PRICE: Final = 1e6

_PER_MILLION: Final = Decimal(1_000_000)
_KEY: Final = "price"
"""Key of a stage under which its prices are."""
_KEYS: Final = frozenset({"input", "output", "cached"})
_UNKNOWN_KEY: Final = "is an unknown key; known are input, output and cached"
_LISTED_PROVIDERS: Final = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "google-gla": "google",
    "google-vertex": "google",
    "google-cloud": "google",
    "bedrock": "aws",
    "grok": "x-ai",
    "xai": "x-ai",
}
"""Names of providers in the list, where pydantic-ai has another."""


@value(kw_only=True)
class Price:
    """Price of a model in US dollars per million tokens."""

    input: float
    output: float
    cached: float | None = None
    """Price of input tokens that were read from a cache; None: that of ``input``."""

    def nanos(self, usage: ReportedUsage) -> int | None:
        """Return the price of a call in nano-dollars; None where its tokens were not reported."""
        if usage.input_tokens is None or usage.output_tokens is None:
            return None
        cached = min(usage.cached_tokens or 0, usage.input_tokens)
        rates = (self.input, self.input if self.cached is None else self.cached, self.output)
        counts = (usage.input_tokens - cached, cached, usage.output_tokens)
        total = sum(Decimal(repr(rate)) * count for rate, count in zip(rates, counts, strict=True))
        return nanos_of(total / _PER_MILLION)


def read_prices(setting: object, models: Sequence[str]) -> dict[str, Price]:
    """Read the prices of models: one for all, or a mapping by model.

    Raises:
        InvalidConfig: a value is of the wrong type or out of its range, or a model is not among ``models``.
    """
    if not isinstance(setting, Mapping):
        raise InvalidConfig(f"must be a mapping with `input` and `output`, not {kind_of(setting)}", key=_KEY)
    if not setting.keys() or not setting.keys().isdisjoint(_KEYS):
        return dict.fromkeys(models, _read_price(setting, _KEY))
    for name, rate in setting.items():
        if name not in models and not isinstance(rate, Mapping):
            raise InvalidConfig(_UNKNOWN_KEY, key=f"{_KEY}.{name}")
        if name not in models:
            raise InvalidConfig(f"is no model of this stage, which has {', '.join(models)}", key=f"{_KEY}.{name}")
    # The keys of a path in the file are parted by dots, which names of models may have.
    keys = {name: _KEY if "." in name else f"{_KEY}.{name}" for name in setting}
    return {name: _read_price(price, keys[name]) for name, price in setting.items()}


def _read_price(setting: object, key: str) -> Price:
    if not isinstance(setting, Mapping):
        raise InvalidConfig(f"must be a mapping with `input` and `output`, not {kind_of(setting)}", key=key)
    for name, rate in setting.items():
        if name not in _KEYS:
            raise InvalidConfig(_UNKNOWN_KEY, key=f"{key}.{name}")
        if not isinstance(rate, int | float) or isinstance(rate, bool):
            raise InvalidConfig(f"must be a number, not {kind_of(rate)}", key=f"{key}.{name}")
        if not 0 <= rate <= MAX_PRICE:
            raise InvalidConfig(f"must be in 0..{MAX_PRICE:g} (usd per million tokens)", key=f"{key}.{name}")
    for name in ("input", "output"):
        if name not in setting:
            raise InvalidConfig("is missing", key=f"{key}.{name}")
    return Price(**{str(name): float(rate) for name, rate in setting.items()})


def list_price_nanos(usage: ReportedUsage) -> int | None:
    """Return the list price of a call in nano-dollars; None without the list, the model in it, or the tokens."""
    if usage.model is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    try:
        from genai_prices import Usage, calc_price
    except ImportError:
        return None
    provider, colon, name = usage.model.partition(":")
    counts: dict[str, Any] = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
    if usage.cached_tokens:
        counts["cache_read_tokens"] = min(usage.cached_tokens, usage.input_tokens)
    if usage.written_tokens:
        counts["cache_write_tokens"] = usage.written_tokens
    try:
        listed = calc_price(
            Usage(**counts),
            model_ref=name if colon else usage.model,
            provider_id=_LISTED_PROVIDERS.get(provider, provider) if colon else None,
        )
    except (LookupError, ValueError):
        return None
    return nanos_of(listed.total_price)
