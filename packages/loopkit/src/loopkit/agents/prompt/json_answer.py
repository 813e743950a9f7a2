"""JSON in the text of a model's answer: one clear object, or none.

An object is clear when it is the whole answer, stands in the answer's only code fence, or ends the answer. Two objects
of the asked form are none, since nobody can say which was meant. Neither is one that stands in the judged text as well:
the model may only have quoted it.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, Final

__all__ = ["find_object", "objects_in", "parse_object", "stands_in"]

_FENCE: Final = re.compile(r"^[ \t]*(`{3,}+|~{3,}+)", re.MULTILINE)
_BYTE_ORDER_MARK: Final = "\ufeff"
_BEGINNING: Final = re.compile(r'\{[ \t\r\n]*["}]')
_FAR: Final = 10_000
"""Characters after which what was read is cut off: to say where an object is broken, Python counts all lines before."""
_MOST_WORK: Final = 1_000_000
"""Most characters that are read in vain, by all tries to find the objects of a text: some 50 ms of CPU."""
_WORK_OF_A_TRY: Final = 50
"""Cost of a try beside that of the characters that it reads, in characters."""
_MOST_OF_A_TRY: Final = 50_000
"""Characters that a try counts for which does not say how far it came."""


class _TooManyTries(Exception):
    """The text has so many braces that begin no object that its objects are not looked for any further."""


def parse_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that ``text`` is, or None."""
    try:
        value = _DECODER.decode(text.strip().lstrip(_BYTE_ORDER_MARK).strip())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def find_object(text: str, is_asked: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any] | None:
    """Return the one clear JSON object of an answer, or None; ``is_asked`` recognizes those of the asked form."""
    text = text.strip().lstrip(_BYTE_ORDER_MARK).strip()
    if (whole := parse_object(text)) is not None:
        return whole
    try:
        objects = list(_objects(text))
    except _TooManyTries:
        return None
    if sum(is_asked(value) for value, _ in objects) > 1:
        return None
    fences = list(islice(_fences(text), 2))
    if len(fences) == 1 and (fenced := _fenced_object(fences[0])) is not None:
        return fenced
    return next((value for value, end in objects if end == len(text)), None)


def objects_in(text: str) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a text that are in no other one, as far as they are looked for."""
    with suppress(_TooManyTries):
        for value, _ in _objects(text):
            yield value


def stands_in(value: Mapping[str, Any], text: str) -> bool:
    """Determine whether the JSON object ``value`` stands in ``text``, however it is written there.

    True also where it cannot be said, since a text has too many braces that begin no object: they could hide it.
    """
    try:
        return any(value in _nested_objects(found) for found, _ in _objects(text))
    except _TooManyTries:
        return True


def _fences(text: str) -> Iterator[str]:
    """Yield what stands in each code fence; one that nothing closes ends the search."""
    position = 0
    while opening := _FENCE.search(text, position):
        mark = f"{opening[1][0]}{{{len(opening[1])}}}"
        ending = re.compile(rf"^[ \t]*{mark}[`~]*[ \t]*$|(?<=[}}\]\s]){mark}", re.MULTILINE)
        if (closing := ending.search(text, opening.end())) is None:
            return
        yield text[opening.end() : closing.start()]
        position = closing.end()


def _fenced_object(content: str) -> dict[str, Any] | None:
    """Return the object of a code fence: after the words of its first line, such as ``json``."""
    start = content.find("{")
    if start < 0 or "[" in content[:start]:
        return None
    return parse_object(content[start:])


def _objects(text: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the JSON objects of a text that are in no other one, each with the place of its end.

    Raises:
        _TooManyTries: to find them all would take too long.
    """
    start = position = work = 0
    while beginning := _BEGINNING.search(text, position):
        position = beginning.start()
        if position > _FAR:
            start, text, position = start + position, text[position:], 0
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            read = error.pos - position if isinstance(error, json.JSONDecodeError) else _MOST_OF_A_TRY
            work += _WORK_OF_A_TRY + min(read, len(text) - position)
            if work > _MOST_WORK:
                raise _TooManyTries from None
            position += 1
        else:
            yield value, start + end
            position = end


def _nested_objects(value: Any) -> Iterator[Mapping[str, Any]]:
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
        elif isinstance(part, str) and "{" in part:
            waiting += (found for found, _ in _objects(part))


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice")
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
