"""Server-sent events: how a stream is kept open, bounded and ended. What goes over it is the endpoints' business.

Nothing runs where nobody listens: each stream looks at the store at its own pace, and streams that want to know the
same share one look (:meth:`Streams.look`), so a thousand listeners of a run cost as many reads as one.
"""

import json
import logging
import random
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import anyio
import anyio.lowlevel
import attrs
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from loopkit.errors import NotFoundError, StorageError
from loopkit_web.problems import Refused

__all__ = ["EventStream", "Outlet", "Streams", "message"]

T = TypeVar("T")
_MAX_LOOKS: Final = 512
_log: Final = logging.getLogger("loopkit_web")


def message(data: Any, *, id: int | None = None, event: str | None = None) -> bytes:
    """Give one server-sent message; ``data`` is JSON in one line of ASCII, so nothing in it can end the message."""
    lines = [] if id is None else [f"id: {id}"]
    if event is not None:
        lines.append(f"event: {event}")
    return "\n".join([*lines, f"data: {json.dumps(data, separators=(',', ':'))}", "", ""]).encode()


class _Look:
    """What was last read for everybody who wants to know one thing."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.value: Any = None
        self.read_at = -float("inf")


@attrs.define(kw_only=True)
class Streams:
    """The open streams of one app, and what bounds them."""

    limit: int = 200
    """Streams open at once in this app."""
    limit_per_actor: int = 16
    """Of them, those of one actor whose name is known."""
    poll_seconds: float = 0.5
    ping_seconds: float = 15.0
    lifetime_seconds: float = 600.0
    """A stream ends after that; its client comes back and is asked again who it is."""
    send_seconds: float = 30.0
    """A client that takes nothing for so long is let go."""
    stopping: bool = attrs.field(default=False, init=False)
    _open: Counter[str | None] = attrs.field(factory=Counter, init=False)
    _looks: OrderedDict[Hashable, _Look] = attrs.field(factory=OrderedDict, init=False)

    def stop(self) -> None:
        """End every open stream at its next look and open no more. May be called from a signal handler."""
        self.stopping = True

    def resume(self) -> None:
        """Let streams be opened again."""
        self.stopping = False

    @property
    def open(self) -> int:
        """How many streams are open now."""
        return self._open.total()

    @contextmanager
    def place(self, actor: str | None) -> Iterator[None]:
        """Hold one of the places.

        Raises:
            Refused: there is none left, or the app is stopping.
        """
        crowded = actor is not None and self._open[actor] >= self.limit_per_actor
        if self.stopping or crowded or self.open >= self.limit:
            raise Refused("too-many-streams", "Ask again without streaming.", headers={"Retry-After": "10"})
        self._open[actor] += 1
        try:
            yield
        finally:
            self._open[actor] -= 1
            if not self._open[actor]:
                del self._open[actor]

    async def look(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Give what ``read`` gives, or gave to another just now: at most one read of a key at a time and a poll."""
        key = (anyio.lowlevel.current_token(), key)  # a lock belongs to one event loop
        look = self._looks.setdefault(key, _Look())
        self._looks.move_to_end(key)
        if len(self._looks) > _MAX_LOOKS:
            self._looks.popitem(last=False)
        async with look.lock:
            if anyio.current_time() - look.read_at >= self.poll_seconds:
                look.value = await read()
                look.read_at = anyio.current_time()
            value: T = look.value
            return value


class Outlet:
    """Where a stream's messages go in."""

    def __init__(self, streams: Streams, send: Send) -> None:
        self._streams = streams
        self._send = send
        self._sent_at = anyio.current_time()
        self._ends_at = self._sent_at + streams.lifetime_seconds

    async def send(self, messages: Iterable[bytes]) -> None:
        """Send messages together."""
        with anyio.fail_after(self._streams.send_seconds):
            await self._send({"type": "http.response.body", "body": b"".join(messages), "more_body": True})
        self._sent_at = anyio.current_time()

    async def pause(self) -> bool:
        """Wait until it is time to look again; False when the stream is to end instead."""
        await anyio.sleep(self._streams.poll_seconds)
        now = anyio.current_time()
        if self._streams.stopping or now >= self._ends_at:
            return False
        if now - self._sent_at >= self._streams.ping_seconds:
            await self.send([b": ping\n\n"])
        return True


class EventStream(Response):
    """An answer that stays open while ``follow`` runs; it ends with the client, with the app, or with ``follow``."""

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
        """Answer. Until a place is got nothing is sent, so that a refusal can still be answered."""
        with self._streams.place(self._actor):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_gone, receive, tasks.cancel_scope, name="stream's client")
                await self._run(Outlet(self._streams, send))
                tasks.cancel_scope.cancel()
            with suppress(OSError), anyio.move_on_after(self._streams.send_seconds):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _run(self, outlet: Outlet) -> None:
        try:
            await outlet.send([f"retry: {random.randint(1000, 3000)}\n\n".encode()])
            await self._follow(outlet)
        except (NotFoundError, StorageError):
            _log.warning("a stream ended early", exc_info=True)
        except OSError:  # the client takes nothing any more; a timeout is one as well
            pass


async def _until_gone(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
