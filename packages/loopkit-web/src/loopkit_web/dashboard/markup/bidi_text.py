"""Text of two directions: a value is shown within its own edges, whatever direction it has and whatever it holds.

A mark such as U+202E (right-to-left override) in the name of an agent would reverse the sentence after it, and U+2069
would end the isolation of the element around the name: Chromium shows an element with ``unicode-bidi: isolate`` as if
it stood between such marks. Text without them may cause it too: a number after a Hebrew word is shown before it.

- Every value of a template is :func:`closed`, so its marks have no effect beyond it.
- A value inside a sentence of the page is in an element of its own (``bdi``) or, where Python makes the sentence,
  :func:`isolated`.

Source: Unicode Standard Annex 9, section 2; https://www.w3.org/TR/css-writing-modes-4/#unicode-bidi.
"""

import re
from typing import Final

__all__ = ["closed", "isolated", "with_json_escapes"]

_PDF: Final = "\u202c"
_FSI, _PDI = "\u2068", "\u2069"
_CLOSERS: Final = dict.fromkeys("\u202a\u202b\u202d\u202e", _PDF) | dict.fromkeys("\u2066\u2067\u2068", _PDI)
"""Mark that ends what another one begins: an embedding or an override, or an isolate."""
_MARKS: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_PARTS: Final = re.compile("([\u202a-\u202e\u2066-\u2069\n])")
_OTHER_DIRECTION: Final = re.compile(
    "[\u0590-\u08ff\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]"
)
"""Letters that are written from right to left, and all marks that can change a direction."""
_ESCAPES: Final = {ord(mark): f"\\u{ord(mark):04x}" for mark in (*_CLOSERS, _PDF, _PDI)}


def closed(text: str) -> str:
    """Return a text whose marks of direction end within it: closing ones are added or left out, line by line.

    A text without such marks is returned as it is.
    """
    if _MARKS.search(text) is None:
        return text
    parts: list[str] = []
    pending: list[str] = []
    for part in _PARTS.split(text):
        if part == "\n":
            parts += [*reversed(pending), part]
            pending = []
        elif part in _CLOSERS:
            parts.append(part)
            pending.append(_CLOSERS[part])
        elif part in (_PDF, _PDI):
            parts += _taken(pending, part)
        else:
            parts.append(part)
    return "".join([*parts, *reversed(pending)])


def _taken(pending: list[str], closer: str) -> list[str]:
    """Remove what a closing mark ends, and return the marks to write for it; none where it ends nothing.

    U+2069 also ends the embeddings that began inside its isolate; U+202C ends nothing beyond the isolate around it.
    """
    marks: list[str] = []
    if (pending and pending[-1] == closer) or (closer == _PDI and _PDI in pending):
        while not marks or marks[-1] != closer:
            marks.append(pending.pop())
    return marks


def isolated(text: str) -> str:
    """Return a value as a part of a sentence: between marks that keep its direction inside, if it needs them."""
    return text if _OTHER_DIRECTION.search(text) is None else f"{_FSI}{closed(text)}{_PDI}"


def with_json_escapes(text: str) -> str:
    """Return a JSON text with marks of direction as the escapes of JSON, so that it is shown as it is written."""
    return text.translate(_ESCAPES) if _MARKS.search(text) is not None else text
