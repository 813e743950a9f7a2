"""The writer: performs batches, again where trouble may pass, and finds out what became of a commit without an answer.

A plain object: it has no thread, and its pauses and their jitter come from outside. It is used by one thread at a time.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from loopkit.core.ids import Ids
from loopkit.errors import LoopkitError, StorageError
from loopkit.stores.sql.executing import Batch, Executor, batch
from loopkit.stores.sql.items import Item
from loopkit.stores.sql.troubles import Trouble, explained, trouble

logger = logging.getLogger("loopkit.stores")

T = TypeVar("T")

PATIENCE_SECONDS: Final = 15.0
"""For how long a batch is tried again before its callers are told that the store is not available."""

PAUSE_SECONDS: Final = 0.01, 1.0
"""The first pause between two tries, and the longest; each is twice the one before, less a random part."""

_PASSING: Final = frozenset({Trouble.PASSING, Trouble.UNKNOWN})


class Timing(Protocol):
    """Time as the writer spends it."""

    def monotonic(self) -> float:
        """Give seconds that never go backwards."""
        ...

    def pause(self, seconds: float) -> bool:
        """Wait; False means to give up, since the store is being closed."""
        ...


class Writer:
    """Performs batches on one database by one connection."""

    def __init__(self, executor: Executor, ids: Ids, timing: Timing) -> None:
        self._executor = executor
        self._ids = ids
        self._timing = timing

    def perform(self, items: Sequence[Item]) -> None:
        """Write the items, each once and durably, and give each its outcome: what was read, or an error.

        An item that the database refuses takes none of its neighbours with it: the batch is halved until the item is
        alone.
        """
        error = self._try(batch(items))
        if error is None:
            return
        if len(items) > 1 and trouble(error) is Trouble.OTHER:
            middle = len(items) // 2
            self.perform(items[:middle])
            self.perform(items[middle:])
            return
        for item in items:
            item.outcome = error

    def close(self) -> None:
        """Let go of the connection."""
        self._executor.close()

    def _try(self, made: Batch) -> Exception | None:
        """Perform a batch; give the error that remains when the patience is at its end."""
        end = self._timing.monotonic() + PATIENCE_SECONDS
        pause, unknown, was_unknown = PAUSE_SECONDS[0], False, False
        while True:
            try:
                if not (unknown and self._executor.find(made)):
                    unknown = False
                    self._executor.perform(made)
                return None
            except LoopkitError as error:
                return error
            except Exception as error:  # noqa: BLE001 - each driver has errors of its own; troubles.py reads them
                kind = trouble(error)
                if kind is Trouble.OTHER and was_unknown and not unknown:
                    # What was not visible before may be now, and refuse to be written twice.
                    unknown, was_unknown = True, False
                    continue
                if kind not in _PASSING:
                    return error if kind is Trouble.OTHER else explained(error)
                if kind is Trouble.UNKNOWN:
                    unknown = was_unknown = True
                logger.info("trying again: %s", error)
                if self._timing.monotonic() + pause > end or not self._timing.pause(_jittered(pause, self._ids)):
                    return explained(error)
                pause = min(pause * 2, PAUSE_SECONDS[1])


def patiently(function: Callable[[], T], ids: Ids, timing: Timing) -> T:
    """Give what a function gives that may be run again: a read, or a write that changes nothing the second time.

    Raises:
        StorageError: it fails still, or for a reason that will stay.
    """
    end = timing.monotonic() + PATIENCE_SECONDS
    pause = PAUSE_SECONDS[0]
    while True:
        try:
            return function()
        except LoopkitError:
            raise
        except Exception as error:
            kind = trouble(error)
            if kind is Trouble.OTHER:
                raise StorageError(f"the database refused: {error}") from error
            if kind not in _PASSING or timing.monotonic() + pause > end or not timing.pause(_jittered(pause, ids)):
                raise explained(error) from error
            pause = min(pause * 2, PAUSE_SECONDS[1])


def _jittered(seconds: float, ids: Ids) -> float:
    return seconds * (0.5 + int(ids.nonce()[:8], 16) / 2**33)
