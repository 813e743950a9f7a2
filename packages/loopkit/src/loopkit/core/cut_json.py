"""Values of JSON texts of which only the beginning was read.

The text is closed where it ends: the beginning of a text that is a value is kept, a key without a value is not.

    {"topic": "cats", "notes": "They sle     becomes     {"topic": "cats", "notes": "They sle"}
    {"topic": "cats", "no                    becomes     {"topic": "cats"}
"""

import re
from typing import Any, Final

from loopkit.core import strict_json

__all__ = ["loads_beginning"]

_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]|[^\s{}\[\],:"]+|\s+', re.DOTALL)
_PART_OF_TEXT: Final = re.compile(r'"[^"\\]*(?:\\(?:u[0-9a-fA-F]{4}|[^u])[^"\\]*)*', re.DOTALL)
_CLOSERS: Final = {"{": "}", "[": "]"}


def loads_beginning(text: str) -> Any:
    """Return the value of the beginning of a JSON text; the text itself if it is not the beginning of one."""
    closers: list[str] = []
    position, safe, depth, is_key = 0, 0, 0, False
    while (match := _TOKEN.match(text, position)) is not None:
        token, position = match[0], match.end()
        if token.isspace():
            continue
        if token in _CLOSERS:
            closers.append(_CLOSERS[token])
            is_key = token == "{"
        elif token in ("}", "]"):
            if not closers:
                return text
            closers.pop()
        elif token in (",", ":"):
            is_key = token == "," and closers[-1:] == ["}"]
            continue
        elif is_key or (position == len(text) and token[0] != '"'):
            continue  # a key, or a number that may go on
        safe, depth = position, len(closers)
    if position < len(text) and not is_key and (part := _PART_OF_TEXT.match(text, position)) is not None:
        closed = text[:position] + part[0] + '"' + "".join(reversed(closers))
    else:
        # What was opened after the last whole value was closed again: the first closers are those of that place.
        closed = text[:safe] + "".join(reversed(closers[:depth]))
    value = strict_json.loads_or_text(closed)
    return text if value is closed else value
