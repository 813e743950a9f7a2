"""Request bodies that a response does not wait for, such as that of a request without permission.

A server that closes a connection with unread bytes on it resets it, and the client may lose the response that was sent
before. The response is therefore sent, then the rest of the body is read and dropped for a bounded while, and only then
does the response end.

Source: RFC 9112, section 9.6 (the lingering close).
"""

from typing import Final

import anyio
from starlette.types import Message, Receive, Scope, Send

__all__ = ["UnreadBody"]

_SECONDS: Final = 5.0
"""Longest time for which the rest of a body is read."""

_BYTES: Final = 64 << 20
"""Most bytes of the rest of a body that are read."""


class UnreadBody:
    """Part of a request's body that has not been read yet.

    Args:
        scope: the request.
        receive: the server's messages of it.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        headers = dict(scope["headers"])
        self._receive = receive
        self._is_over = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
        self._is_awaited = headers.get(b"expect", b"").lower() == b"100-continue"
        """True while the client waits for a sign before it sends the body."""

    async def receive(self) -> Message:
        """Return the next message of the request, as the server sends it."""
        self._is_awaited = False
        message = await self._receive()
        self._is_over = message["type"] == "http.disconnect" or not message.get("more_body", False)
        return message

    def sending_before(self, send: Send) -> Send:
        """Return a function that sends a response and reads the rest of the body before the response ends."""

        async def send_and_read(message: Message) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if is_last and not self._is_over and not self._is_awaited:
                await send({**message, "more_body": True})
                await self._drop()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        return send_and_read

    async def _drop(self) -> None:
        size = 0
        with anyio.move_on_after(_SECONDS):
            while not self._is_over and size < _BYTES:
                size += len((await self.receive()).get("body", b""))
