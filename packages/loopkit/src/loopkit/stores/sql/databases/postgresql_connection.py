"""Connections of psycopg that do not wait for ever: a server that falls silent is given up after a limit of our own.

TCP notices a machine that is gone, but not a proxy or a pooler that acknowledges every packet and passes nothing on.
What counts is silence, not the time of a statement: as long as bytes move, in either direction, a slow line may take
as long as it needs.
"""

import time
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import PQGen

__all__ = ["LONG_SILENCE_SECONDS", "SILENCE_SECONDS", "LimitedConnection"]

T = TypeVar("T")

SILENCE_SECONDS: Final = 60.0
"""Longest silence of a server, in a statement that has no time limit on the server or one of 30 s."""

LONG_SILENCE_SECONDS: Final = 3600.0
"""Longest silence in migrations and in checks of a whole database."""

_CHECK_SECONDS: Final = 0.1


class LimitedConnection(psycopg.Connection[Any]):
    """A connection that is closed, with an OperationalError, when no byte has moved for ``silence_seconds``."""

    silence_seconds: float = SILENCE_SECONDS
    """Longest time during which no byte may move while a statement is sent, performed or answered."""

    def wait(self, gen: PQGen[T], interval: float = _CHECK_SECONDS, timeout: float | None = None) -> T:
        if timeout is None:  # psycopg 3.3.0 has no such parameter, and asks for none
            return super().wait(self._limited(gen), interval)
        return super().wait(self._limited(gen), interval, timeout)

    def _limited(self, gen: PQGen[T]) -> PQGen[T]:
        """Pass on what the socket is ready for, and close the connection once it has been ready for nothing too long.

        Raises:
            OperationalError: the server is silent.
        """
        try:
            awaited = next(gen)
            moved_at = time.monotonic()
            while True:
                ready = yield awaited
                if ready:
                    moved_at = time.monotonic()
                elif time.monotonic() - moved_at > self.silence_seconds:
                    self.close()
                    raise psycopg.OperationalError(
                        f"the server has sent and taken nothing for {self.silence_seconds:.0f} s"
                    )
                awaited = gen.send(ready)
        except StopIteration as stop:
            result: T = stop.value
            return result
