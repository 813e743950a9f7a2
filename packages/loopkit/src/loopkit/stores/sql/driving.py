"""What runs the writers in production: a thread for each, started with its first item, and the way back to its caller.

The only module of the store that knows threads and event loops. A simulation puts an object of its own in the place of
:class:`Driver`: ``ask`` then performs what waits in the caller's own turn.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from loopkit.errors import StorageUnavailable
from loopkit.eventloop import EventLoop
from loopkit.stores.sql.combining import Combiner
from loopkit.stores.sql.items import Item

logger = logging.getLogger("loopkit.stores")

T = TypeVar("T")

READERS: Final = 8
"""How many reads one event loop has under way at once."""

_CLOSED: Final = "the store is closed"


class Driver(Protocol):
    """Runs the store's plain objects."""

    def lane(self, perform: Callable[[Sequence[Item]], None], close: Callable[[], None], name: str) -> "Lane":
        """Make a lane whose batches ``perform`` does, one at a time; ``close`` is called at its end."""
        ...

    def monotonic(self) -> float:
        """Give seconds that never go backwards."""
        ...

    def pause(self, seconds: float) -> bool:
        """Wait, in a lane; False means to give up, since the store is being closed."""
        ...

    async def call(self, function: Callable[[], T]) -> T:
        """Give what a function that blocks gives, without blocking the caller's event loop."""
        ...

    async def aclose(self) -> None:
        """Finish what the lanes have begun, and end them. Idempotent."""
        ...


class Lane(Protocol):
    """A queue of items, and who performs them."""

    async def ask(self, item: Item) -> Any:
        """Give the item's outcome, when it is written.

        A caller that is cancelled leaves at once. Its item is withdrawn if it still waits; else it is written, and
        :meth:`loopkit.stores.sql.items.Item.undo` says what to do about it.
        """
        ...


class Threads:
    """The driver of production."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._lanes: list[ThreadLane] = []

    def lane(self, perform: Callable[[Sequence[Item]], None], close: Callable[[], None], name: str) -> "ThreadLane":
        lane = ThreadLane(perform, close, name)
        self._lanes.append(lane)
        return lane

    def monotonic(self) -> float:
        return time.monotonic()

    def pause(self, seconds: float) -> bool:
        return not self._over.wait(seconds)

    async def call(self, function: Callable[[], T]) -> T:
        if self._over.is_set():
            raise StorageUnavailable(_CLOSED)
        return await anyio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=_readers())

    async def aclose(self) -> None:
        self._over.set()
        for lane in self._lanes:
            await anyio.to_thread.run_sync(lane.end, abandon_on_cancel=True, limiter=_readers())


_limiter: RunVar[anyio.CapacityLimiter] = RunVar("loopkit_readers")


def _readers() -> anyio.CapacityLimiter:
    """The event loop's own limit, so that a user's threads cannot keep a read waiting."""
    try:
        return _limiter.get()
    except LookupError:
        _limiter.set(limiter := anyio.CapacityLimiter(READERS))
        return limiter


class ThreadLane:
    """A thread that performs what waits, all of it together; see :class:`Lane`."""

    def __init__(self, perform: Callable[[Sequence[Item]], None], close: Callable[[], None], name: str) -> None:
        self._perform = perform
        self._close = close
        self._name = name
        self._lock = threading.Lock()
        self._combiner = Combiner()
        self._ready = threading.Event()
        self._kicker: object = None
        """The event loop that will wake the thread at the end of its turn."""
        self._thread: threading.Thread | None = None
        self._over = False

    async def ask(self, item: Item) -> Any:
        item.waiter = waiter = _waiter()
        self._hand_in(item, waiter)
        try:
            await waiter.wait()
        except BaseException:
            self._leave(item)
            raise
        return item.outcome

    def end(self) -> None:
        """Perform what waits, then end the thread; return when it has ended."""
        with self._lock:
            self._over = True
            thread = self._thread
        self._ready.set()
        if thread is not None:
            thread.join()

    def _hand_in(self, item: Item, waiter: "_Waiter") -> None:
        """Let the item wait, and wake the thread when all who run in this turn of the event loop have done the same."""
        with self._lock:
            if self._over:
                raise StorageUnavailable(_CLOSED)
            self._combiner.add(item)
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
                self._thread.start()
            kicker, self._kicker = self._kicker, self._kicker or waiter.loop
        if kicker is None:
            waiter.call_soon(self._ready.set)
        elif kicker is not waiter.loop:
            self._ready.set()

    def _leave(self, item: Item) -> None:
        with self._lock:
            waits = self._combiner.withdraw(item)
            item.left = True
            written = item.written
        if written and not waits:
            self._undo([item])

    def _main(self) -> None:
        while True:
            self._ready.wait()
            with self._lock:
                self._ready.clear()
                self._kicker = None
                items = self._combiner.take()
                if not items and self._over:
                    break
            if items:
                self._do(items)
        self._close()

    def _do(self, items: list[Item]) -> None:
        try:
            self._perform(items)
        except Exception as error:
            logger.exception("the writer goes on after an unexpected error")
            for item in items:
                item.outcome = error
        with self._lock:
            if len(self._combiner) or self._over:
                self._ready.set()
            for item in items:
                item.written = True
            left = [item for item in items if item.left]
        self._undo(left)
        _wake(items)

    def _undo(self, left: Iterable[Item]) -> None:
        undoing = [undo for item in left for undo in item.undo()]
        with self._lock:
            for item in undoing:
                self._combiner.add(item)
            if undoing:
                self._ready.set()


class _FutureWaiter:
    """A task of asyncio that waits; cheaper than :class:`_EventWaiter`, and most waiters are of this kind."""

    __slots__ = ("future", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.future = loop.create_future()

    def wait(self) -> Awaitable[None]:
        return self.future

    def wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop is closed, so nobody waits there any more
            self.loop.call_soon_threadsafe(function, *args)


class _EventWaiter:
    """A task of any event loop that waits."""

    __slots__ = ("_event", "loop")

    def __init__(self) -> None:
        self.loop = EventLoop()
        self._event = anyio.Event()

    def wait(self) -> Awaitable[None]:
        return self._event.wait()

    def wake(self) -> None:
        self._event.set()

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        self.loop.call_soon(function, *args)


_Waiter = _FutureWaiter | _EventWaiter


def _waiter() -> _Waiter:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _EventWaiter()
    return _EventWaiter() if asyncio.current_task(loop) is None else _FutureWaiter(loop)


def _wake(items: Iterable[Item]) -> None:
    """Wake everybody who waits for the items, by one call to each event loop."""
    waiting: dict[object, list[_Waiter]] = {}
    for item in items:
        if item.waiter is not None:
            waiting.setdefault(item.waiter.loop, []).append(item.waiter)
    for waiters in waiting.values():
        waiters[0].call_soon(_wake_all, waiters)


def _wake_all(waiters: Iterable[_Waiter]) -> None:
    for waiter in waiters:
        waiter.wake()
