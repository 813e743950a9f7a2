"""Strict JSON: the values that may be stored, checked before any transaction, and their text.

Rejected: NaN and infinities, integers beyond the range of a 64-bit float, NUL and lone surrogates in text, keys that
are not text, cycles, nesting that is too deep, too many bytes, and every type that JSON does not have.
"""

import json
import math
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Sized
from typing import Any, Final

from loopkit.errors import Fault

__all__ = [
    "MAX_DEPTH",
    "MAX_INPUTS_BYTES",
    "MAX_OUTPUT_BYTES",
    "MOST_OF_A_SMALL_VALUE",
    "copy",
    "dump_parts",
    "dumps",
    "faults",
    "finite_number",
    "is_large",
    "loads_or_text",
    "mapping",
    "size",
    "text_fault",
]

MAX_DEPTH: Final = 64
"""Levels of objects and arrays in a value that may be stored."""
MAX_INPUTS_BYTES: Final = 1 << 20
"""Size of a run's inputs as JSON text in UTF-8."""
MAX_OUTPUT_BYTES: Final = 16 << 20
"""Size of a stage's output as text in UTF-8."""

MOST_OF_A_SMALL_VALUE: Final = 5_000
"""Size of a value that is read and written in at most about 2 ms."""

_MAX_READ_DEPTH: Final = 2 * MAX_DEPTH
"""Levels in text that is read. Other programs may nest deeper than loopkit does, but the value must be safe to walk."""
_MAX_INTEGER_BITS: Final = 1024
"""Bits of an integer; with more it is beyond the range of a 64-bit float."""
_MOST_OF_FEWEST: Final = 320
"""Most bytes that a value takes for each of the fewest that it can take: an integer of 1,024 bits has 309 digits."""
_MAX_FAULTS: Final = 100
_CHARS_OF_A_PART: Final = 100
"""Characters of a text that take as long to read as a small part."""
_DUMPED_CHARS: Final = 100_000
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})
_CONTAINERS: Final = frozenset({dict, list})
_SIZED: Final = frozenset({str, dict, list, tuple})

# ``default`` is called for mappings that are not dicts. Cycles need no check: `faults` rejects them as too deep.
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":"), default=dict
)


def dumps(value: Any) -> str:
    """Return the JSON text of a value without faults: keys in their given order, no blanks, text not escaped."""
    return _ENCODER.encode(value)


def dump_parts(value: Any) -> Iterator[str]:
    """Yield :func:`dumps` of a value in parts of at least 100,000 characters but for the last."""
    parts: list[str] = []
    size = 0
    for part in _ENCODER.iterencode(value):
        parts.append(part)
        size += len(part)
        if size >= _DUMPED_CHARS:
            yield "".join(parts)
            parts, size = [], 0
    if parts:
        yield "".join(parts)


def loads_or_text(text: str) -> Any:
    """Return the value of a JSON text, or the text itself when it is not JSON or is nested too deep.

    Some programs write what JSON does not have: NaN and infinities are read as null, half a surrogate pair as U+FFFD.
    """
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return text
    if text.count("[") + text.count("{") > _MAX_READ_DEPTH and _is_deeper(value, _MAX_READ_DEPTH):
        return text
    return _without_surrogates(value) if "\\ud" in text or "\\uD" in text else value


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping as it is, and any other value as ``{"value": value}``."""
    return value if isinstance(value, Mapping) else {"value": value}


def is_large(value: Any) -> bool:
    """Return whether a JSON value has more than 5,000 parts, so that walking through it takes milliseconds."""
    return _size(value, sys.maxsize) > MOST_OF_A_SMALL_VALUE


def size(value: Any) -> int:
    """Return the number of parts of a JSON value, where 100 characters of a text are a part: what it takes to read it.

    Of a value that is not small only so much is counted that it is more than :data:`MOST_OF_A_SMALL_VALUE`.
    """
    return _size(value, _CHARS_OF_A_PART)


def _size(value: Any, chars_of_a_part: int) -> int:
    counted = 0
    pending = [value]
    while pending and counted <= MOST_OF_A_SMALL_VALUE:
        part = pending.pop()
        # Most parts are of a type that is known at once; to ask an abstract type takes ten times as long.
        if type(part) in _SCALARS:
            if type(part) is str:
                counted += len(part) // chars_of_a_part
        elif type(part) in _CONTAINERS or isinstance(part, Mapping | list | tuple):
            counted += len(part)
            if counted <= MOST_OF_A_SMALL_VALUE:
                pending.extend(part if isinstance(part, list | tuple) else part.values())
    return counted


def finite_number(value: object) -> float | None:
    """Return a number of a JSON value as a float; None for any other value, and for one that no float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        return None
    return float(value)


