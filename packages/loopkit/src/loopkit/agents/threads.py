"""Daemon threads for what is not async: made when needed, used again, and never waited for at exit.

A thread that hangs in a user's code cannot be ended. These can be left behind: nobody waits for them, neither the
event loop nor the interpreter, and what they still give is dropped.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

import anyio

from loopkit.eventloop import EventLoop

__all__ = ["THREADS", "DaemonThreads", "context_elsewhere", "in_thread", "result_of", "settled"]

T = TypeVar("T")

IDLE_SECONDS: Final = 10.0
"""How long a thread waits for the next call before it ends."""


class _Call(NamedTuple):
    function: Callable[[], Any]
    context: Context
    future: "Future[Any]"


_Inbox = SimpleQueue[_Call]


class DaemonThreads:
    """As many threads as there are calls under way."""

    def __init__(self, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._idle: list[_Inbox] = []

    def call(self, function: Callable[[], T]) -> "Future[T]":
        """Call ``function`` in a thread, with the context variables of the caller."""
        future: Future[T] = Future()
        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is None:
            inbox = SimpleQueue()
            threading.Thread(target=self._serve, args=(inbox,), name="loopkit stage", daemon=True).start()
        inbox.put(_Call(function, context_elsewhere(), future))
        return future

    def _serve(self, inbox: _Inbox) -> None:
        while (call := self._next(inbox)) is not None:
            tell = _carry_out(call)
            with self._lock:
                self._idle.append(inbox)
            # Idle comes first, so that a caller who calls again at once finds this thread.
            tell()
            del call, tell

    def _next(self, inbox: _Inbox) -> _Call | None:
        try:
            return inbox.get(timeout=self._idle_seconds)
        except Empty:
            with self._lock:
                if inbox in self._idle:
                    self._idle.remove(inbox)
                    return None
            return inbox.get()  # taken in this very moment: its call is on the way


def _carry_out(call: _Call) -> Callable[[], None]:
    """Make the call; give what tells its caller how it went."""
    if not call.future.set_running_or_notify_cancel():
        return lambda: None
    try:
        result = call.context.run(call.function)
    except BaseException as error:  # noqa: BLE001  (carried over to the caller, who decides)
        return partial(call.future.set_exception, error)
    return partial(call.future.set_result, result)


def context_elsewhere() -> Context:
    """Copy the context variables for another thread, which is not in this event loop and may run one of its own."""
    context = copy_context()
    with suppress(ImportError):  # trio brings it, and where it is, anyio asks it
        from sniffio import current_async_library_cvar

        context.run(current_async_library_cvar.set, None)
    return context


async def settled(future: "Future[Any]") -> None:
    """Wait until another thread is done with ``future``, well or not."""
    loop, done = EventLoop(), anyio.Event()
    future.add_done_callback(lambda _: loop.call_soon(done.set))
    await done.wait()


async def result_of(future: "Future[T]") -> T:
    """Wait for what another thread makes; when cancelled, cancel it or leave it behind."""
    try:
        await settled(future)
    finally:
        future.cancel()
    return future.result()


THREADS: Final = DaemonThreads()


async def in_thread(function: Callable[[], T]) -> T:
    """Call ``function`` in a daemon thread; when cancelled, leave it behind and drop what it gives."""
    return await result_of(THREADS.call(function))
