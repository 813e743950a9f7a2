"""Place in the user's code where a stage failed: exception, traceback, and file and line.

A traceback of a stage begins in loopkit and passes through the event loop and threads before it reaches the code that
the user wrote. Only what follows is of use, so the frames before the first one of the user's code are dropped. The
user's code is every file outside of loopkit, the standard library and ``site-packages``; ``at`` names its innermost
frame, since the last frame of all is often inside of a library that was called wrongly.
"""

import logging
import sysconfig
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from traceback import FrameSummary, TracebackException
from typing import Final

from loopkit.agents.context import StageContext
from loopkit.agents.error_text import clean_text, describe_error, printable
from loopkit.agents.secret_values import without_secrets
from loopkit.errors import StageError, StageFailed

__all__ = ["MAX_TRACEBACK_BYTES", "describe_with_place", "error_details", "log_stage_error", "raised_by_stage"]

logger = logging.getLogger("loopkit.agents")

MAX_TRACEBACK_BYTES: Final = 16 * 1024
"""Longest traceback that is kept; of a longer one the end."""

_CUT: Final = "[cut]\n"

_PACKAGES: Final = ("site-packages", "dist-packages")
_LOOPKIT: Final = f"{Path(__file__).parents[1]}/"
_STANDARD_LIBRARY: Final = tuple(f"{sysconfig.get_path(name)}/" for name in ("stdlib", "platstdlib"))
_GENERATED: Final = ("<frozen ", "<attrs generated ")


def raised_by_stage(error: BaseException) -> BaseException | None:
    """Return the exception of a stage behind ``error``: itself, or the cause of an error that loopkit made of it.

    None for a failure without an exception of the stage's, such as a timeout or an output that cannot be stored.
    """
    if not isinstance(error, StageError) or _place(error) is not None:
        return error
    return error.__cause__


def error_details(error: BaseException) -> Mapping[str, str]:
    """Return ``exception``, ``traceback`` and, where the user's code is in it, ``at`` of an exception as text."""
    details = {"exception": _type_name(error)}
    with suppress(Exception):  # formatting runs the user's code: messages, notes, module loaders
        details["traceback"] = _traceback(error)
        if place := _place(error):
            details["at"] = clean_text(without_secrets(place))
    return details


def describe_with_place(error: BaseException) -> str:
    """Return a short text for an exception, with file and line of the user's code where it was raised."""
    text, place = describe_error(error), _place(error)
    if place is None or isinstance(error, SyntaxError | StageError):  # they name their own place
        return text
    return f"{text} ({clean_text(without_secrets(place))})"


def log_stage_error(error: BaseException, details: Mapping[str, str], context: StageContext, message: str) -> None:
    """Write a log record at WARNING with the exception of a stage; its text is the traceback of ``details``."""
    if not logger.isEnabledFor(logging.WARNING):
        return
    text = f"{context.stage.key} of run {context.run_id} (agent {context.agent_name}) failed: {message}"
    extra = {"run": context.run_id, "agent": context.agent_name, "stage": context.stage.value, **details}
    shown = _without_secret_message(error)
    exc_info = (type(shown), shown, shown.__traceback__)
    record = logger.makeRecord(logger.name, logging.WARNING, __file__, 0, text, (), exc_info, extra=extra)
    record.exc_text = details.get("traceback")  # what formatters write in place of the whole traceback
    logger.handle(record)


def _without_secret_message(error: BaseException) -> BaseException:
    """Return the exception to hand to log handlers: another one with the same traceback where it holds a secret."""
    whole = "".join(traceback.format_exception(error))
    if without_secrets(whole) == whole:
        return error
    return StageFailed(describe_error(error)).with_traceback(error.__traceback__)


def _traceback(error: BaseException) -> str:
    formatted = TracebackException.from_exception(error)
    for part in _chain(formatted):
        part.stack[:] = _relevant_frames(part.stack)
    text = without_secrets("".join(formatted.format()))
    data = printable(text[-2 * MAX_TRACEBACK_BYTES :]).encode()
    if len(data) <= MAX_TRACEBACK_BYTES:
        return data.decode()
    return _CUT + data[len(_CUT) - MAX_TRACEBACK_BYTES :].decode(errors="ignore")


def _chain(error: TracebackException) -> Iterator[TracebackException]:
    """Yield a formatted exception with its causes and, of groups, its members."""
    waiting, seen = [error], set[int]()
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        waiting += [other for other in (part.__cause__, part.__context__) if other is not None]
        waiting += part.exceptions or []


def _relevant_frames(frames: Sequence[FrameSummary]) -> Sequence[FrameSummary]:
    """Return the frames from the user's first one on; of an error without any those from the first library on."""
    for is_relevant in (_is_users, _is_library):
        for number, frame in enumerate(frames):
            if is_relevant(frame.filename):
                return frames[number:]
    return ()


def _place(error: BaseException) -> str | None:
    """Return ``file.py:12`` of the innermost frame of the user's code, or None."""
    places = [
        f"{Path(frame.f_code.co_filename).name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if _is_users(frame.f_code.co_filename)
    ]
    if places:
        return places[-1]
    if isinstance(error, SyntaxError) and error.filename and _is_users(error.filename):
        return f"{Path(error.filename).name}:{error.lineno}"
    return None


def _is_users(filename: str) -> bool:
    return not (_is_loopkits(filename) or _is_standard(filename) or _is_installed(filename))


def _is_library(filename: str) -> bool:
    return _is_installed(filename) and not _is_loopkits(filename)


def _is_loopkits(filename: str) -> bool:
    return filename.startswith(_LOOPKIT)


def _is_installed(filename: str) -> bool:
    return any(part in _PACKAGES for part in Path(filename).parts)


def _is_standard(filename: str) -> bool:
    return filename.startswith(_GENERATED) or (filename.startswith(_STANDARD_LIBRARY) and not _is_installed(filename))


def _type_name(error: BaseException) -> str:
    """Return the qualified name of an exception's type, without the module for one of Python's own."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