def copy(value: Any) -> Any:
    """Return a copy of a JSON value that shares no mapping or list with it."""
    if type(value) is dict:
        return {key: part if type(part) in _SCALARS else copy(part) for key, part in value.items()}
    if isinstance(value, Mapping):
        return {key: copy(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        # Without a call for each part, a list of 3,000,000 numbers takes 0.15 s in place of 2.5 s.
        return [part if type(part) in _SCALARS else copy(part) for part in value]
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


def _without_surrogates(value: Any) -> Any:
    """Return a value with U+FFFD for halves of surrogate pairs, which cannot be encoded as UTF-8."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(part) for part in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(part) for key, part in value.items()}
    return value


def text_fault(text: str) -> str | None:
    """Return the reason why ``text`` cannot be stored, or None."""
    if text.isascii():
        return "contains a NUL character" if "\0" in text else None
    if "\0" in text:
        return "contains a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains a lone surrogate"
    return None


def faults(value: Any, *, max_bytes: int = MAX_OUTPUT_BYTES) -> list[Fault]:
    """Return why ``value`` cannot be stored as JSON, at most 100 faults; without any, :func:`dumps` succeeds."""
    walk = _Walk(max_bytes)
    _walk(value, "", 0, walk)
    if not walk.faults and _is_larger(value, max_bytes, walk.bytes_left):
        return [Fault("", f"is larger than {max_bytes} bytes")]
    return walk.faults


def _is_larger(value: Any, max_bytes: int, bytes_left: int) -> bool:
    """Return whether the text of a value is larger; ``bytes_left``: after a walk through all of it."""
    if bytes_left < 0:
        return True
    may_be = (max_bytes - bytes_left) * _MOST_OF_FEWEST > max_bytes
    return may_be and len(dumps(value).encode()) > max_bytes


class _Walk:
    """Progress of a walk through a value."""

    def __init__(self, max_bytes: int) -> None:
        self.faults: list[Fault] = []
        self.bytes_left = max_bytes
        """Bytes that are left if each value took the fewest it can. It ends walks through a value that is reached over
        and over, whose text would be very large."""


def _walk(value: Any, pointer: str, depth: int, walk: _Walk) -> None:
    # Most values are of a type that is known at once; to ask an abstract type takes ten times as long.
    is_sized = type(value) in _SIZED or (type(value) not in _SCALARS and isinstance(value, Sized))
    walk.bytes_left -= 1 + (len(value) if is_sized else 0)
    if len(walk.faults) >= _MAX_FAULTS or walk.bytes_left < 0:
        return
    detail = None if type(value) in _CONTAINERS else _scalar_fault(value)
    if detail is not None:
        walk.faults.append(Fault(pointer, detail))
    elif type(value) in _CONTAINERS or (type(value) not in _SCALARS and isinstance(value, Mapping | list | tuple)):
        if depth >= MAX_DEPTH:
            walk.faults.append(Fault(pointer, f"is nested more than {MAX_DEPTH} deep"))
        elif isinstance(value, Mapping):
            _walk_mapping(value, pointer, depth, walk)
        else:
            _walk_list(value, pointer, depth, walk)


def _walk_list(value: Sequence[Any], pointer: str, depth: int, walk: _Walk) -> None:
    if _are_sound(value, walk):
        return
    for index, item in enumerate(value):
        _walk(item, f"{pointer}/{index}", depth + 1, walk)


def _walk_mapping(value: Mapping[Any, Any], pointer: str, depth: int, walk: _Walk) -> None:
    has_sound_keys = type(value) is dict and set(map(type, value)) <= {str} and _are_texts(value)
    if has_sound_keys and _are_sound(value.values(), walk):
        walk.bytes_left -= sum(map(len, value))
        return
    for key, item in value.items():
        if not isinstance(key, str):
            walk.faults.append(Fault(pointer, f"has a key that is not text: {type(key).__name__}"))
            continue
        walk.bytes_left -= len(key)
        if fault := text_fault(key):
            walk.faults.append(Fault(pointer, f"has a key that {fault}"))
        else:
            _walk(item, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}", depth + 1, walk)


def _are_sound(values: Collection[Any], walk: _Walk) -> bool:
    """Return whether values are scalars that may be stored, and subtract what they take.

    Each kind is checked at once: a list of 380,000 numbers takes 10 ms in place of 500 ms with a call for each.
    """
    kinds = set(map(type, values))
    if not kinds <= _SCALARS:
        return False
    size = len(values)
    for kind in kinds - {bool, type(None)}:
        same = values if len(kinds) == 1 else [value for value in values if type(value) is kind]
        size += sum(map(len, same)) if kind is str else 0
        if size <= walk.bytes_left and not _SOUND[kind](same):  # before texts are joined
            return False
    walk.bytes_left -= size
    return True


def _are_texts(texts: Collection[str]) -> bool:
    return text_fault("".join(texts)) is None


def _are_numbers(numbers: Collection[int]) -> bool:
    return max(numbers) < 1 << _MAX_INTEGER_BITS and min(numbers) > -(1 << _MAX_INTEGER_BITS)


def _are_finite(numbers: Collection[float]) -> bool:
    return all(map(math.isfinite, numbers))


_SOUND: Final[Mapping[type, Callable[[Any], bool]]] = {str: _are_texts, int: _are_numbers, float: _are_finite}


def _scalar_fault(value: Any) -> str | None:
    if isinstance(value, str):
        return text_fault(value)
    if value is None or isinstance(value, bool | Mapping | list | tuple):
        return None
    if isinstance(value, int):
        return "is an integer too large for a number" if value.bit_length() > _MAX_INTEGER_BITS else None
    if isinstance(value, float):
        return None if math.isfinite(value) else "is not a finite number"
    return f"is of type {type(value).__name__}, which JSON does not have"
