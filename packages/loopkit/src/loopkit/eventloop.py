"""Reaching an event loop from another thread, asyncio and trio alike, without waiting for it."""

from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

from anyio import RunFinishedError
from anyio.lowlevel import current_token

__all__ = ["EventLoop"]


class EventLoop:
    """The event loop that runs where this is made."""

    def __init__(self) -> None:
        self._native: Any = current_token().native_token
        self._context = copy_context()  # a caller's own context may belong to no event loop

    def call_soon(self, function: Callable[..., object], *args: object) -> bool:
        """Have ``function`` called in the loop's thread, soon and in order; False when the loop is over."""
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
