"""Search for words of titles and tags: each word of the search begins a word of the text, in upper or lower case."""

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["Words"]

_WORD: Final = re.compile(r"\w+")


class Words:
    """Words that a text is searched for."""

    def __init__(self, search: str) -> None:
        self._beginnings = _words(search)

    def __bool__(self) -> bool:
        return bool(self._beginnings)

    def is_in(self, text: str) -> bool:
        """Return True when each word of the search begins a word of the text; a search without words is in none."""
        words = _words(text)
        return bool(self) and all(any(word.startswith(each) for word in words) for each in self._beginnings)

    def is_in_any(self, texts: Iterable[str]) -> bool:
        """Return True when all words of the search are in one of the texts."""
        return any(map(self.is_in, texts))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
