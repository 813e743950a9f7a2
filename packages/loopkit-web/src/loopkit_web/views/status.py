"""The status of a run as the pages show it: a shape, a word, a colour. One function for the list and the run's page."""

import attrs

from loopkit.core.run import Run, RunStatus

__all__ = ["Status", "kind_of", "status_of"]


@attrs.frozen(kw_only=True)
class Status:
    """One status."""

    kind: str
    """Which shape: ``queued``, ``running``, ``stalled``, ``cancelling``, ``passed``, ``failed``, ``cancelled``."""
    words: str
    attempt: int
    of: int


def kind_of(run: Run) -> str:
    """Give which shape a run has."""
    if run.stalled:
        return "stalled"
    if run.status is RunStatus.RUNNING and run.cancel_requested_at is not None:
        return "cancelling"
    return run.status.value


def status_of(run: Run) -> Status:
    """Give a run's status."""
    return Status(kind=kind_of(run), words=run.headline, attempt=run.current_attempt, of=run.max_attempts)
