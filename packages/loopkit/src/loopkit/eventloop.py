"""Event loop, of asyncio or trio: calls in it from other threads, and turns for its other tasks."""

from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from typing import Any

from anyio import RunFinishedError
from anyio.lowlevel import cancel_shielded_checkpoint, current_token

from loopkit.core import strict_json

__all__ = ["EventLoop", "Turns", "set_async_library"]


class EventLoop:
    """Event loop that runs in the thread in which this object is made."""

    def __init__(self) -> None:
        self._native: Any = current_token().native_token
        self._context = _context_of(self._native)

    def call_soon(self, function: Callable[..., object], *args: object) -> bool:
        """Schedule a call of ``function`` in the loop's thread, in order; return False if the loop has ended."""
        try:
            if isinstance(self._native, AbstractEventLoop):
                self._native.call_soon_threadsafe(function, *args, context=self._context)
            else:
                self._native.run_sync_soon(function, *args)
        except (RuntimeError, RunFinishedError):
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EventLoop) and self._native is other._native

    def __hash__(self) -> int:
        return hash(id(self._native))


class Turns:
    """Turns that a task which goes through many JSON values leaves to the others of its event loop.

    Eight runs with 0.8 MB of numbers each took 160 ms at once, and 50 ms with texts.
    """

    def __init__(self) -> None:
        self._size = 0

    async def pause_after(self, value: Any) -> None:
        """Yield if the values since the last pause are large together; a cancellation is not raised here."""
        self._size += strict_json.size(value)
        if self._size > strict_json.MOST_OF_A_SMALL_VALUE:
            self._size = 0
            await cancel_shielded_checkpoint()


def set_async_library(context: Context, name: str | None) -> None:
    """Set, in ``context``, the async library that anyio finds there; where sniffio is not installed, do nothing.

    With sniffio installed (trio, openai and litestar bring it) anyio asks it, and sniffio sees asyncio only inside of a
    task. A callback of the loop is no task: under ``asyncio.run``, uvicorn or Jupyter, where nobody has set the
    variable, a callback could not start a task or open a scope.
    """
    with suppress(ImportError):
        from sniffio import current_async_library_cvar

        context.run(current_async_library_cvar.set, name)


def _context_of(native: Any) -> Context:
    """Return the context in which callbacks run; that of a calling thread may belong to no event loop."""
    context = copy_context()
    if isinstance(native, AbstractEventLoop):
        set_async_library(context, "asyncio")
    return context
