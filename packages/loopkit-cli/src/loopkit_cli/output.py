"""stdout and stderr: results go to the one, everything said to a person beside them to the other.

Whatever is written here may come from a model, a stage or another program's row, so nothing of it may steer the
terminal: control characters never get through. Only a file or a pipe gets an artifact's bytes exactly as they are.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click

_BIDI: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_CONTROL: Final = [*range(0x20), *range(0x7F, 0xA0), *map(ord, _BIDI)]
_SURROGATES: Final = dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_LINE_ENDS: Final = dict.fromkeys(map(ord, "\t\n\v\f\r\x85\u2028\u2029"), " ")
_IN_TEXT: Final = {**dict.fromkeys(_CONTROL), **_SURROGATES, ord("\n"): "\n", ord("\t"): "\t"}
_IN_LINE: Final = {**dict.fromkeys(_CONTROL), **_SURROGATES, **_LINE_ENDS}

MAX_LINES: Final = 200
"""How much of a long output a terminal is shown."""


def clean_text(text: str) -> str:
    """Take out of a text of many lines whatever could steer a terminal."""
    return text.translate(_IN_TEXT)


def clean_line(text: str) -> str:
    """Make one line of a text, without anything that could steer a terminal."""
    return text.translate(_IN_LINE)


def shorten(text: str, length: int) -> str:
    """Cut a line to a length, with an ellipsis where something is missing."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


@contextmanager
def stdout_kept_for_the_result() -> Iterator[None]:
    """Send to stderr whatever stages, or programs that they start, write to stdout inside ``with``."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def write_line(text: str) -> None:
    """Write one line of a result."""
    click.echo(clean_line(text))


def write_json(document: Any) -> None:
    """Write the one JSON document of a ``--json`` result. It is ASCII, so no terminal or locale can spoil it."""
    click.echo(json.dumps(document, indent=2))


def write_json_line(document: Any) -> None:
    """Write one JSON document on a line of its own, at once."""
    click.echo(json.dumps(document))


def write_content(text: str) -> None:
    """Write an artifact: exactly as it is to a file or a pipe; cleaned and not too long to a terminal."""
    if not sys.stdout.isatty():
        click.echo(text.encode(), nl=False)
        return
    lines = clean_text(text).splitlines()
    click.echo("\n".join(lines[:MAX_LINES]))
    if len(lines) > MAX_LINES:
        note(f"({len(lines) - MAX_LINES} more lines; `artifacts RUN --save DIR` writes all of it to files)")


def write_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write rows in columns as wide as they need to be; the last one is left ragged."""
    lines = [list(headings), *([clean_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def note(text: str) -> None:
    """Tell a person something that is not the result."""
    click.echo(clean_text(text), err=True)


def tell_error(text: str) -> None:
    """Tell what went wrong."""
    note(f"Error: {text}")
