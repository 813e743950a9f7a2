"""Reported usage: tokens and money of a model call, as providers' answers, libraries and programs report them.

Known are loopkit's own names, those of OpenAI (``prompt_tokens``), of Anthropic, whose three numbers of input tokens
are added up, and the objects of pydantic-ai and LangChain. The first name that holds a number counts.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from loopkit.agents.error_text import kind_of, printable
from loopkit.core.ledger.sums import NANOS_PER_USD
from loopkit.core.values import value

__all__ = ["NO_USAGE", "ReportedUsage", "nanos_of", "read_usage"]

MAX_MODEL_CHARS: Final = 200
MOST_TOKENS: Final = 10**12
"""Most tokens of one call: a run's sums, which are 64-bit numbers, have room for nine million such calls."""
MOST_USD: Final = 1e6
"""Highest price of one call in US dollars: a run's sum in nano-dollars has room for nine thousand such calls."""
_MOST_NANOS: Final = int(MOST_USD) * NANOS_PER_USD

_INPUT: Final = (("input_tokens",), ("prompt_tokens",))
_OUTPUT: Final = (("output_tokens",), ("completion_tokens",))
_CACHED: Final = (
    ("cached_tokens",),
    ("cache_read_tokens",),
    ("cache_read_input_tokens",),
    ("input_token_details", "cache_read"),
    ("input_tokens_details", "cached_tokens"),
    ("prompt_tokens_details", "cached_tokens"),
)
_WRITTEN: Final = (
    ("cache_write_tokens",),
    ("cache_creation_input_tokens",),
    ("input_token_details", "cache_creation"),
)
_APART: Final = ("cache_creation_input_tokens", "cache_read_input_tokens")
"""Anthropic's names of input tokens that its ``input_tokens`` leave out."""
_USD: Final = (("usd",), ("total_cost_usd",))


@value(kw_only=True)
class ReportedUsage:
    """Tokens and money of one model call, or of several together."""

    input_tokens: int | None = None
    """Tokens of the request, those read from and written to a cache included; None: not reported."""
    output_tokens: int | None = None
    cached_tokens: int | None = None
    """Tokens of the request that were read from a cache."""
    written_tokens: int | None = None
    """Tokens of the request that were written to a cache."""
    model: str | None = None
    usd: float | None = None
    """Price in US dollars; None: not reported."""


NO_USAGE: Final = ReportedUsage()


def read_usage(
    usage: object = None,
    *,
    model: str | None = None,
    usd: float | None = None,
    keys: Mapping[str, object] | None = None,
) -> ReportedUsage:
    """Read usage from a mapping or an object, with what was reported beside it in its place.

    A model alone, without usage, is a call that reported nothing.

    Raises:
        ValueError: it holds no known key, or a value that cannot be used; the message is a predicate that names it.
    """
    if usage is not None and isinstance(usage, str | bytes | int | float | list | tuple | set):
        raise ValueError(f"must be a mapping or an object with token counts, not {kind_of(usage)}")
    given = {"model": model, "usd": usd}
    source = _Source(usage, {**(keys or {}), **{name: value for name, value in given.items() if value is not None}})
    input_tokens = source.count(_INPUT)
    apart = [source.count(((name,),)) for name in _APART]
    if input_tokens is not None or any(count is not None for count in apart):
        input_tokens = sum(count or 0 for count in (input_tokens, *apart))
    found = ReportedUsage(
        input_tokens=input_tokens,
        output_tokens=source.count(_OUTPUT),
        cached_tokens=source.count(_CACHED),
        written_tokens=source.count(_WRITTEN),
        model=source.text("model"),
        usd=source.amount(_USD),
    )
    told_nothing = found == ReportedUsage(model=found.model)
    if told_nothing and (usage is not None or found.model is None or keys):
        raise ValueError("holds none of input_tokens, output_tokens and usd, nor the names of OpenAI or Anthropic")
    return found


def nanos_of(usd: float | Decimal | None) -> int | None:
    """Return an amount of US dollars, at most :data:`MOST_USD`, in whole nano-dollars; None stays None."""
    if usd is None:
        return None
    return min(round(Decimal(repr(usd) if isinstance(usd, float) else usd) * NANOS_PER_USD), _MOST_NANOS)


class _Source:
    """Values of usage by their names, those that were reported beside it first."""

    def __init__(self, usage: object, beside: Mapping[str, object]) -> None:
        self._usage = usage
        self._beside = beside

    def count(self, names: tuple[tuple[str, ...], ...]) -> int | None:
        """Return the first count of tokens among names."""
        for path in names:
            found = self._find(path)
            if found is None:
                continue
            if isinstance(found, float) and found.is_integer():
                found = int(found)
            if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= MOST_TOKENS:
                raise ValueError(f"has {'.'.join(path)} {_shown(found)}, not a whole number in 0..{MOST_TOKENS}")
            return found
        return None

    def amount(self, names: tuple[tuple[str, ...], ...]) -> float | None:
        """Return the first amount of money among names."""
        for path in names:
            found = self._find(path)
            if found is None:
                continue
            if isinstance(found, Decimal):
                found = float(found)
            usable = isinstance(found, int | float) and not isinstance(found, bool)
            if not usable or not 0 <= found <= MOST_USD:
                raise ValueError(f"has {'.'.join(path)} {_shown(found)}, not a number in 0..{MOST_USD:.0f}")
            return float(found)
        return None

    def text(self, name: str) -> str | None:
        """Return a text as it can be stored."""
        found = self._find((name,))
        return printable(found)[:MAX_MODEL_CHARS] or None if isinstance(found, str) else None

    def _find(self, path: tuple[str, ...]) -> Any:
        first, *rest = path
        found: Any = self._beside.get(first)
        if found is None:
            found = _member(self._usage, first)
        for name in rest:
            found = _member(found, name)
        return None if callable(found) else found


def _member(holder: object, name: str) -> Any:
    if holder is None:
        return None
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _shown(found: object) -> str:
    return repr(found)[:100] if isinstance(found, int | float | str) else kind_of(found)
