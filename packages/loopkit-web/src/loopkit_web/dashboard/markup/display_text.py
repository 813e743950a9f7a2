"""Numbers, times and values as text for people. Pure; what depends on the current time is written by the browser."""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from loopkit_web.dashboard.markup.bidi_text import isolated, with_json_escapes

__all__ = [
    "clock",
    "count",
    "distance",
    "duration",
    "is_plain_list",
    "joined",
    "label",
    "mark",
    "moment",
    "number",
    "plain",
    "run_command",
    "score",
    "shorten",
    "signed",
    "size",
    "subject",
    "usd",
    "whole",
    "worker_command",
]

_MAX_DIGITS: Final = 18
"""No two numbers between 0 and 1 that a computer tells apart look equal with so many decimals, but for tiny ones."""
_MAX_ITEMS: Final = 12
_MAX_NAME: Final = 200
"""Longest name that an agent of loopkit may have."""
_MAX_OPTIONS: Final = 4
"""Most inputs that a printed command names; a file is better for more."""
_MAX_SUBJECT: Final = 90
_MAX_COUNT: Final = 1000
"""The store's figures stop here."""


def score(value: float | None, pass_mark: float | None = None) -> str:
    """Return a score with two decimals; a dash for None.

    Args:
        pass_mark: the mark that is shown beside it. The score gets as many decimals as it takes to be on the same side
            of the mark as a reader sees it: 0.7999 of 0.80 is not ``0.80``.
    """
    if value is None:
        return "–"
    for digits in range(2, _MAX_DIGITS):
        text = f"{value:.{digits}f}"
        if pass_mark is None or _order(float(text), pass_mark) == _order(value, pass_mark):
            return text
    return number(value)


def _order(value: float, other: float) -> int:
    return (value > other) - (value < other)


def mark(value: float | None) -> str:
    """Return a pass mark as it is, with two decimals at least: ``0.80``, ``0.805``; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:.2f}"
    return text if float(text) == value else number(value)


def distance(value: float) -> str:
    """Return how far a score is from its mark: two decimals, or as many as it takes to differ from zero."""
    texts = (f"{abs(value):.{digits}f}" for digits in range(2, _MAX_DIGITS))
    return next((text for text in texts if float(text)), f"{abs(value):.2f}")


def signed(value: float) -> str:
    """Return the change of a score: ``+0.12``, ``−0.04``, ``±0.00``."""
    text = f"{abs(value):.2f}"
    return f"±{text}" if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def duration(span: timedelta | None) -> str:
    """Return a duration in its two largest units: ``38 s``, ``4m 12s``, ``2d 4h``; a dash for None."""
    if span is None:
        return "–"
    seconds = max(int(span.total_seconds()), 0)
    if seconds < 1:
        return "under 1 s"
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02}s"
    hours = seconds // 3600
    return f"{hours}h {seconds % 3600 // 60:02}m" if hours < 24 else f"{hours // 24}d {hours % 24}h"


def moment(value: datetime) -> str:
    """Return a date and time in UTC, to the minute."""
    return value.astimezone(UTC).strftime("%-d %b %Y, %H:%M UTC")


def clock(value: datetime) -> str:
    """Return a time of day in UTC, to the second."""
    return value.astimezone(UTC).strftime("%H:%M:%S")


def count(value: int) -> str:
    """Return a count; ``1000+`` from 1,000 on, where the store stops counting."""
    return "1000+" if value >= _MAX_COUNT else str(value)


def number(value: float) -> str:
    """Return a number with all its digits and without a needless fraction: ``3``, ``0.85``, ``1234567``.

    Very small and very large numbers (under 1e-7, or 1e21 and more) are ``1e-09``, as JavaScript shows them.
    """
    if isinstance(value, int) or not 1e-7 <= abs(value) < 1e21:
        return "0" if value == 0 else str(value)
    text = f"{Decimal(str(value)):f}"
    return text.removesuffix(".0")


def usd(nanos: int | None) -> str:
    """Return an amount of nano-dollars in usd, with at least two decimals and as many as it has; a dash for None."""
    if nanos is None:
        return "–"
    whole, _, decimals = f"{Decimal(nanos).scaleb(-9):f}".partition(".")
    return f"{int(whole):,}.{decimals.rstrip('0').ljust(2, '0')}"


def size(text: str) -> str:
    """Return the size of a text in UTF-8: ``410 B``, ``2.3 KB``, ``1.1 MB`` (decimal units)."""
    return size_of(len(text.encode("utf-8", "replace")))


def size_of(length: int) -> str:
    """Return a number of bytes as :func:`size` shows it."""
    if length < 1000:
        return f"{length} B"
    return f"{length / 1000:.1f} KB" if length < 1_000_000 else f"{length / 1_000_000:.1f} MB"


def label(name: str) -> str:
    """Return a key as a label: ``max_staff`` becomes ``Max staff``."""
    text = name.replace("_", " ").replace("-", " ").strip() or name
    return text[:1].upper() + text[1:]


def shorten(text: str, max_chars: int) -> str:
    """Return the beginning of a text on one line, cut between words where possible.

    A text that is cut ends with " …", which is not counted.
    """
    line = " ".join(text[: max_chars * 8].split())
    if len(line) <= max_chars:
        return line
    cut = line[:max_chars].rsplit(" ", 1)[0] if " " in line[max_chars // 2 : max_chars] else line[: max_chars - 1]
    return cut.rstrip(" ,;:.") + " …"


def subject(inputs: Any) -> str:
    """Return the subject of a run: the first text among its inputs, else the first four values with their names."""
    values = list(inputs.items()) if isinstance(inputs, dict) else []
    for _, value in values:
        if isinstance(value, str) and value.strip():
            return shorten(value, _MAX_SUBJECT)
    named = (f"{isolated(label(name))} {isolated(plain(value))}" for name, value in values[:4])
    return shorten(", ".join(named), _MAX_SUBJECT)


def plain(value: Any) -> str:
    """Return a JSON value as a short text; of a list the first twelve items, of an object the number of its values."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, list):
        items = ", ".join(isolated(plain(item)) for item in value[:_MAX_ITEMS])
        return f"{items} …" if len(value) > _MAX_ITEMS else items
    if isinstance(value, dict):
        return f"{len(value)} values" if len(value) != 1 else "1 value"
    return str(value)


