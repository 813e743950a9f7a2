"""Texts for the errors of stages that can be stored and shown: short, without locals or control characters."""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Final

from loopkit.agents.secret_values import without_secrets
from loopkit.errors import StageError

__all__ = ["clean_text", "describe_error", "kind_of", "printable", "without_escapes"]

MAX_MESSAGE_CHARS: Final = 2_000

_MAX_MEMBERS: Final = 3
"""Most members of an exception group that a text describes."""

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
"""Control sequences of terminals, such as colours, titles and links. Source: ECMA-48, sections 5.4 and 5.6."""

_UNSTORABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters except tab and line feed, and lone surrogates."""


def clean_text(text: str, *, max_chars: int = MAX_MESSAGE_CHARS) -> str:
    """Return ``text`` without terminal escapes, cut to ``max_chars``, with unstorable characters replaced."""
    cleaned = printable(text[: 2 * max_chars])
    is_whole = len(cleaned) <= max_chars and len(text) <= 2 * max_chars
    return cleaned if is_whole else cleaned[:max_chars] + " [cut]"


def without_escapes(text: str) -> str:
    """Return ``text`` without terminal escapes."""
    return _ESCAPES.sub("", text)


def printable(text: str) -> str:
    """Return ``text`` without terminal escapes and surrounding blanks, with unstorable characters replaced."""
    return _UNSTORABLE.sub("\ufffd", without_escapes(text.replace("\r\n", "\n"))).strip()


def describe_error(error: BaseException) -> str:
    """Return a short text for what a stage raised; for every exception, even one whose ``str`` raises."""
    if isinstance(error, StageError):
        return clean_text(_message(error))
    parts = [type(error).__name__, _message(error)]
    text = clean_text(": ".join(part for part in parts if part))
    if isinstance(error, BaseExceptionGroup):
        members = islice(_leaves(error), _MAX_MEMBERS)
        text += f" [{'; '.join(clean_text(describe_error(member), max_chars=300) for member in members)}]"
    return text


def kind_of(value: object) -> str:
    """Return the name of a value's type as a person would say it."""
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
            name = type(value).__name__
            return f"{'an' if name[0] in 'AEIOUaeio' else 'a'} {name}"


def _message(error: BaseException) -> str:
    # str() runs the user's code here, and that may raise anything.
    with suppress(BaseException):
        return without_secrets(str(error))
    return "(its message cannot be read)"


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop(0)
        if isinstance(error, BaseExceptionGroup):
            waiting[:0] = error.exceptions
        else:
            yield error
