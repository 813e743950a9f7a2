"""The writer: performs batches, retries passing failures, and finds out whether a commit without an answer happened.

A plain object without a thread; its pauses and their jitter come from outside. It is used by one thread at a time.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

from loopkit.core.ids import Ids
from loopkit.errors import LoopkitError, StorageError
from loopkit.stores.sql.databases.failures import Failure, classify, driver_text, to_loopkit_error
from loopkit.stores.sql.writes.batch import Batch, Executor, batch_of
from loopkit.stores.sql.writes.requests import AnyRequest

__all__ = ["PATIENCE_SECONDS", "PAUSE_SECONDS", "Timing", "Writer", "retry"]

logger = logging.getLogger("loopkit.stores")

T = TypeVar("T")

PATIENCE_SECONDS: Final = 15.0
"""Time during which a batch is retried before its callers get StorageUnavailable."""

PAUSE_SECONDS: Final = 0.01, 1.0
"""The first pause between two tries, and the longest; each is twice the one before, less a random part."""

LOOK_UP_SECONDS: Final = 5.0
"""Time after the first lost connection in which the next try begins at least, however long the loss took to notice."""

_PASSING: Final = frozenset({Failure.PASSING, Failure.UNKNOWN})


class Timing(Protocol):
    """Time as the writer spends it."""

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        ...

    def pause(self, seconds: float) -> bool:
        """Wait; return False if the store is being closed, so that the caller stops retrying."""
        ...


class Writer:
    """Performs batches on one database through one connection."""

    def __init__(self, executor: Executor, ids: Ids, timing: Timing) -> None:
        self._executor = executor
        self._ids = ids
        self._timing = timing

    def perform(self, requests: Sequence[AnyRequest]) -> None:
        """Write the requests, each once and durably, and set the outcome of each: the rows read, or an error.

        A request that the database refuses does not fail the others: the batch is halved until that request is alone.
        """
        error = self._try(batch_of(requests))
        if error is None:
            return
        if len(requests) > 1 and classify(error) is Failure.OTHER:
            middle = len(requests) // 2
            self.perform(requests[:middle])
            self.perform(requests[middle:])
            return
        for request in requests:
            request.outcome = error

    def close(self) -> None:
        """Close the connection."""
        self._executor.close()

    def _try(self, batch: Batch) -> Exception | None:
        """Perform a batch, with retries; return the error that remains when the time for retries is over."""
        end = self._timing.monotonic() + PATIENCE_SECONDS
        pause, unknown, was_unknown = PAUSE_SECONDS[0], False, False
        while True:
            try:
                if not (unknown and self._executor.read_back(batch)):
                    unknown = False
                    self._executor.perform(batch)
                return None
            except LoopkitError as error:
                return error
            except Exception as error:  # noqa: BLE001 - each driver has errors of its own; failures.py reads them
                kind = classify(error)
                if kind is Failure.OTHER and was_unknown and not unknown:
                    # A commit that was not visible to the first read-back may be now, and refuse a second write.
                    unknown, was_unknown = True, False
                    continue
                if kind not in _PASSING:
                    return error if kind is Failure.OTHER else to_loopkit_error(error)
                if kind is Failure.UNKNOWN:
                    if not was_unknown:
                        end = max(end, self._timing.monotonic() + LOOK_UP_SECONDS)
                    unknown = was_unknown = True
                logger.info("retrying a batch: %s", error)
                if self._timing.monotonic() + pause > end or not self._timing.pause(_jittered(pause, self._ids)):
                    return to_loopkit_error(error)
                pause = min(pause * 2, PAUSE_SECONDS[1])


def retry(function: Callable[[], T], ids: Ids, timing: Timing) -> T:
    """Return the result of a function, retried after passing failures: a read, or a write that is safe to repeat.

    Raises:
        StorageError: it still fails when the time for retries is over, or the failure is a lasting one.
    """
    end = timing.monotonic() + PATIENCE_SECONDS
    pause, was_lost = PAUSE_SECONDS[0], False
    while True:
        try:
            return function()
        except LoopkitError:
            raise
        except Exception as error:
            kind = classify(error)
            if kind is Failure.OTHER:
                raise StorageError(f"the database refused a statement: {driver_text(error)}") from error
            if kind is Failure.UNKNOWN and not was_lost:
                was_lost, end = True, max(end, timing.monotonic() + LOOK_UP_SECONDS)
            if kind not in _PASSING or timing.monotonic() + pause > end or not timing.pause(_jittered(pause, ids)):
                raise to_loopkit_error(error) from error
            pause = min(pause * 2, PAUSE_SECONDS[1])


def _jittered(seconds: float, ids: Ids) -> float:
    return seconds * (0.5 + int(ids.nonce()[:8], 16) / 2**33)
