"""Event loops for code that is not async: one for each thread that needs one, and one in the background for all.

They are kept, so that the connections of a client that a stage opened in one call still work in the next. After a fork
the child makes loops of its own and never touches those of its parent, whose sockets it shares.
"""

import asyncio
import atexit
import ctypes
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import Any, Final, TypeVar

from loopkit.agents.stages.threads import copy_context_for_thread
from loopkit.eventloop import set_async_library

__all__ = ["call_in_background", "run_in_thread_loop"]

T = TypeVar("T")

CANCEL_SECONDS: Final = 10.0
"""Time for which an interrupted call waits until its work is cancelled."""


def run_in_thread_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in the event loop of this thread, which is made by the first call and kept."""
    context = copy_context()
    set_async_library(context, "asyncio")
    return _loop_of_thread().runner.run(work, context=context)


def call_in_background(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the event loop in the background, and wait for its result; when interrupted, cancel it.

    May be called from any thread, also from one in which an event loop runs: that loop then waits as well.
    """
    loop = _background.loop()
    result: Future[T] = Future()
    tasks: list[asyncio.Task[T]] = []

    def start() -> None:
        tasks.append(loop.create_task(work))
        tasks[0].add_done_callback(partial(_pass_on, result))

    def cancel() -> None:
        tasks[0].cancel()

    loop.call_soon_threadsafe(start, context=copy_context_for_thread())
    try:
        return result.result()
    except BaseException:
        if not result.done():
            # Queued behind `start`. The future itself is not cancelled: it would be done before the work has ended.
            loop.call_soon_threadsafe(cancel)
            with suppress(CancelledError, Exception):
                result.exception(CANCEL_SECONDS)
        raise


def _pass_on(result: Future[T], task: asyncio.Task[T]) -> None:
    """Pass the outcome of the task on to the waiting thread."""
    if task.cancelled():
        result.set_exception(CancelledError())
    elif (error := task.exception()) is not None:
        result.set_exception(error)
    else:
        result.set_result(task.result())


class _ThreadLoop:
    """Event loop of one thread; it is closed with the thread."""

    def __init__(self) -> None:
        self.process = os.getpid()
        # With a factory it does not become the thread's current loop, which other libraries may set.
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)

    def __del__(self) -> None:
        if self.process == os.getpid():
            with suppress(Exception):
                self.runner.get_loop().close()


class _Background:
    """Event loop in a daemon thread, made by its first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="loopkit sync", daemon=True).start()
            return self._loop

    def forget(self) -> None:
        """Forget the loop of the parent, whose thread does not live on in a forked child."""
        if self._loop is not None:
            _leak(self._loop)
        self.__init__()  # type: ignore[misc]


_local: Final = threading.local()
_background: Final = _Background()


def _loop_of_thread() -> _ThreadLoop:
    kept: _ThreadLoop | None = getattr(_local, "loop", None)
    if kept is None:
        kept = _local.loop = _ThreadLoop()
    return kept


def _forget_loops() -> None:
    kept: _ThreadLoop | None = getattr(_local, "loop", None)
    if kept is not None:
        _leak(kept.runner.get_loop())
        del _local.loop
    _background.forget()


def _leak(loop: asyncio.AbstractEventLoop) -> None:
    """Keep a loop of the parent for ever: closing it in the child would unregister the parent's file descriptors."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(loop))


def _close_at_exit() -> None:
    kept: _ThreadLoop | None = getattr(_local, "loop", None)
    if kept is not None and kept.process == os.getpid():
        with suppress(Exception):
            kept.runner.close()


os.register_at_fork(after_in_child=_forget_loops)
atexit.register(_close_at_exit)
