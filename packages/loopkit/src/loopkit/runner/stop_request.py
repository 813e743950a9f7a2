"""Stop of a runner, requested in two steps: first at the next stage boundary, then at once."""

from collections.abc import Callable

__all__ = ["Stopping"]


class Stopping:
    """Request to stop, made in two steps by the owner of the signals, and observed by the runner.

    Both steps may be made in any thread, and from a signal handler or another callback of an event loop.
    """

    def __init__(self) -> None:
        self.asked = False
        """True: take no new work, and release each run at its next stage boundary."""
        self.ending = False
        """True: cancel the stages under way and release their runs at once."""
        self._listeners: list[Callable[[], object]] = []

    def ask(self) -> None:
        """Request a stop at the next stage boundary."""
        self.asked = True
        self._notify()

    def end(self) -> None:
        """Request that the stages under way end as well."""
        self.asked = self.ending = True
        self._notify()

    def listen(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Call ``listener`` at each step; return a function that ends this."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _notify(self) -> None:
        for listener in tuple(self._listeners):
            listener()
