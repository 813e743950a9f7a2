"""Server-sent events: opening, limiting, keeping alive and ending streams. Endpoints decide what is sent.

There is no background task: each open stream polls, and all streams share one read of the store a poll (see
``shared_reads``), so that a thousand listeners of as many runs cost as many queries as one.
"""

import json
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import anyio
import attrs
from anyio import to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from loopkit.errors import NotFoundError, StorageError
from loopkit_web.http.problems import ProblemCode, Refused
from loopkit_web.http.stop_signals import StopSignals

__all__ = ["EventStream", "Outlet", "Streams", "message", "message_parts"]

logger: Final = logging.getLogger("loopkit_web")

_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
_PART_BYTES: Final = 1_000_000
_MOST_SECONDS_TO_STOP: Final = 0.5
"""Longest time after which a stream between two polls sees that it must end."""


def message(data: Any, *, id: int | None = None, event: str | None = None) -> bytes:
    """Return one server-sent message; ``data`` becomes one line of ASCII JSON, which cannot end the message early."""
    lines = [] if id is None else [f"id: {id}"]
    if event is not None:
        lines.append(f"event: {event}")
    return "\n".join([*lines, f"data: {_ENCODER.encode(data)}", "", ""]).encode()


def message_parts(data: Any, *, id: int) -> Iterator[bytes]:
    """Yield :func:`message` in parts of at most a million bytes."""
    yield f"id: {id}\ndata: ".encode()
    pending: list[str] = []
    size = 0
    for text in _ENCODER.iterencode(data):
        pending.append(text)
        size += len(text)
        if size >= _PART_BYTES:
            yield from _slices("".join(pending).encode())
            pending, size = [], 0
    yield "".join([*pending, "\n\n"]).encode()


def _slices(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), _PART_BYTES):
        yield data[start : start + _PART_BYTES]


@attrs.define(kw_only=True)
class Streams:
    """Open streams of one app, and their limits."""

    limit: int = 200
    """Most streams open at once in this app."""
    limit_per_actor: int = 16
    """Most streams of one actor with a known name."""
    poll_seconds: float = 0.5
    """Interval between two reads of the store."""
    ping_seconds: float = 15.0
    """Longest time without a message; then a comment is sent, so that proxies keep the connection."""
    lifetime_seconds: float = 600.0
    """Longest time a stream stays open; its client reconnects and is authenticated again."""
    send_seconds: float = 30.0
    """Longest time for one send; after it the client is disconnected."""
    stopping: bool = attrs.field(default=False, init=False)
    interruptions: int = attrs.field(default=0, init=False)
    """Number of times that the open streams were interrupted; a stream ends when it changes."""
    _open: Counter[str | None] = attrs.field(factory=Counter, init=False)
    _signals: StopSignals = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._signals = StopSignals(self.interrupt)

    def stop(self) -> None:
        """End every open stream at its next poll and refuse new ones. May be called from a signal handler."""
        self.stopping = True

    def interrupt(self) -> None:
        """End every open stream at its next poll, but accept new ones: the process may survive the signal."""
        self.interruptions += 1

    def resume(self) -> None:
        """Allow new streams again."""
        self.stopping = False

    @property
    def open(self) -> int:
        """Number of streams open now."""
        return self._open.total()

    @contextmanager
    def admit(self, actor: str | None) -> Iterator[None]:
        """Count a stream as open during the block.

        Raises:
            Refused: the limit of the app or of the actor is reached, or the app is stopping.
        """
        actor_is_full = actor is not None and self._open[actor] >= self.limit_per_actor
        if self.stopping or actor_is_full or self.open >= self.limit:
            raise Refused(
                ProblemCode.TOO_MANY_STREAMS,
                "Retry later, or send the request without streaming.",
                headers={"Retry-After": "10"},
            )
        if not self._open:
            self._signals.observe()
        self._open[actor] += 1
        try:
            yield
        finally:
            self._open[actor] -= 1
            if not self._open[actor]:
                del self._open[actor]
            if not self._open:
                self._signals.release()


class Outlet:
    """Sending end of one stream."""

    def __init__(self, streams: Streams, send: Send) -> None:
        self._streams = streams
        self._send = send
        self._sent_at = anyio.current_time()
        self._ends_at = self._sent_at + streams.lifetime_seconds
        self._interruptions = streams.interruptions
        self._retry = f"retry: {random.randint(1000, 3000)}\n".encode()

    async def send(self, messages: Iterable[bytes]) -> None:
        """Send messages in one piece.

        Raises:
            TimeoutError: the client did not accept them within ``send_seconds``.
        """
        with anyio.fail_after(self._streams.send_seconds):
            await self._send({"type": "http.response.body", "body": self._begun(messages), "more_body": True})
        self._sent_at = anyio.current_time()

    async def send_parts(self, parts: Iterator[bytes]) -> None:
        """Send messages in parts, each of which is made in a worker thread.

        Raises:
            TimeoutError: the client did not accept one of them within ``send_seconds``.
        """
        while (part := await to_thread.run_sync(next, parts, None)) is not None:
            await self.send([part])

    def _begun(self, messages: Iterable[bytes]) -> bytes:
        """Return the messages, the first one of the stream with ``retry``.

        A block that has only ``retry`` is an event without data for some clients (httpx-sse).
        """
        body = b"".join(messages)
        if self._retry and not body.startswith(b":"):
            body, self._retry = self._retry + body, b""
        return body

    async def pause(self) -> bool:
        """Wait for the next poll; return False if the stream must end instead. Sends a ping when one is due.

        All streams poll at the same times, so that what one of them reads is new to the others as well.
        """
        now, interval = anyio.current_time(), self._streams.poll_seconds
        polls_at = (now // interval + 1) * interval if interval else now
        remaining = polls_at - now
        while True:
            await anyio.sleep(min(remaining, _MOST_SECONDS_TO_STOP))
            now = anyio.current_time()
            remaining = polls_at - now
            if self._must_end(now):
                return False
            if remaining <= 0:
                break
        if now - self._sent_at >= self._streams.ping_seconds:
            await self.send([b": ping\n\n"])
        return True

    def _must_end(self, now: float) -> bool:
        interrupted = self._streams.interruptions != self._interruptions
        return self._streams.stopping or interrupted or now >= self._ends_at


class EventStream(Response):
    """Response that stays open while ``follow`` runs, the client is connected and the app does not stop."""

    def __init__(self, streams: Streams, actor: str | None, follow: Callable[[Outlet], Awaitable[None]]) -> None:
        super().__init__(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store, no-transform",
                "X-Accel-Buffering": "no",
            }
        )
        del self.headers["content-length"]
        self._streams = streams
        self._actor = actor
        self._follow = follow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. Nothing is sent before it is admitted, so that a refusal can still be sent instead."""
        with self._streams.admit(self._actor):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_wait_for_disconnect, receive, tasks.cancel_scope, name="stream's client")
                await self._run(Outlet(self._streams, send))
                tasks.cancel_scope.cancel()
            with suppress(OSError), anyio.move_on_after(self._streams.send_seconds):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _run(self, outlet: Outlet) -> None:
        try:
            await outlet.send([b": open\n\n"])
            await self._follow(outlet)
        except (NotFoundError, StorageError):
            logger.warning("an event stream ended because of an error", exc_info=True)
        except OSError:  # the client is gone; TimeoutError is one of them
            pass


async def _wait_for_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
