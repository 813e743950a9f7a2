"""Parsing of queries, JSON bodies and forms, strict and within fixed limits.

All faults are reported together, each with its JSON pointer. No value is guessed or dropped, and none is repeated in
a message. A body is validated with the JSON Schema that the OpenAPI document shows.
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
from loopkit.core import strict_json
from loopkit.core.inputs import InputsSchema
from loopkit.errors import Fault
from loopkit_web.http import json_schema
from loopkit_web.http.endpoint import Form
from loopkit_web.http.problems import ProblemCode, Refused

__all__ = ["find_faults", "parse_form", "parse_json", "parse_query", "read_body", "structure"]

_MAX_FIELDS: Final = 2_000
_MAX_DEPTH: Final = strict_json.MAX_DEPTH + 8
_MAX_ITEMS: Final = 1_000_000
"""More than a body of the usual limit can hold: 1 MiB has 524,288 items at most."""
# A string without an end is one token as well, so that the time is linear in the length.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]|,', re.DOTALL)


def parse_query(cls: type[Any], raw: bytes, *, known_only: bool = True) -> Any:
    """Parse a query string into its class. A parameter without a value counts as absent.

    Args:
        cls: the class, whose fields are the parameters.
        raw: the query string, percent-encoded.
        known_only: refuse unknown parameters; else they are ignored.

    Raises:
        Refused: a parameter is unknown, repeated, of another type or out of bounds.
    """
    invalid: list[Fault] = []
    values: dict[str, Any] = {}
    hints = typing.get_type_hints(cls)
    known = json_schema.fields(cls)
    repeatable = json_schema.repeatable(cls)
    for name, text in _pairs(raw):
        if name not in known:
            if known_only:
                invalid.append(Fault(_pointer(name), "is not a parameter of this endpoint"))
        elif name in repeatable:
            values[name] = [*values.get(name, []), *([text] if text else [])]
        elif name in values:
            invalid.append(Fault(_pointer(name), "is given more than once"))
        elif text:
            try:
                values[name] = _value(text, hints[known[name].name])
            except ValueError as error:
                invalid.append(Fault(_pointer(name), str(error)))
    invalid += find_faults(cls, values) if not invalid else []
    if invalid:
        raise Refused(ProblemCode.BAD_QUERY, faults=invalid)
    return structure(cls, values)


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Refused(
            ProblemCode.BAD_QUERY, "The query is not percent-encoded UTF-8, or has too many parameters."
        ) from None
    if any("\0" in name or "\0" in text for name, text in pairs):
        raise Refused(ProblemCode.BAD_QUERY, "The query contains a NUL character.")
    return pairs


def _value(text: str, kind: Any) -> Any:
    """Parse the text of a parameter into the JSON value of its type.

    Raises:
        ValueError: the text is invalid; the message says what is expected.
    """
    kinds = [arg for arg in typing.get_args(kind) if arg is not types.NoneType] or [kind]
    if isinstance(origin := typing.get_origin(kind), type) and issubclass(origin, AbstractSet):
        return text.split(",")
    if kinds == [int]:
        if not re.fullmatch(r"[+-]?[0-9]{1,400}(\.0+)?", text):  # to JSON Schema 30.0 is an integer as well
            raise ValueError("must be a whole number")
        return int(text.partition(".")[0])
    if kinds == [bool]:
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        return text == "true"
    if kinds == [datetime]:
        try:
            return wire.instant(wire.parse_instant(text))
        except (ValueError, OverflowError):
            raise ValueError("must be a time such as 2026-11-22T09:30:00Z") from None
    return text


async def read_body(request: Request, *, media_type: str, max_bytes: int, seconds: float) -> bytes:
    """Read a body of one media type, never more than ``max_bytes`` of it.

    Raises:
        Refused: it has another type or encoding, is larger, or takes more than ``seconds``.
    """
    given, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = parameters.strip().lower().replace('"', "")
    if given.strip().lower() != media_type or charset not in ("", "charset=utf-8"):
        raise Refused(ProblemCode.WRONG_TYPE, f"Send the body as {media_type} in UTF-8.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(ProblemCode.WRONG_TYPE, "Send the body without a content encoding.")
    length = request.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or len(length) > 15 or int(length) > max_bytes:
        raise _too_large(max_bytes)
    try:
        with anyio.fail_after(seconds):
            return await _read(request.receive, max_bytes)
    except TimeoutError:
        raise Refused(ProblemCode.TOO_SLOW, headers={"Connection": "close"}) from None


async def _read(receive: Receive, max_bytes: int) -> bytes:
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(ProblemCode.BAD_BODY, "The connection closed before the end of the body.")
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        more = message.get("more_body", False)
    return bytes(body)


def _too_large(max_bytes: int) -> Refused:
    return Refused(
        ProblemCode.TOO_LARGE, f"The body may have at most {max_bytes} bytes.", headers={"Connection": "close"}
    )


def parse_form(body: bytes) -> Form:
    """Parse a form as browsers send it.

    Raises:
        Refused: it is not a form, or contains text that cannot be stored.
    """
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Refused(ProblemCode.BAD_BODY, "The body is not a form in UTF-8, or has too many fields.") from None
    invalid = [
        Fault(_pointer(name), detail) for name, value in pairs if (detail := strict_json.text_fault(name + value))
    ]
    if invalid:
        raise Refused(ProblemCode.INVALID, faults=invalid)
    return Form(fields=tuple(pairs))


def parse_json(body: bytes) -> Any:
    """Parse JSON: UTF-8, no NaN or infinity, no repeated key, limited in depth and number of items.

    Raises:
        Refused: it is anything else.
    """
    depth = items = 0
    for token in _TOKEN.finditer(body):
        first = token.group()[0]
        depth += (first in b"[{") - (first in b"]}")
        items += first == ord(",")
        if depth > _MAX_DEPTH or items > _MAX_ITEMS:
            raise Refused(
                ProblemCode.BAD_BODY, f"The body is nested more than {_MAX_DEPTH} deep or has too many items."
            )
    try:
        return json.loads(
            body.decode(),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_without_repeated_keys,
        )
    except ValueError as error:
        reason = str(error) if isinstance(error, _RefusedJson) else "it cannot be parsed"
        raise Refused(ProblemCode.BAD_BODY, f"The body is not usable JSON: {reason}.") from None


class _RefusedJson(ValueError):
    """JSON that Python can parse but loopkit does not accept; the message repeats nothing of it."""


def _refuse_constant(constant: str) -> NoReturn:
    raise _RefusedJson(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _RefusedJson("a number is too large")
    return number


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _RefusedJson("an object has the same key twice")
    return values


@functools.cache
def _schema(cls: Hashable) -> InputsSchema:
    return InputsSchema(json_schema.SchemaBuilder().accepted(cast(type, cls)))


def find_faults(cls: type[Any], value: Any) -> Sequence[Fault]:
    """Return everything that is wrong with a JSON value for this class; empty if it is valid."""
    return _schema(cast(Hashable, cls)).faults(value)


def structure(cls: type[Any], value: Mapping[str, Any]) -> Any:
    """Create an instance of the class from a JSON value without faults."""
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
