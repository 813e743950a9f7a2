"""Errors of stages in words that can be stored and shown: short, without locals, without control characters."""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from loopkit.errors import StageError

__all__ = ["clean", "describe", "kind_of"]

MAX_MESSAGE_CHARS: Final = 2_000

_MAX_MEMBERS: Final = 3
"""Members of an exception group that are told of."""

_ESCAPES: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
"""What colours a terminal (ECMA-48, section 5.4)."""

_UNFIT: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but tab and line feed, and lone surrogates."""


def clean(text: str, *, most: int = MAX_MESSAGE_CHARS) -> str:
    """Give ``text`` without terminal escapes, with what cannot be stored or shown replaced, and cut to ``most``."""
    kept = _UNFIT.sub("\ufffd", _ESCAPES.sub("", text[: 2 * most].replace("\r\n", "\n"))).strip()
    return kept if len(kept) <= most and len(text) <= 2 * most else kept[:most] + " [cut]"


def describe(error: BaseException) -> str:
    """Say in one short text what a stage raised; it works for every exception, whatever it does when asked."""
    if isinstance(error, StageError):
        return clean(_message(error))
    parts = [type(error).__name__, _message(error)]
    text = clean(": ".join(part for part in parts if part))
    if isinstance(error, BaseExceptionGroup):
        told = [
            clean(describe(member), most=300) for member, _ in zip(_leaves(error), range(_MAX_MEMBERS), strict=False)
        ]
        text += f" [{'; '.join(told)}]"
    return text


def kind_of(value: object) -> str:
    """Name the kind of a value as a person would."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a boolean"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case _:
            return f"a {type(value).__name__}"


def _message(error: BaseException) -> str:
    # str() runs the user's code here, and that may raise anything.
    with suppress(BaseException):
        return str(error)
    return "(its message cannot be read)"


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting[:0] = error.exceptions
        else:
            yield error
