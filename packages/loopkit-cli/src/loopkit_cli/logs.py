"""Log of the program on stderr: records of the library and of the server, as text or as JSON lines.

Commands that a person waits for show warnings as sentences. ``worker`` and ``serve`` write a line with a time for each
record from their level on: text for people, in local time, or JSON for log collectors, in UTC.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import click

from loopkit_cli import display_text, output

__all__ = ["LogFormat", "log_options", "logging_to_stderr", "write_log_lines"]

_NAMES: Final[Mapping[str, int]] = {"loopkit": 0, "loopkit_web": 0, "loopkit_cli": 0, "uvicorn": logging.WARNING}
"""Loggers that are shown, each with its lowest level: uvicorn's own lines repeat what the program says."""

_LEVELS: Final = ("debug", "info", "warning", "error")

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes that every record has; all others are fields of the event that it is about."""


class LogFormat(StrEnum):
    """Form of the log lines of ``worker`` and ``serve``."""

    TEXT = "text"
    JSON = "json"


def log_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the log to a command, as the parameters ``log_level`` and ``log_format``."""
    level = click.option(
        "--log-level",
        metavar="LEVEL",
        type=click.Choice(_LEVELS, case_sensitive=False),
        envvar="LOOPKIT_LOG_LEVEL",
        show_envvar=True,
        default="info",
        show_default=True,
        help="Lowest level of the log lines: debug, info, warning or error.",
    )
    form = click.option(
        "--log-format",
        metavar="FORMAT",
        type=click.Choice(list(LogFormat), case_sensitive=False),
        envvar="LOOPKIT_LOG_FORMAT",
        show_envvar=True,
        default=LogFormat.TEXT,
        show_default="text",
        help="text for people, in local time, or json: one object a line, in UTC.",
    )
    return level(form(function))


@contextmanager
def logging_to_stderr() -> Iterator[None]:
    """Show warnings of the library as sentences on stderr inside ``with``."""
    with _handling(_SentenceHandler(logging.WARNING), logging.WARNING):
        yield


@contextmanager
def write_log_lines(level: str, form: LogFormat, *, write: Callable[[str], None] = output.note) -> Iterator[None]:
    """Write records as log lines inside ``with``, in place of the sentences.

    Args:
        level: lowest level, in lower case.
        form: form of the lines.
        write: writes one line; a display that has a status line passes its own.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    with _handling(_LineHandler(json_line if form is LogFormat.JSON else text_line, write), number):
        yield


@contextmanager
def _handling(handler: logging.Handler, level: int) -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in _NAMES]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    for logger in loggers:
        logger.handlers[:] = [handler]
        logger.setLevel(max(level, _NAMES[logger.name]))
    try:
        yield
    finally:
        for logger, old_level, handlers in before:
            logger.setLevel(old_level)
            logger.handlers[:] = handlers


def text_line(record: logging.LogRecord) -> str:
    """Return a record as a line for people: time, level and message, and below it the traceback."""
    moment = display_text.moment(_time(record))
    line = f"{moment} {record.levelname:<7} {output.clean_line(record.getMessage())}"
    traceback = _traceback(record)
    return line if traceback is None else "\n".join([line, *display_text.indented_traceback(traceback)])


def json_line(record: logging.LogRecord) -> str:
    """Return a record as one JSON object: ``time``, ``level``, ``logger``, ``message``, and the fields of the event."""
    from loopkit import wire

    document: dict[str, Any] = {
        "time": wire.instant(_time(record)),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
    }
    document |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
    if (traceback := _traceback(record)) is not None:
        document["traceback"] = traceback
    return json.dumps(document, default=str)


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _traceback(record: logging.LogRecord) -> str | None:
    if record.exc_text is None and record.exc_info is not None and record.exc_info[0] is not None:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    return record.exc_text


class _SentenceHandler(logging.Handler):
    """Handler that writes records as sentences, without the errors of stages, which the journal shows."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != "loopkit.agents":
            output.note(f"{record.levelname.capitalize()}: {output.clean_line(record.getMessage())}")


class _LineHandler(logging.Handler):
    """Handler that writes records as lines; one that cannot be formatted is named and stops nothing."""

    def __init__(self, form: Callable[[logging.LogRecord], str], write: Callable[[str], None]) -> None:
        super().__init__()
        self._form = form
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(self._form(record))
        except Exception:  # noqa: BLE001  (a message whose arguments do not fit it, of whatever library)
            self._write(f"a record of the logger {record.name} cannot be formatted: {record.msg!r}")
