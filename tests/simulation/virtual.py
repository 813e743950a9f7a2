"""An asyncio event loop whose time is a number: sleeping costs nothing, and the same calls give the same order."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

import anyio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MOST_TURNS = 100_000
"""More turns of the loop than any schedule takes."""


class Stuck(Exception):
    """Every task waits for something that nobody will ever do, or they go round for ever."""


class _Waiter(selectors.SelectSelector):
    """Instead of waiting for time to pass it lets time pass; nothing ever comes from outside."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.turns += 1
        if timeout is None or self.loop.turns == MOST_TURNS:
            raise Stuck
        self.loop.elapsed += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock stands still while code runs, and jumps to the next timer when none can."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.turns = 0
        waiter = _Waiter()
        waiter.loop = self
        super().__init__(waiter)

    def time(self) -> float:
        return self.elapsed

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """There is one thread, so nobody has to be woken."""
        return self.call_soon(callback, *args, context=context)


def run_virtually(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run ``main`` to its end in virtual time.

    Raises:
        Stuck: it waits for ever.
    """
    return anyio.run(main, *args, backend="asyncio", backend_options={"loop_factory": VirtualLoop})
