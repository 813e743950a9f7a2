"""Errors that loopkit raises on purpose. A family says who must act; a class in it says what happened.

Each error builds its own message and holds its data as attributes. This module imports nothing else of loopkit; exit
statuses and HTTP statuses are chosen by the command line and the web app, never here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

__all__ = [
    "BadOutput",
    "BadScore",
    "ConflictError",
    "DatabaseDamaged",
    "DatabaseMoved",
    "Fault",
    "IllegalTransition",
    "InvalidConfig",
    "InvalidDatabase",
    "InvalidInputs",
    "KeyReused",
    "LeaseLost",
    "LoopkitError",
    "NotFoundError",
    "RunCancelled",
    "RunEnded",
    "RunFailed",
    "RunNotClaimable",
    "RunNotEnded",
    "RunNotFound",
    "SchemaTooNew",
    "StageError",
    "StageFailed",
    "StageTimedOut",
    "StorageError",
    "StorageUnavailable",
    "UnknownAgent",
    "UnusableOption",
    "UsageError",
]


class LoopkitError(Exception):
    """Base class of all errors that loopkit raises on purpose."""


class UsageError(LoopkitError):
    """A request that cannot work as it was made; the caller must change it."""


class NotFoundError(LoopkitError):
    """The named run or agent does not exist."""


class ConflictError(LoopkitError):
    """The run exists, and its current state does not allow the request."""


class StageError(LoopkitError):
    """A stage of an agent returned no usable result. It is an error of the stage, never a score."""

    def __init__(
        self,
        message: str,
        *,
        is_final: bool = False,
        delay_seconds: float | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.is_final = is_final
        """True when another try cannot help, so that none is made."""
        self.delay_seconds = delay_seconds
        """Shortest time to wait before the next try; None: the usual pause."""
        self.metadata = metadata or {}
        """Values for the metadata of the event that reports the error, such as a model's ``answer``."""
        super().__init__(message)


class StorageError(LoopkitError):
    """The store could not complete a call."""


class UnknownAgent(UsageError):
    """No agent with that name is configured."""

    def __init__(self, name: str, known: Iterable[str] = (), source: str | None = None) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        self.source = source
        place = f" in {source}" if source else ""
        names = ", ".join(self.known) or "none"
        super().__init__(f"there is no agent {name!r}{place}; it has: {names}")


@attrs.frozen
class Fault:
    """Fault in a value: a JSON pointer to the place, and what is wrong there."""

    pointer: str
    """RFC 6901 pointer from the top of the inputs, e.g. ``/thesis``; ``""`` is the whole document."""
    detail: str
    """Predicate of a sentence about the value, e.g. ``is required``."""

    def __str__(self) -> str:
        return f"{self.pointer or '(inputs)'}: {self.detail}"


class InvalidInputs(UsageError):
    """The inputs do not match the agent's JSON Schema, or are not plain JSON."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("invalid inputs: " + "; ".join(str(fault) for fault in self.faults))


class InvalidConfig(UsageError):
    """A configuration file, or a value in it, cannot be used."""

    def __init__(
        self, reason: str, *, file: str | None = None, line: int | None = None, key: str | None = None
    ) -> None:
        self.reason = reason
        self.file = file
        self.line = line
        """Line number from 1, or None when the fault has no line."""
        self.key = key
        """Dotted path of the key, e.g. ``agents.hello.produce``."""
        place = file or ""
        if line is not None:
            place += f":{line}"
        parts = [part for part in (place, key) if part]
        super().__init__(": ".join([*parts, reason]))


class InvalidDatabase(UsageError):
    """The database URL cannot be opened by loopkit."""


class DatabaseMoved(InvalidDatabase):
    """The runs of the database are in another one now, or are being copied; the message names it without a password."""


class UnusableOption(UsageError):
    """An option or argument has an invalid value."""


class RunNotFound(NotFoundError):
    """No run with that id is stored."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"there is no run {run_id!r}")


class RunEnded(ConflictError):
    """The run has passed or failed, so it cannot be cancelled."""

    def __init__(self, run_id: str, status: str) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(f"run {run_id} has already {status}")


class RunNotEnded(ConflictError):
    """The run is queued or running; only an ended run can be retried."""

    def __init__(self, run_id: str, status: str) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(f"run {run_id} is {status}; only an ended run can be retried")


class RunNotClaimable(ConflictError):
    """The run cannot be claimed: a live runner holds it, or it has ended."""

    def __init__(self, run_id: str, why: str) -> None:
        self.run_id = run_id
        self.why = why
        super().__init__(f"run {run_id} cannot be claimed: {why}")


class LeaseLost(ConflictError):
    """The lease is no longer valid (a newer claim, or the run has ended); nothing was written."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} is no longer held by this runner")


class KeyReused(ConflictError):
    """An idempotency key was used before for a different request."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"the idempotency key {key!r} was used before for a different request")


class RunFailed(LoopkitError):
    """The run has failed; raised by ``Result.raise_for_status`` only."""

    def __init__(self, run_id: str, reason: str, headline: str, error: str | None, *, result: Any) -> None:
        self.run_id = run_id
        self.reason = reason
        """Reason of the end, such as ``attempts_spent`` or ``stage_error``."""
        self.result = result
        """Result of the run, a :class:`loopkit.Result`."""
        super().__init__(f"run {run_id} ended as {headline}: {error or reason}")


class RunCancelled(LoopkitError):
    """The run was cancelled; raised by ``Result.raise_for_status`` only."""

    def __init__(self, run_id: str, reason: str, *, result: Any) -> None:
        self.run_id = run_id
        self.reason = reason
        """Reason of the end, such as ``cancel_requested``."""
        self.result = result
        """Result of the run, a :class:`loopkit.Result`."""
        super().__init__(f"run {run_id} was cancelled: {reason}")


class IllegalTransition(LoopkitError):
    """The state machine has no such transition. Raised only for a bug in loopkit."""

    def __init__(self, state: str, signal: str) -> None:
        self.state = state
        self.signal = signal
        super().__init__(f"{signal} is not possible in state {state}")


class StageTimedOut(StageError):
    """A try of a stage took longer than its timeout."""

    def __init__(self, seconds: float, *, is_last: bool = False) -> None:
        """Build the error; ``is_last``: no time is left of the run's budget, so that no further try can help."""
        self.seconds = seconds
        message = f"timed out after {seconds:g} s"
        if is_last:
            message = f"timed out after {seconds:.3g} s, which were left of the budget's seconds"
        super().__init__(message, is_final=is_last)


class StageFailed(StageError):
    """A stage raised an exception, or its program exited with a non-zero status."""


class BadScore(StageError):
    """An evaluator returned no usable score in 0.0..1.0."""


class BadOutput(StageError):
    """A stage returned a value that cannot be stored as text or JSON."""


class StorageUnavailable(StorageError):
    """The store did not answer in time; the same call may be made again."""


class SchemaTooNew(StorageError):
    """The database was migrated by a newer loopkit, and this version must not write to it."""


class DatabaseDamaged(StorageError):
    """The database reports that its file or its tables are not usable."""
