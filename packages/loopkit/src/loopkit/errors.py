"""Every error that loopkit raises on purpose. Families say who must act; leaves say what happened.

This module imports nothing of loopkit. Exit statuses and HTTP codes are chosen by the edges, never here.
"""

from collections.abc import Iterable, Sequence


class LoopkitError(Exception):
    """The root: everything that loopkit raises on purpose."""


class UsageError(LoopkitError):
    """The caller asked for something that can never work as it was asked."""


class NotFoundError(LoopkitError):
    """The thing named does not exist."""


class ConflictError(LoopkitError):
    """The thing exists, and its state does not allow what was asked."""


class StageError(LoopkitError):
    """A stage of an agent did not give a usable result. It is never a score."""


class StorageError(LoopkitError):
    """The store could not do its work."""


class UnknownAgent(UsageError):
    """No agent of that name is configured."""

    def __init__(self, name: str, known: Iterable[str] = (), source: str | None = None) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        self.source = source
        place = f" in {source}" if source else ""
        names = ", ".join(self.known) or "none"
        super().__init__(f"there is no agent {name!r}{place}; it has: {names}")


class Fault:
    """One thing wrong with a value: a JSON pointer to the place and a sentence about it."""

    __slots__ = ("detail", "pointer")

    def __init__(self, pointer: str, detail: str) -> None:
        self.pointer = pointer
        """RFC 6901 pointer from the top of the inputs, e.g. ``/thesis``; ``""`` is the whole document."""
        self.detail = detail

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Fault):
            return NotImplemented
        return (self.pointer, self.detail) == (other.pointer, other.detail)

    def __hash__(self) -> int:
        return hash((self.pointer, self.detail))

    def __repr__(self) -> str:
        return f"Fault({self.pointer!r}, {self.detail!r})"

    def __str__(self) -> str:
        return f"{self.pointer or '(inputs)'}: {self.detail}"


class InvalidInputs(UsageError):
    """The inputs do not fit the agent's JSON Schema, or are not plain JSON."""

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
        """1-based, or None where the fault has no line."""
        self.key = key
        """Dotted path of the key, e.g. ``agents.hello.produce``."""
        place = file or ""
        if line is not None:
            place += f":{line}"
        parts = [part for part in (place, key) if part]
        super().__init__(": ".join([*parts, reason]))


class InvalidDatabase(UsageError):
    """The database URL names nothing that loopkit can open."""


class UnusableOption(UsageError):
    """An option or argument has a value that cannot work."""


class RunNotFound(NotFoundError):
    """No run has that id."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"there is no run {run_id!r}")


class RunEnded(ConflictError):
    """The run has ended, so it cannot be cancelled any more."""

    def __init__(self, run_id: str, status: str) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(f"run {run_id} has already {status}")


class RunNotEnded(ConflictError):
    """Only an ended run can be retried."""

    def __init__(self, run_id: str, status: str) -> None:
        self.run_id = run_id
        self.status = status
        super().__init__(f"run {run_id} is {status}; only an ended run can be retried")


class RunNotClaimable(ConflictError):
    """The run is held by a live runner or has ended."""

    def __init__(self, run_id: str, why: str) -> None:
        self.run_id = run_id
        self.why = why
        super().__init__(f"run {run_id} cannot be claimed: {why}")


class LeaseLost(ConflictError):
    """Another claim of the run is newer, or the run has ended; nothing was written."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"run {run_id} is no longer held by this runner")


class KeyReused(ConflictError):
    """An idempotency key came a second time with another request."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"the idempotency key {key!r} was used before for a different request")


class IllegalTransition(LoopkitError):
    """The machine has no such cell. Raised only when loopkit itself is wrong."""

    def __init__(self, state: str, signal: str) -> None:
        self.state = state
        self.signal = signal
        super().__init__(f"{signal} is not possible in state {state}")


class StageTimedOut(StageError):
    """One try of a stage took longer than its timeout."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"timed out after {seconds:g} s")


class StageFailed(StageError):
    """A stage raised, or its program exited with a non-zero status."""


class BadScore(StageError):
    """An evaluator's answer holds no usable score in 0..1."""


class BadOutput(StageError):
    """A stage gave something that cannot be stored as text or JSON."""


class StorageUnavailable(StorageError):
    """The store gave no answer in time; the same call may be made again."""


class SchemaTooNew(StorageError):
    """A newer loopkit has changed this database so that this version must not write to it."""


class DatabaseDamaged(StorageError):
    """The database answers that its file or its tables are not usable."""
