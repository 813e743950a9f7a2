"""An asyncio event loop whose time is a number: sleeping costs nothing, and the same calls give the same order."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


class Stuck(Exception):
    """Every task waits for something that nobody will ever do."""


class _Waiter(selectors.SelectSelector):
    """Instead of waiting for time to pass it lets time pass."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stuck
            self.loop.elapsed += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its clock stands still while code runs, and jumps to the next timer when none can."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        waiter = _Waiter()
        waiter.loop = self
        super().__init__(waiter)

    def time(self) -> float:
        return self.elapsed


def run_virtually(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run ``main`` to its end in virtual time.

    Raises:
        Stuck: it waits for ever.
    """
    return anyio.run(main, *args, backend="asyncio", backend_options={"loop_factory": VirtualLoop})
