"""Plain JSON values of the objects that stages return: models, dataclasses, named tuples, and what stands in them.

Objects are recognised by their methods and attributes; no library is imported for it. A pydantic model is asked for its
own JSON form. What JSON has no form for is refused with its place and with what to return instead.
"""

import dataclasses
import datetime as dt
import inspect
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

from loopkit.agents.error_text import kind_of
from loopkit.core import strict_json
from loopkit.errors import BadOutput

__all__ = [
    "close_unawaited",
    "fields_of",
    "finishing_hint",
    "is_named_tuple",
    "is_numpy_scalar",
    "plain_json",
    "suggestion",
]

_TEXTS: Final = (UUID, PurePath, Decimal)
_TIMES: Final = (dt.datetime, dt.date, dt.time)
_SCALARS: Final = frozenset({str, int, float, bool, type(None)})

_TEXT_ATTRIBUTES: Final = ("final_output", "output", "output_text", "content", "text", "message", "response", "raw")
"""Attributes under which the results of agent frameworks hold their text."""
_DUMP_METHODS: Final = ("to_dict", "as_dict", "toDict", "tolist", "dict")


def plain_json(value: object) -> Any:
    """Return a value as dicts, lists and scalars.

    Raises:
        BadOutput: JSON has no form for something in it; the message names the place.
    """
    return _Conversion().convert(value, "", 0)


def fields_of(value: object) -> Mapping[str, Any] | None:
    """Return the fields of a dataclass, an attrs class or a named tuple, by name and as they are; None: it is none.

    Private fields, whose names begin with an underscore, are left out, as pydantic leaves them out of models: results
    of frameworks keep the whole state of a conversation in them.
    """
    if isinstance(value, type):
        return None
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    elif isinstance(attributes := getattr(type(value), "__attrs_attrs__", None), tuple):
        names = [attribute.name for attribute in attributes]
    elif is_named_tuple(value):
        names = list(type(value)._fields)  # type: ignore[attr-defined]
    else:
        return None
    return {name: getattr(value, name) for name in names if not name.startswith("_")}


def model_dump(value: object) -> Callable[..., Any] | None:
    """Return the method of a pydantic model that dumps it, or None."""
    is_model = not isinstance(value, type) and callable(getattr(type(value), "model_dump", None))
    return value.model_dump if is_model else None  # type: ignore[attr-defined]


def is_named_tuple(value: object) -> bool:
    """Return True for an instance of a named tuple."""
    return isinstance(value, tuple) and isinstance(getattr(type(value), "_fields", None), tuple)


def is_numpy_scalar(value: object) -> bool:
    """Return True for a number, a text or a boolean of numpy; not for an array."""
    return any(kind.__name__ == "generic" and kind.__module__ == "numpy" for kind in type(value).__mro__)


def finishing_hint(value: object) -> str:
    """Return how to get the result of a value that is not one yet, as the end of a sentence that begins with ``; ``."""
    if inspect.iscoroutine(value) or inspect.isawaitable(value):
        return "; await it"
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return "; join what it yields"
    return ""


def suggestion(value: object) -> str:
    """Return what a stage should return in place of an output, as the end of a sentence that begins with ``; ``."""
    if hint := finishing_hint(value):
        return hint
    if isinstance(value, bytes | bytearray | memoryview):
        return "; decode it to text"
    if isinstance(value, dt.timedelta):
        return "; return its .total_seconds()"
    with suppress(Exception):  # an attribute may be a property that runs the user's code
        for name in _TEXT_ATTRIBUTES:
            if isinstance(getattr(value, name, None), str):
                return f"; return its .{name}"
        for name in _DUMP_METHODS:
            if not isinstance(value, type) and callable(getattr(type(value), name, None)):
                return f"; return its .{name}()"
    return ""


def close_unawaited(value: object) -> None:
    """Close a coroutine that will never be awaited, so that Python does not warn of it much later."""
    if inspect.iscoroutine(value):
        value.close()


class _Conversion:
    """Walk through a value; it ends early where the value is reached over and over and its text would be very large."""

    def __init__(self) -> None:
        self._bytes_left = strict_json.MAX_OUTPUT_BYTES

    def convert(self, value: Any, pointer: str, depth: int) -> Any:
        if type(value) in _SCALARS:
            self._bytes_left -= 1
            return value
        if depth > strict_json.MAX_DEPTH:
            raise BadOutput(_sentence(pointer, f"is nested more than {strict_json.MAX_DEPTH} deep"))
        if isinstance(value, Mapping):
            return self._mapping(value, pointer, depth)
        if isinstance(value, list | tuple) and not is_named_tuple(value):
            return self._items(value, pointer, depth)
        return self._object(value, pointer, depth)

    def _mapping(self, value: Mapping[Any, Any], pointer: str, depth: int) -> dict[str, Any]:
        self._spend(1 + len(value))
        plain = {}
        for key, item in value.items():
            if not isinstance(key, str):
                raise BadOutput(_sentence(pointer, f"has a key that is not text: {type(key).__name__}"))
            name = str.__str__(key)
            place = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            plain[name] = self.convert(item, place, depth + 1)
        return plain

    def _items(self, value: list[Any] | tuple[Any, ...], pointer: str, depth: int) -> list[Any]:
        self._spend(1 + len(value))
        return [self.convert(item, f"{pointer}/{index}", depth + 1) for index, item in enumerate(value)]

    def _object(self, value: Any, pointer: str, depth: int) -> Any:
        if (dump := model_dump(value)) is not None:
            return self.convert(dump(mode="json"), pointer, depth + 1)
        if (fields := fields_of(value)) is not None:
            return self._mapping(fields, pointer, depth)
        if isinstance(value, Set):
            return sorted(self._items(list(value), pointer, depth), key=_order)
        if isinstance(value, Enum):
            return self.convert(value.value, pointer, depth + 1)
        if is_numpy_scalar(value):
            if type(item := value.item()) is not type(value):
                return self.convert(item, pointer, depth + 1)
        elif isinstance(value, _TIMES):
            return value.isoformat()
        elif isinstance(value, _TEXTS):
            return str(value)
        elif isinstance(value, str | int | float):  # subclasses, whose own methods do not matter
            return _scalar(value)
        reason = f"is of type {type(value).__name__}, which JSON does not have{suggestion(value)}"
        close_unawaited(value)
        raise BadOutput(_sentence(pointer, reason))

    def _spend(self, count: int) -> None:
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise BadOutput(_sentence("", f"is larger than {strict_json.MAX_OUTPUT_BYTES} bytes"))


def _scalar(value: str | float) -> str | float:
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) else float.__float__(value)


def _order(item: Any) -> tuple[str, Any]:
    """Return a key by which the items of a set have the same order in every process."""
    return (kind_of(item), item) if isinstance(item, str | int | float) else ("", strict_json.dumps(item))


def _sentence(pointer: str, reason: str) -> str:
    return f"invalid output: {pointer}: {reason}" if pointer else f"invalid output: {reason}"
