"""File in which a program reports the usage of models: a line of JSON for each call, in a folder of its own."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from loopkit.agents.context import StageContext
from loopkit.agents.usage.reported_usage import read_usage

__all__ = ["booked_usage_file"]

MAX_FILE_BYTES: Final = 4 << 20
MAX_LINES: Final = 10_000
MAX_REPORTED_FAULTS: Final = 10
"""Most lines that cannot be read of which each has a log line; the others are counted."""


@contextmanager
def booked_usage_file(context: StageContext) -> Iterator[Path]:
    """Make an empty file in a folder of its own; book what it holds afterwards, however the program ended."""
    with TemporaryDirectory(prefix="loopkit-usage-", ignore_cleanup_errors=True) as folder:
        path = Path(folder, "usage.jsonl")
        path.touch()
        try:
            yield path
        finally:
            _book(context, path)


def _book(context: StageContext, path: Path) -> None:
    """Book the calls that a program has reported; a line that cannot be read is a log line, and none is an error."""
    try:
        with path.open("rb") as file:
            # Not more than there is: a buffer of the asked size is made at once.
            content = file.read(min(os.fstat(file.fileno()).st_size, MAX_FILE_BYTES + 1))
    except OSError as error:
        context.log(f"the file of usage cannot be read: {error.strerror}")
        return
    if len(content) > MAX_FILE_BYTES:
        context.log(f"the file of usage is larger than {MAX_FILE_BYTES} bytes; the rest of it is not booked")
        content = content[:MAX_FILE_BYTES].rpartition(b"\n")[0]
    lines = content.split(b"\n")
    if len(lines) > MAX_LINES + 1:
        context.log(f"the file of usage has more than {MAX_LINES} lines; the others are not booked")
    numbered = enumerate(lines[:MAX_LINES], 1)
    faults = [fault for number, line in numbered if (fault := _book_line(context, line, number)) is not None]
    for fault in faults[:MAX_REPORTED_FAULTS]:
        context.log(fault)
    if len(faults) > MAX_REPORTED_FAULTS:
        context.log(f"{len(faults) - MAX_REPORTED_FAULTS} more lines of the file of usage cannot be booked")


def _book_line(context: StageContext, line: bytes, number: int) -> str | None:
    """Book the call of one line; return why it cannot be booked, or None."""
    if not line.strip():
        return None
    name = f"line {number} of the file of usage"
    try:
        usage = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return f"{name} is not JSON"
    try:
        context.book_usage(read_usage(usage))
    except ValueError as error:
        return f"{name} cannot be booked: it {error}"
    return None
