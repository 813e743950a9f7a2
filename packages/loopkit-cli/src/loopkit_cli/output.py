"""Output: results go to stdout, messages for people to stderr.

Text may come from a model, a stage or a row of another program, so control characters are removed: nothing may steer
the terminal. Only a file or a pipe receives the exact bytes of an artifact.
"""

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Any, Final, TextIO

import click

from loopkit_cli.exits import Refused

_BIDI: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_CONTROL: Final = [*range(0x20), *range(0x7F, 0xA0), *map(ord, _BIDI)]
_SURROGATES: Final = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_LINE_ENDS: Final = dict.fromkeys(map(ord, "\t\n\v\f\r\x85\u2028\u2029"), " ")
_IN_TEXT: Final = {**dict.fromkeys(_CONTROL), **_SURROGATES, ord("\n"): "\n", ord("\t"): "\t"}
_IN_LINE: Final = {**dict.fromkeys(_CONTROL), **_SURROGATES, **_LINE_ENDS}

_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})
"""Classes of the characters that are written from right to left, as Unicode names them."""
_LEFT_TO_RIGHT_MARK: Final = "\u200e"

MAX_LINES: Final = 200
"""Most lines of an output that are shown on a terminal."""


_reserved: Final[list[TextIO]] = []
"""Stdout of each program call under way that has reserved it, innermost last."""


def clean_text(text: str) -> str:
    """Remove control characters from a text of many lines."""
    return text.translate(_IN_TEXT)


def clean_line(text: str) -> str:
    """Return a text as one line without control characters."""
    return text.translate(_IN_LINE)


def shorten(text: str, length: int) -> str:
    """Return a line cut to ``length``, with an ellipsis when it was longer."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


@contextmanager
def stdout_reserved_for_result() -> Iterator[None]:
    """Reserve stdout for the functions of this module: inside ``with`` everything else is redirected to stderr.

    That is what stages write, and modules when they are imported, and programs that either of them starts.
    """
    sys.stdout.flush()
    real_stdout = os.dup(1)
    result = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors="backslashreplace")
    os.dup2(2, 1)
    _reserved.append(result)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _reserved.pop()
        os.dup2(real_stdout, 1)
        os.close(real_stdout)
        with suppress(OSError):  # all was flushed as it was written, or has failed already
            result.close()


def write_line(text: str) -> None:
    """Write one line of a result."""
    _write(clean_line(text))


def write_script(text: str) -> None:
    """Write a text of the program's own exactly as it is."""
    _write(text)


def write_json(document: Any) -> None:
    """Write the one JSON document of a ``--json`` result, in ASCII: independent of terminal and locale."""
    _write(json.dumps(document, indent=2))


def write_json_line(document: Any) -> None:
    """Write one JSON document as a line."""
    _write(json.dumps(document))


def write_content(text: str) -> None:
    """Write an artifact: its exact bytes to a file or a pipe; cleaned and at most MAX_LINES lines to a terminal."""
    if not _result_stream().isatty():
        _write(text.encode(), nl=False)
        return
    lines = clean_text(text).splitlines()
    _write("\n".join(lines[:MAX_LINES]))
    if len(lines) > MAX_LINES:
        note(f"({len(lines) - MAX_LINES} more lines; `artifacts RUN --save DIR` writes all of it to files)")


def write_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write rows in aligned columns, each cell in its own, also where a terminal writes it from right to left."""
    lines = [list(headings), *([clean_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    end = _end_of_direction if _result_stream().isatty() else str
    for line in lines:
        _write("  ".join(end(cell.ljust(width)) for cell, width in zip(line, widths, strict=True)).rstrip())


def _end_of_direction(cell: str) -> str:
    """Return a cell with a mark after it, if a terminal might show the number after it before it."""
    is_right_to_left = not cell.isascii() and any(unicodedata.bidirectional(c) in _RIGHT_TO_LEFT for c in cell)
    return cell + _LEFT_TO_RIGHT_MARK if is_right_to_left else cell


def note(text: str) -> None:
    """Write a message for people to stderr."""
    click.echo(clean_text(text), err=True)


def write_error(text: str) -> None:
    """Write an error message to stderr."""
    note(f"Error: {text}")


def _result_stream() -> TextIO:
    return _reserved[-1] if _reserved else sys.stdout


def _write(text: str | bytes, *, nl: bool = True) -> None:
    """Write a part of the result.

    Raises:
        BrokenPipeError: the reader of stdout is gone.
        Refused: stdout does not take it, for instance since its disk is full.
    """
    try:
        click.echo(text, file=_result_stream(), nl=nl)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Refused(f"the result cannot be written to stdout: {error.strerror or error}") from error