def is_plain_list(values: Sequence[Any]) -> bool:
    """Return whether :func:`plain` shows every item of a list as it is."""
    return len(values) <= _MAX_ITEMS and not any(isinstance(value, list | dict) for value in values)


def whole(value: Any) -> str:
    """Return a text as it is, and any other JSON value as indented JSON."""
    return value if isinstance(value, str) else with_json_escapes(json.dumps(value, ensure_ascii=False, indent=2))


def joined(items: Iterable[str], last: str = "and") -> str:
    """Return texts as a list in a sentence: ``a, b and c``."""
    texts = list(items)
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}"


def worker_command(agent: str = "") -> str:
    """Return the command that starts a runner, to be copied into a shell.

    Args:
        agent: the agent that it serves; "" for every agent. A name that no agent of loopkit may have is left out: one
            that is too long, or has characters that are not printed.
    """
    only = f" --agent {shlex.quote(agent)}" if 0 < len(agent) <= _MAX_NAME and agent.isprintable() else ""
    return f"loopkit-cli worker{only}"


def run_command(agent: str, schema: Mapping[str, Any]) -> str:
    """Return the command that starts and works a run of an agent, to be copied into a shell.

    Args:
        agent: its name.
        schema: the JSON Schema of its inputs. What it requires, and has no default for, is left to be filled in.
    """
    properties, required = schema.get("properties", {}), schema.get("required", ())
    missing = [name for name in required if "default" not in _object(properties.get(name))]
    if len(missing) <= _MAX_OPTIONS and all(name.isprintable() and "=" not in name for name in missing):
        options = [f" --input {shlex.quote(name)}=..." for name in missing]
    else:
        options = [" --inputs inputs.json"]
    return f"loopkit-cli run {shlex.quote(agent)}{''.join(options)}"


def _object(schema: Any) -> Mapping[str, Any]:
    """Return a schema that is an object as it is; one that is true or false says nothing."""
    return schema if isinstance(schema, Mapping) else {}
