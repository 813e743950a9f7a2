"""Words and figures for people. Pure; what depends on "now" is said by the browser, never here."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["clock", "count", "duration", "label", "moment", "number", "score", "shorten", "signed", "size"]

_LIMIT = 1000


def score(value: float | None) -> str:
    """Give a score with two figures, or a dash."""
    return "–" if value is None else f"{value:.2f}"


def signed(value: float) -> str:
    """Give a change of a score: ``+0.12``, ``−0.04``."""
    text = f"{abs(value):.2f}"
    return f"±{text}" if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def duration(span: timedelta | None) -> str:
    """Give a span with the two units that matter: ``38 s``, ``4m 12s``, ``2d 4h``; a dash for none."""
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
    """Give a time in UTC to the minute, with its day."""
    return value.astimezone(UTC).strftime("%-d %b %Y, %H:%M UTC")


def clock(value: datetime) -> str:
    """Give the time of a day in UTC, to the second."""
    return value.astimezone(UTC).strftime("%H:%M:%S")


def count(value: int) -> str:
    """Give a count that stops at 1,000."""
    return "1000+" if value >= _LIMIT else str(value)


def number(value: float) -> str:
    """Give a plain number without a needless fraction."""
    return f"{value:g}" if abs(value) < 1e15 else str(value)


def size(text: str) -> str:
    """Give how many bytes a text has."""
    length = len(text.encode())
    if length < 1000:
        return f"{length} B"
    return f"{length / 1000:.1f} KB" if length < 1_000_000 else f"{length / 1_000_000:.1f} MB"


def label(name: str) -> str:
    """Give a key as a label: ``max_staff`` is ``Max staff``."""
    text = name.replace("_", " ").replace("-", " ").strip() or name
    return text[:1].upper() + text[1:]


def shorten(text: str, most: int) -> str:
    """Give the beginning of a text on one line, cut between words where it can be."""
    line = " ".join(text[: most * 8].split())
    if len(line) <= most:
        return line
    cut = line[:most].rsplit(" ", 1)[0] if " " in line[most // 2 : most] else line[: most - 1]
    return cut.rstrip(" ,;:.") + " …"


def subject(inputs: Any, most: int = 90) -> str:
    """Give what a run is about: the first text among its inputs, else the first values by name."""
    values = list(inputs.items()) if isinstance(inputs, dict) else []
    for _, value in values:
        if isinstance(value, str) and value.strip():
            return shorten(value, most)
    return shorten(", ".join(f"{label(name)} {plain(value)}" for name, value in values[:4]), most)


def plain(value: Any) -> str:
    """Give a small JSON value as words."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value[:12]) + (" …" if len(value) > 12 else "")
    if isinstance(value, dict):
        return f"{len(value)} values" if len(value) != 1 else "1 value"
    return str(value)


def joined(words: Iterable[str], last: str = "and") -> str:
    """Give words as a list in a sentence."""
    all_words = list(words)
    if len(all_words) < 2:
        return "".join(all_words)
    return f"{', '.join(all_words[:-1])} {last} {all_words[-1]}"
