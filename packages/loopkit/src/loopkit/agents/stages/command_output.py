"""Readers of what a program writes to stdout: the result itself, or lines of JSON of which the last object holds it.

The second form is the protocol of coding tools: one JSON object a line while they work, and an object with the result
and what it cost at the end.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from loopkit.agents.error_text import clean_text, printable, without_escapes
from loopkit.core import strict_json
from loopkit.errors import BadOutput, BadScore, StageFailed

__all__ = ["JsonLines", "Output", "PrintedText", "WholeOutput"]

USAGE_KEYS: Final = ("usage", "total_cost_usd")
"""Members of the last object that say what the program's calls of models took."""

PRINTED_END_BYTES: Final = 2 * 1024
"""Most of the beginning, and of the end, of what a check printed that its feedback holds."""

KEPT_END_BYTES: Final = 64 * 1024
"""Most of the beginning, and at least that of the end, that is kept of each stream until colours are taken out."""

CUT: Final = "\n[cut]\n"

_MISSING: Final = object()


class Output(Protocol):
    """Reader of what a program writes to stdout."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            BadOutput: there are more of them than may be kept.
        """
        ...

    def output(self) -> object:
        """Return the output of a program that has ended well.

        Raises:
            StageError: it wrote none.
        """
        ...

    def evaluation(self) -> object:
        """Return the evaluation of a program that has ended well.

        Raises:
            StageError: it wrote none.
        """
        ...

    def reason(self) -> str:
        """Return what the program wrote about its failure; empty: nothing."""
        ...

    def usage(self) -> Mapping[str, Any]:
        """Return what the program reported of its calls of models."""
        ...


class WholeOutput:
    """Everything that a program writes to stdout, as its result."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> None:
        self._data += data
        _check_size(self._data)

    def output(self) -> str:
        try:
            return self._data.decode()
        except UnicodeDecodeError as error:
            raise BadOutput("invalid output: stdout is not UTF-8") from error

    def evaluation(self) -> object:
        return _parse_evaluation(bytes(self._data), "stdout")

    def reason(self) -> str:
        return ""

    def usage(self) -> Mapping[str, Any]:
        return {}


class PrintedText:
    """Text that a check prints for people: stdout, then stderr, without colours and NUL, the middle of a long one cut.

    Of each stream only a beginning and an end are kept, so that a program may print as much as it likes.
    """

    def __init__(self) -> None:
        self._streams = (_Ends(), _Ends())

    def feed(self, data: bytes) -> None:
        """Take the next bytes of stdout."""
        self._streams[0].feed(data)

    def feed_line(self, line: str) -> None:
        """Take the next line of stderr."""
        self._streams[1].feed(f"{line}\n".encode())

    def text(self) -> str:
        """Return what was printed: beyond 4 KB its first and last 2 KB."""
        texts = (without_escapes(stream.text()).replace("\0", "") for stream in self._streams)
        data = printable("\n".join(text.rstrip() for text in texts if text.strip())).encode()
        if len(data) <= 2 * PRINTED_END_BYTES:
            return data.decode()
        ends = data[:PRINTED_END_BYTES], data[-PRINTED_END_BYTES:]
        return CUT.join(end.decode(errors="ignore") for end in ends)


class _Ends:
    """Beginning and end of a stream."""

    def __init__(self) -> None:
        self._first, self._last = bytearray(), bytearray()
        self._is_cut = False

    def feed(self, data: bytes) -> None:
        room = KEPT_END_BYTES - len(self._first)
        self._first += data[:room]
        self._last += data[room:]
        if len(self._last) > 2 * KEPT_END_BYTES:
            self._is_cut = True
            del self._last[:-KEPT_END_BYTES]

    def text(self) -> str:
        parts = (self._first, self._last) if self._is_cut else (self._first + self._last,)
        return "".join(part.decode(errors="replace") for part in parts)


class JsonLines:
    """Lines of which the last JSON object holds the result.

    Args:
        on_line: called with each line that is not blank, as soon as it is complete.
        max_line_chars: longest text for ``on_line``; a longer line is cut one character after it.
        pointer: RFC 6901 pointer to the result. The last object that has this place is taken; None: ``result`` of the
            last object.
    """

    def __init__(self, on_line: Callable[[str], None], *, max_line_chars: int, pointer: str | None = None) -> None:
        self._on_line = on_line
        self._max_line_chars = max_line_chars
        self._pointer = pointer
        self._rest = bytearray()
        self._last: Mapping[str, Any] | None = None
        self._result: object = _MISSING

    def feed(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._rest += line
            _check_size(self._rest)
            self._take_line()
        self._rest += rest
        _check_size(self._rest)

    def output(self) -> object:
        self._take_line()  # the last one needs no line end
        if self._last is None:
            raise BadOutput("invalid output: stdout has no JSON object")
        if self._last.get("is_error") is True:
            raise StageFailed(": ".join(part for part in ("the program reports an error", self.reason()) if part))
        if self._result is _MISSING and self._pointer is None:
            raise BadOutput("invalid output: the last JSON object of stdout has no `result`")
        if self._result is _MISSING:
            raise BadOutput(f"invalid output: no JSON object of stdout has the place {self._pointer}")
        return self._result

    def evaluation(self) -> object:
        result = self.output()
        return _parse_evaluation(result, "the result") if isinstance(result, str) else result

    def reason(self) -> str:
        self._take_line()
        result = (self._last or {}).get("result")
        return clean_text(result) if isinstance(result, str) else ""

    def usage(self) -> Mapping[str, Any]:
        last = self._last or {}
        return {key: last[key] for key in USAGE_KEYS if last.get(key) is not None}

    def _take_line(self) -> None:
        line, self._rest = bytes(self._rest), bytearray()
        if not line.strip():
            return
        text = line.decode(errors="replace").removesuffix("\r")
        self._on_line(text[: self._max_line_chars + 1])
        try:
            value = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError):  # tools mix other texts in
            return
        if not isinstance(value, dict):
            return
        self._last = value
        if self._pointer is None:
            self._result = value.get("result", _MISSING)
        elif (result := _resolve(value, self._pointer)) is not _MISSING:
            self._result = result


def _check_size(data: bytearray) -> None:
    if len(data) > strict_json.MAX_OUTPUT_BYTES:
        raise BadOutput(f"invalid output: is larger than {strict_json.MAX_OUTPUT_BYTES} bytes")


def _parse_evaluation(text: str | bytes, name: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadScore(f"invalid evaluation: {name} is not JSON") from error


def _resolve(value: object, pointer: str) -> object:
    """Return the part of ``value`` that an RFC 6901 pointer names, or ``_MISSING``."""
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isascii() and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _MISSING
    return value
