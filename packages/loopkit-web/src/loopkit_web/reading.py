"""What a client sends, read strictly and within bounds: queries, JSON bodies and forms.

All faults are told at once, each with its JSON pointer; nothing is guessed, dropped or repeated back. What a body may
hold is one JSON Schema, the one that the OpenAPI document shows.
"""

import functools
import json
import math
import re
import types
import typing
from collections.abc import Hashable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Final, NoReturn, cast
from urllib.parse import parse_qsl

import anyio
import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override
from starlette.requests import Request
from starlette.types import Receive

from loopkit import wire
from loopkit.core import plain
from loopkit.core.inputs import InputsSchema
from loopkit.errors import Fault
from loopkit_web import schema
from loopkit_web.problems import Refused
from loopkit_web.routing import Form

__all__ = ["content", "document", "faults", "form", "query", "structured"]

_MAX_FIELDS: Final = 2_000
_MAX_DEPTH: Final = plain.MAX_DEPTH + 8
_MAX_ITEMS: Final = 200_000
# A string that never ends is one token as well, so that the time grows with the length alone.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]|,', re.DOTALL)


# --- Queries -----------------------------------------------------------------------------------------------------


def query(cls: type[Any], raw: bytes, *, known_only: bool = True) -> Any:
    """Read a query string into its class. A parameter without a value counts as left out.

    Raises:
        Refused: parameters that are unknown (unless not ``known_only``), doubled, of another type or out of bounds.
    """
    found: list[Fault] = []
    values: dict[str, Any] = {}
    hints = typing.get_type_hints(cls)
    known = schema.fields(cls)
    for name, text in _pairs(raw):
        if name not in known:
            if known_only:
                found.append(Fault(_pointer(name), "is not a parameter of this address"))
        elif name in values:
            found.append(Fault(_pointer(name), "is there more than once"))
        elif text:
            try:
                values[name] = _value(text, hints[known[name].name])
            except ValueError as error:
                found.append(Fault(_pointer(name), str(error)))
    found += faults(cls, values) if not found else []
    if found:
        raise Refused("bad-query", faults=found)
    return structured(cls, values)


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Refused("bad-query", "The query is not percent-encoded UTF-8, or has too many parameters.") from None
    if any("\0" in name or "\0" in text for name, text in pairs):
        raise Refused("bad-query", "The query holds a NUL character.")
    return pairs


def _value(text: str, kind: Any) -> Any:
    """Read a parameter's text as JSON of its type.

    Raises:
        ValueError: it is none; the message says what it should be.
    """
    kinds = [arg for arg in typing.get_args(kind) if arg is not types.NoneType] or [kind]
    if isinstance(origin := typing.get_origin(kind), type) and issubclass(origin, AbstractSet):
        return text.split(",")
    if kinds == [int]:
        if not re.fullmatch(r"[+-]?[0-9]{1,400}", text):
            raise ValueError("is not a whole number")
        return int(text)
    if kinds == [bool]:
        if text not in ("true", "false"):
            raise ValueError("is neither true nor false")
        return text == "true"
    if kinds == [datetime]:
        try:
            return wire.instant(wire.parse_instant(text))
        except (ValueError, OverflowError):
            raise ValueError("is not a time such as 2026-11-22T09:30:00Z") from None
    return text


# --- Bodies ------------------------------------------------------------------------------------------------------


async def content(request: Request, *, media_type: str, max_bytes: int, seconds: float) -> bytes:
    """Read a body of one media type, as it comes in and never more of it than ``max_bytes``.

    Raises:
        Refused: it has another type or encoding, is larger, or takes longer.
    """
    given, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if given.strip().lower() != media_type or charset not in ("", "charset=utf-8"):
        raise Refused("wrong-type", f"Send {media_type} in UTF-8.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refused("wrong-type", "Send the body without a content encoding.")
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or len(length) > 15 or int(length) > max_bytes:
        raise _too_large(max_bytes)
    try:
        with anyio.fail_after(seconds):
            return await _read(request.receive, max_bytes)
    except TimeoutError:
        raise Refused("too-slow", headers={"Connection": "close"}) from None


async def _read(receive: Receive, max_bytes: int) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused("bad-body", "The body ended early.")
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        more = message.get("more_body", False)
    return bytes(body)


def _too_large(max_bytes: int) -> Refused:
    return Refused("too-large", f"Send at most {max_bytes} bytes.", headers={"Connection": "close"})


def form(body: bytes) -> Form:
    """Read a form as browsers send it.

    Raises:
        Refused: it is none, or holds what cannot be stored.
    """
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Refused("bad-body", "The body is not a form in UTF-8, or has too many fields.") from None
    found = [Fault(_pointer(name), detail) for name, value in pairs if (detail := plain.text_fault(name + value))]
    if found:
        raise Refused("invalid", faults=found)
    return Form(fields=tuple(pairs))


def document(body: bytes) -> Any:
    """Read JSON: UTF-8, no NaN or infinity, no key twice, bounded in depth and items.

    Raises:
        Refused: it is no such JSON.
    """
    depth = items = 0
    for token in _TOKEN.finditer(body):
        first = token.group()[0]
        depth += (first in b"[{") - (first in b"]}")
        items += first == ord(",")
        if depth > _MAX_DEPTH or items > _MAX_ITEMS:
            raise Refused("bad-body", f"The body is nested more than {_MAX_DEPTH} deep or has too many items.")
    try:
        return json.loads(
            body.decode(), parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_without_doubles
        )
    except ValueError as error:
        named = str(error) if isinstance(error, _Unwanted) else "it does not parse"
        raise Refused("bad-body", f"The body is not JSON as loopkit takes it: {named}.") from None


class _Unwanted(ValueError):
    """JSON that could be parsed and is not taken; the message never repeats what was sent."""


def _refuse(constant: str) -> NoReturn:
    raise _Unwanted(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Unwanted("a number is too large")
    return number


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _Unwanted("an object has the same key twice")
    return values


# --- Classes -----------------------------------------------------------------------------------------------------


@functools.cache
def _schema(cls: Hashable) -> InputsSchema:
    return InputsSchema(schema.Reflector().accepted(cast(type, cls)))


def faults(cls: type[Any], value: Any) -> Sequence[Fault]:
    """Find everything that keeps a JSON value from being of this class."""
    return _schema(cast(Hashable, cls)).faults(value)


def structured(cls: type[Any], value: Mapping[str, Any]) -> Any:
    """Make the class of a JSON value that has no faults."""
    return _CONVERTER.structure(value, cls)


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter()
    converter.register_structure_hook(datetime, lambda text, _: wire.parse_instant(text))

    def renamed(cls: type[Any]) -> Any:
        names: dict[str, Any] = {field.name: override(rename=wire.camel(field.name)) for field in attrs.fields(cls)}
        return make_dict_structure_fn(cls, converter, **names)

    converter.register_structure_hook_factory(attrs.has, renamed)
    return converter


_CONVERTER: Final = _make_converter()
