"""Plain JSON: what may be stored, checked before any transaction. No type tags, no objects, no surprises later.

Refused: NaN and infinities, integers beyond the range of a 64-bit float, NUL and lone surrogates in text, keys that
are not text, cycles, too deep nesting, too many bytes, and every type that JSON does not have.
"""

import json
import json.encoder
import math
import re
from collections.abc import Callable, Mapping, Sized
from typing import Any, Final

from loopkit.errors import Fault

MAX_DEPTH: Final = 64
MAX_INPUTS_BYTES: Final = 1 << 20
MAX_OUTPUT_BYTES: Final = 16 << 20

_MAX_READ_DEPTH: Final = 2 * MAX_DEPTH
_MAX_INTEGER_BITS: Final = 1024
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})

# Only mappings of another kind than dict are unknown to the library.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=dict)


def _made_once() -> Callable[[Any], str]:
    """Give what encodes; the library would make its C encoder anew for each value, which is most of a small one."""
    make = json.encoder.c_make_encoder  # type: ignore[attr-defined]
    if make is None:
        return _ENCODER.encode
    encode = make(None, dict, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    return lambda value: "".join(encode(value, 0))


_encode: Final = _made_once()


def dumps(value: Any) -> str:
    """Give the JSON text of a checked value, keys in their given order, no blanks, text as it is."""
    return _encode(value)


def loads(text: str) -> Any:
    """Read JSON text, whoever wrote it.

    What is not JSON, or is nested too deep, is given back as the text itself. What some programs write although JSON
    cannot say it is read as what it can: NaN and infinities as null, half a surrogate pair as U+FFFD.
    """
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return text
    if text.count("[") + text.count("{") > _MAX_READ_DEPTH and _is_deeper(value, _MAX_READ_DEPTH):
        return text
    return _whole(value) if "\\ud" in text or "\\uD" in text else value


def mapping(value: Any) -> Mapping[str, Any]:
    """Give an object as it is, and anything else as the ``value`` of one."""
    return value if isinstance(value, Mapping) else {"value": value}


def copy(value: Any) -> Any:
    """Give a copy of a plain value that shares no mapping or list with it."""
    if type(value) is dict:
        return {key: part if type(part) in _SCALARS else copy(part) for key, part in value.items()}
    if isinstance(value, Mapping):
        return {key: copy(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [copy(part) for part in value]
    return value


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


_DECODER: Final = json.JSONDecoder(parse_float=_finite, parse_constant=_finite)


def _is_deeper(value: Any, depth: int) -> bool:
    parts = [value]
    for _ in range(depth):
        nested = [part for part in parts if isinstance(part, dict | list)]
        parts = [inner for part in nested for inner in (part.values() if isinstance(part, dict) else part)]
    return any(isinstance(part, dict | list) for part in parts)


def _whole(value: Any) -> Any:
    """Give a value without halves of surrogate pairs, which no encoding takes."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(part) for part in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(part) for key, part in value.items()}
    return value


def text_fault(text: str) -> str | None:
    """Say what keeps ``text`` from being stored, or None."""
    if text.isascii():
        return "holds a NUL character" if "\0" in text else None
    if "\0" in text:
        return "holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds a lone surrogate"
    return None


def faults(value: Any, *, max_bytes: int = MAX_OUTPUT_BYTES) -> list[Fault]:
    """Find everything that keeps ``value`` from being stored as JSON; no fault means :func:`dumps` will work."""
    found = _Found(max_bytes)
    _walk(value, "", 0, found)
    if not found.faults and (found.room < 0 or len(dumps(value).encode()) > max_bytes):
        return [Fault("", f"is larger than {max_bytes} bytes")]
    return found.faults


class _Found:
    def __init__(self, room: int) -> None:
        self.faults: list[Fault] = []
        self.room = room
        """Bytes that the rest may take; counted low, however often the same value is reached."""

    def append(self, fault: Fault) -> None:
        self.faults.append(fault)


def _walk(value: Any, pointer: str, depth: int, found: _Found) -> None:
    found.room -= 1 + (len(value) if isinstance(value, Sized) else 0)
    if len(found.faults) >= 100 or found.room < 0:
        return
    detail = _scalar_fault(value)
    if detail is not None:
        found.append(Fault(pointer, detail))
    elif isinstance(value, Mapping | list | tuple):
        if depth >= MAX_DEPTH:
            found.append(Fault(pointer, f"is nested more than {MAX_DEPTH} deep"))
        elif isinstance(value, Mapping):
            _walk_mapping(value, pointer, depth, found)
        else:
            for index, item in enumerate(value):
                _walk(item, f"{pointer}/{index}", depth + 1, found)


def _walk_mapping(value: Mapping[Any, Any], pointer: str, depth: int, found: _Found) -> None:
    for key, item in value.items():
        if not isinstance(key, str):
            found.append(Fault(pointer, f"has a key that is not text: {type(key).__name__}"))
        elif fault := text_fault(key):
            found.append(Fault(pointer, f"has a key that {fault}"))
        else:
            _walk(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", depth + 1, found)


def _scalar_fault(value: Any) -> str | None:
    if isinstance(value, str):
        return text_fault(value)
    if value is None or isinstance(value, bool | Mapping | list | tuple):
        return None
    if isinstance(value, int):
        return "is an integer too large for a number" if value.bit_length() > _MAX_INTEGER_BITS else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "is not a finite number"
    return f"is a {type(value).__name__}, which JSON does not have"
