"""JSON responses: values of loopkit and of the API, converted and serialized in worker threads."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from anyio import to_thread
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from loopkit import wire
from loopkit.core import strict_json
from loopkit_web.http.call import VARY, Call

__all__ = ["json_parts_response", "json_response"]

_MEDIA_TYPE: Final = "application/json"
_MAX_WHOLE_BYTES: Final = 1_000_000
"""Largest response in parts that is sent as a whole."""


async def json_response(
    call: Call, value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the response with a value as JSON; 304 for a read that has not changed since the client's ETag."""
    return await to_thread.run_sync(_response, call, value, status, headers or {})


def _response(call: Call, value: Any, status: int, headers: Mapping[str, str]) -> Response:
    body = strict_json.dumps(wire.document(value)).encode()
    if status == 200 and _is_read(call):
        return _tagged(call, body, headers)
    return Response(body, status_code=status, headers=dict(headers), media_type=_MEDIA_TYPE)


def _is_read(call: Call) -> bool:
    return call.request.method in ("GET", "HEAD")


def _tagged(call: Call, body: bytes, headers: Mapping[str, str]) -> Response:
    tag = call.tag(body)
    return call.unchanged(tag) or Response(body, headers={**headers, "ETag": tag, "Vary": VARY}, media_type=_MEDIA_TYPE)


async def json_parts_response(call: Call, parts: AsyncGenerator[bytes, None], facts: tuple[Any, ...]) -> Response:
    """Return the response to a read whose JSON comes in parts.

    Up to a megabyte it is sent as :func:`json_response` does it. A larger one is streamed, without a Content-Length,
    and its ETag is that of ``facts``: what it was made of, as far as that can change.
    """
    first: list[bytes] = []
    size = 0
    async for part in parts:
        first.append(part)
        size += len(part)
        if size > _MAX_WHOLE_BYTES:
            return await _streamed(call, first, parts, facts)
    return await to_thread.run_sync(_tagged, call, b"".join(first), {})


async def _streamed(
    call: Call, first: list[bytes], rest: AsyncGenerator[bytes, None], facts: tuple[Any, ...]
) -> Response:
    tag = await to_thread.run_sync(call.tag, repr(facts))
    unchanged = call.unchanged(tag)
    if unchanged is not None or call.request.method == "HEAD":
        await rest.aclose()
    if unchanged is not None:
        return unchanged

    async def parts() -> AsyncIterator[bytes]:
        while first:
            yield first.pop(0)
        async for part in rest:
            yield part

    return _Parts(rest, parts(), headers={"ETag": tag, "Vary": VARY}, media_type=_MEDIA_TYPE)


class _Parts(StreamingResponse):
    """Streamed response that closes its source, also when the client has left."""

    def __init__(self, source: AsyncGenerator[bytes, None], parts: AsyncIterator[bytes], **options: Any) -> None:
        super().__init__(parts, **options)
        self._source = source

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._source):
            await super().stream_response(send)
