"""Stopping: the first word asks for the next stage boundary, the second ends what is under way."""

from collections.abc import Callable

__all__ = ["Stopping"]


class Stopping:
    """How far a stop has been asked for. Made by whoever owns the signals, watched by whoever works runs.

    Both words are said in the event loop of those who listen.
    """

    def __init__(self) -> None:
        self.asked = False
        """True: take no new work; give runs back at their next stage boundary."""
        self.ending = False
        """True: cancel the stages under way and give their runs back at once."""
        self._listeners: list[Callable[[], None]] = []

    def ask(self) -> None:
        """Ask for a stop at the next stage boundary."""
        self.asked = True
        self._tell()

    def end(self) -> None:
        """End the stages under way as well."""
        self.asked = self.ending = True
        self._tell()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have ``listener`` called at each word; calling what is given back ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            listener()
