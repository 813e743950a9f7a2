"""Daemon threads for code that is not async: started when needed, used again, and not waited for at exit.

A thread that hangs in a user's code cannot be ended. These threads can be left behind: neither the event loop nor the
interpreter waits for them, and what they still return is dropped.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar

import anyio

from loopkit.eventloop import EventLoop, set_async_library

__all__ = [
    "THREADS",
    "DaemonThreads",
    "call_in_thread",
    "copy_context_for_thread",
    "wait_for_result",
    "wait_until_done",
]

T = TypeVar("T")

IDLE_SECONDS: Final = 10.0
"""Time for which a thread waits for the next call before it ends."""


class _Call(NamedTuple):
    function: Callable[[], Any]
    context: Context
    future: "Future[Any]"


_Inbox = SimpleQueue[_Call]


class DaemonThreads:
    """Threads for calls, as many as there are calls under way. A forked child starts without threads."""

    def __init__(self, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self._forget_threads()

    def _forget_threads(self) -> None:
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
        inbox.put(_Call(function, copy_context_for_thread(), future))
        return future

    def _serve(self, inbox: _Inbox) -> None:
        while (call := self._next(inbox)) is not None:
            notify_caller = _perform(call)
            with self._lock:
                self._idle.append(inbox)
            # The thread is idle before the caller knows, so that a caller who calls again at once finds it.
            notify_caller()
            del call, notify_caller

    def _next(self, inbox: _Inbox) -> _Call | None:
        try:
            return inbox.get(timeout=self._idle_seconds)
        except Empty:
            with self._lock:
                if inbox in self._idle:
                    self._idle.remove(inbox)
                    return None
            return inbox.get()  # a caller has just taken this inbox: its call comes at once


def _perform(call: _Call) -> Callable[[], None]:
    """Perform the call; return a function that passes its result to the caller."""
    if not call.future.set_running_or_notify_cancel():
        return lambda: None
    try:
        result = call.context.run(call.function)
    except BaseException as error:  # noqa: BLE001  (passed on to the caller, who decides)
        return partial(call.future.set_exception, error)
    return partial(call.future.set_result, result)


def copy_context_for_thread() -> Context:
    """Return a copy of the context variables for another thread, which may run an event loop of its own."""
    context = copy_context()
    set_async_library(context, None)
    return context


async def wait_until_done(future: "Future[Any]") -> None:
    """Wait until another thread has finished ``future``, with a result or an error."""
    loop, done = EventLoop(), anyio.Event()
    future.add_done_callback(lambda _: loop.call_soon(done.set))
    await done.wait()


async def wait_for_result(future: "Future[T]") -> T:
    """Wait for a result from another thread and return it; when cancelled, cancel the call or leave it behind."""
    try:
        await wait_until_done(future)
    finally:
        future.cancel()
    return future.result()


THREADS: Final = DaemonThreads()
# Only the thread that forks lives on in the child: the idle ones are gone, and another may have held the lock.
os.register_at_fork(after_in_child=THREADS._forget_threads)


async def call_in_thread(function: Callable[[], T]) -> T:
    """Call ``function`` in a daemon thread; when cancelled, leave it behind and drop what it returns."""
    return await wait_for_result(THREADS.call(function))
