"""Lanes: the threads of the writers. Each starts with its first request and wakes the caller's event loop when a
request is written.

The only module of the store that knows threads and event loops. A simulation replaces :class:`WriterDriver` by an
object of its own, whose lanes perform the waiting requests in the caller's own turn.

There are two kinds of waiters: a bare future of asyncio, and an event of anyio's for every other event loop. With the
event a loop through the verbs of the store takes 1.10 times the CPU time on asyncio.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol, TypeVar

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from loopkit.errors import StorageUnavailable
from loopkit.eventloop import EventLoop
from loopkit.stores.sql.databases.database import FORKED
from loopkit.stores.sql.writes.request_queue import RequestQueue
from loopkit.stores.sql.writes.requests import AnyRequest, Waiter, WriteRequest

__all__ = ["READERS", "Close", "Perform", "ThreadDriver", "ThreadLane", "WriterDriver", "WriterLane"]

logger = logging.getLogger("loopkit.stores")

T = TypeVar("T")

Perform = Callable[[Sequence[AnyRequest]], None]
"""Performs a batch: afterwards each request has its outcome."""
Close = Callable[[], None]
"""Closes what :data:`Perform` uses."""

READERS: Final = 8
"""Most reads under way at once in one event loop."""

CLOSE_SECONDS: Final = 30.0
"""Longest time that closing waits for the lanes; one whose server is silent is then left to its own limits."""

_CLOSED: Final = "the store is closed"


class WriterLane(Protocol):
    """A queue of write requests with the one who performs them."""

    async def ask(self, request: WriteRequest[T]) -> T | Exception:
        """Return the outcome of a request when it is written, or the error that it failed with.

        A caller that is cancelled leaves at once. Its request is withdrawn if it is still waiting; otherwise it is
        written, and then the requests of :meth:`loopkit.stores.sql.writes.requests.WriteRequest.undo` are as well.
        """
        ...


class WriterDriver(Protocol):
    """Environment in which the writers run: threads, time and blocking calls."""

    def lane(self, perform: Perform, close: Close, name: str) -> WriterLane:
        """Create a lane that performs one batch at a time; ``close`` is called at its end."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        ...

    def pause(self, seconds: float) -> bool:
        """Wait, in a lane; return False if the store is being closed, so that the caller stops retrying."""
        ...

    async def call(self, function: Callable[[], T]) -> T:
        """Return the result of a blocking function without blocking the caller's event loop."""
        ...

    async def aclose(self) -> None:
        """Finish what the lanes have begun, and end them. Idempotent."""
        ...


class ThreadDriver:
    """The :class:`WriterDriver` of production: one thread for each lane, worker threads for the rest."""

    def __init__(self) -> None:
        self._closing = threading.Event()
        self._lanes: list[ThreadLane] = []

    def lane(self, perform: Perform, close: Close, name: str) -> "ThreadLane":
        lane = ThreadLane(perform, close, name)
        self._lanes.append(lane)
        return lane

    def monotonic(self) -> float:
        return time.monotonic()

    def pause(self, seconds: float) -> bool:
        return not self._closing.wait(seconds)

    async def call(self, function: Callable[[], T]) -> T:
        if self._closing.is_set():
            raise StorageUnavailable(_CLOSED)
        return await anyio.to_thread.run_sync(function, abandon_on_cancel=True, limiter=_readers())

    async def aclose(self) -> None:
        self._closing.set()
        until = time.monotonic() + CLOSE_SECONDS
        for lane in self._lanes:
            end = partial(lane.end, until=until)
            await anyio.to_thread.run_sync(end, abandon_on_cancel=True, limiter=_closers())


_limiter: RunVar[anyio.CapacityLimiter] = RunVar("loopkit_readers")


def _readers() -> anyio.CapacityLimiter:
    """Return the event loop's limiter of our own, so that a user's threads cannot delay a read."""
    try:
        return _limiter.get()
    except LookupError:
        _limiter.set(limiter := anyio.CapacityLimiter(READERS))
        return limiter


def _closers() -> anyio.CapacityLimiter:
    """Return a limiter for closing, which does not wait for reads that get no answer."""
    return anyio.CapacityLimiter(1)


