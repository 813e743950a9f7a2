"""Exit statuses: one table from outcomes to statuses. No other module chooses a status."""

import signal
from collections.abc import Mapping
from typing import Final

from loopkit.core.run import RunStatus
from loopkit.errors import (
    ConflictError,
    LeaseLost,
    LoopkitError,
    NotFoundError,
    RunNotClaimable,
    StageError,
    StorageError,
    UsageError,
)

DONE: Final = 0
REFUSED: Final = 1
"""Refused, not found, or ``verify`` found a violation."""
USAGE: Final = 2
"""Bad usage, configuration, database or inputs, or an unknown agent."""
NOT_CLAIMED: Final = 3
"""The run could not be claimed, or was lost to another runner."""
CANCELLED: Final = 4

OF_RUN: Final[Mapping[RunStatus, int]] = {
    RunStatus.PASSED: DONE,
    RunStatus.FAILED: REFUSED,
    RunStatus.CANCELLED: CANCELLED,
}
"""Status of ``run`` by the status of the run that it worked."""

OF_ERROR: Final[Mapping[type[BaseException], int]] = {
    UsageError: USAGE,
    StorageError: USAGE,
    NotFoundError: REFUSED,
    RunNotClaimable: NOT_CLAIMED,
    LeaseLost: NOT_CLAIMED,
    ConflictError: REFUSED,
    StageError: REFUSED,
    LoopkitError: REFUSED,
    OSError: REFUSED,
}
"""Status by class of error; the nearest base class of an error counts."""


class Refused(LoopkitError):
    """Request that would do harm; nothing was changed."""


def of_error(error: BaseException) -> int:
    """Return the exit status of an error of one of the families in :data:`OF_ERROR`."""
    return next(OF_ERROR[cls] for cls in type(error).__mro__ if cls in OF_ERROR)


def of_signal(number: int) -> int:
    """Return the exit status of a command that a signal ended, as shells count it."""
    return 128 + number


INTERRUPTED: Final = of_signal(signal.SIGINT)
PIPE_CLOSED: Final = of_signal(signal.SIGPIPE)


def plain_error(error: BaseException) -> BaseException:
    """Return the error to report: the first LoopkitError of a group, else its first error; any other error as it is."""
    if isinstance(error, BaseExceptionGroup):
        leaves = [plain_error(inner) for inner in error.exceptions]
        return next((leaf for leaf in leaves if isinstance(leaf, LoopkitError)), leaves[0])
    return error
