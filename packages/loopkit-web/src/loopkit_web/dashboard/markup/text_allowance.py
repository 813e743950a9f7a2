"""Bounds on the texts of a page. What rows hold may be of any length; what a page sends of it may not.

A text has a bound of its own (:func:`cut`), and the texts of a page share one (:class:`TextAllowance`), in bytes of
HTML: an escaped quote takes five bytes, so bounds in characters would have to be five times as strict.
"""

from typing import Final

__all__ = ["ELLIPSIS", "TextAllowance", "cut", "html_bytes"]

ELLIPSIS: Final = " …"
"""End of a text that is cut."""
_GROWTH: Final = {"&": 4, "<": 3, ">": 3, '"': 4, "'": 4}
"""Bytes that escaping adds to a character."""


def cut(text: str, max_chars: int) -> str:
    """Return a text, or its beginning with an ellipsis if it is longer than ``max_chars``."""
    return text if len(text) <= max_chars else text[:max_chars] + ELLIPSIS


def html_bytes(text: str) -> int:
    """Return the bytes that a text takes in a page, escaped."""
    return len(text.encode("utf-8", "replace")) + sum(text.count(mark) * growth for mark, growth in _GROWTH.items())


class TextAllowance:
    """Bytes that the texts of one page may still take."""

    def __init__(self, max_bytes: int) -> None:
        self.left = max_bytes

    def take(self, text: str, max_chars: int | None = None) -> str:
        """Return the text, cut to what is left and to ``max_chars``, and subtract what it takes."""
        shown = text if max_chars is None else cut(text, max_chars)
        size = html_bytes(shown)
        while size > max(self.left, 0) and shown:
            shown = shown[: min(len(shown) * max(self.left, 0) // size, len(shown) - 1)]
            size = html_bytes(shown)
        self.left -= size
        return shown if len(shown) >= len(text) or shown.endswith(ELLIPSIS) else shown + ELLIPSIS