class ThreadLane:
    """A :class:`WriterLane` with a thread that performs all waiting requests together."""

    def __init__(self, perform: Perform, close: Close, name: str) -> None:
        self._perform = perform
        self._close = close
        self._name = name
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._queue = RequestQueue()
        self._ready = threading.Event()
        self._waking_loop: object = None
        """The event loop that will wake the thread at the end of its turn."""
        self._thread: threading.Thread | None = None
        self._closing = False

    async def ask(self, request: WriteRequest[T]) -> T | Exception:
        request.waiter = waiter = _waiter()
        self._enqueue(request, waiter)
        try:
            await waiter.wait()
        except BaseException:
            self._abandon(request)
            raise
        return request.outcome

    def end(self, *, until: float) -> None:
        """Perform the waiting requests, then end the thread; return when it has ended, or at ``until`` (monotonic)."""
        if os.getpid() != self._process:
            return  # a forked child has neither the thread nor a part in what waits
        with self._lock:
            self._closing = True
            thread = self._thread
        self._ready.set()
        if thread is not None:
            thread.join(max(until - time.monotonic(), 0))
            if thread.is_alive():
                logger.warning("closed without the %s, which still waits for the database", self._name)

    def _enqueue(self, request: AnyRequest, waiter: Waiter) -> None:
        """Add the request, and wake the thread once all tasks of this turn of the event loop could add theirs."""
        if os.getpid() != self._process:  # before the lock, which another thread may have held at the fork
            raise StorageUnavailable(FORKED)
        with self._lock:
            if self._closing:
                raise StorageUnavailable(_CLOSED)
            self._queue.add(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
                self._thread.start()
            waking_loop, self._waking_loop = self._waking_loop, self._waking_loop or waiter.loop
        if waking_loop is None:
            waiter.call_soon(self._ready.set)
        elif waking_loop is not waiter.loop:
            self._ready.set()

    def _abandon(self, request: AnyRequest) -> None:
        with self._lock:
            withdrawn = self._queue.withdraw(request)
            request.abandoned = True
            written = request.written
        if written and not withdrawn:
            self._undo([request])

    def _main(self) -> None:
        while True:
            self._ready.wait()
            with self._lock:
                self._ready.clear()
                self._waking_loop = None
                requests = self._queue.take()
                if not requests and self._closing:
                    break
            if requests:
                self._perform_batch(requests)
            del requests  # which hold rows and outputs, of many megabytes perhaps, and the next wait may be long
        self._close()

    def _perform_batch(self, requests: list[AnyRequest]) -> None:
        try:
            self._perform(requests)
        except Exception as error:
            logger.exception("the writer continues after an unexpected error")
            for request in requests:
                request.outcome = error
        with self._lock:
            if len(self._queue) or self._closing:
                self._ready.set()
            for request in requests:
                request.written = True
            abandoned = [request for request in requests if request.abandoned]
        self._undo(abandoned)
        _wake(requests)

    def _undo(self, abandoned: Iterable[AnyRequest]) -> None:
        undoing = [undo for request in abandoned for undo in request.undo()]
        with self._lock:
            for request in undoing:
                self._queue.add(request)
            if undoing:
                self._ready.set()


class _FutureWaiter:
    """A waiting task of asyncio; cheaper than :class:`_EventWaiter`, and most waiters are of this kind."""

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
        with suppress(RuntimeError):  # the loop is closed, so no task waits there any more
            self.loop.call_soon_threadsafe(function, *args)


class _EventWaiter:
    """A waiting task of any event loop."""

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


def _waiter() -> _FutureWaiter | _EventWaiter:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _EventWaiter()
    return _EventWaiter() if asyncio.current_task(loop) is None else _FutureWaiter(loop)


def _wake(requests: Iterable[AnyRequest]) -> None:
    """Wake all tasks that wait for the requests, by one call to each event loop."""
    by_loop: dict[object, list[Waiter]] = {}
    for request in requests:
        if request.waiter is not None:
            by_loop.setdefault(request.waiter.loop, []).append(request.waiter)
    for waiters in by_loop.values():
        waiters[0].call_soon(_wake_all, waiters)


def _wake_all(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        waiter.wake()
