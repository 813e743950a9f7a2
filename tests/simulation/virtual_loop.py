"""An asyncio event loop on virtual time: sleeping costs nothing, and the same calls run in the same order."""

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
    """Deadlock or livelock: every task waits for something that never happens, or the loop never ends."""


class _Waiter(selectors.SelectSelector):
    """Selector that advances the virtual time instead of waiting; there is no input from outside."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.loop.turns += 1
        if timeout is None or self.loop.turns == MOST_TURNS:
            raise Stuck
        self.loop.elapsed += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Event loop whose clock stands still while code runs, and jumps to the next timer when all tasks wait."""

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
        """Schedule a callback; there is one thread, so nothing has to be woken."""
        return self.call_soon(callback, *args, context=context)


def run_virtually(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run ``main`` to its end in virtual time.

    Raises:
        Stuck: it waits for ever.
    """
    return anyio.run(main, *args, backend="asyncio", backend_options={"loop_factory": VirtualLoop})
