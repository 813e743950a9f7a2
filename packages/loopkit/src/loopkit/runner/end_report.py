"""Report of what became of a run when its runner is done with it: one log line, and the counters."""

import logging
from typing import Any

from loopkit.core.run import Run
from loopkit.runner.metrics import Metrics

__all__ = ["report_end"]

logger = logging.getLogger("loopkit.runner")


def report_end(run: Run, reason: str | None, *, is_lost: bool, metrics: Metrics) -> None:
    """Count and log how a run ended, or that it was released; of a lost one another runner reports the end.

    Args:
        run: the run as its runner left it.
        reason: reason of its last change, such as ``score_passed``.
        is_lost: True when another runner holds it or may hold it.
        metrics: what is counted into.
    """
    if is_lost:
        metrics.count_lost_lease(run.agent_name)
    elif run.ended:
        metrics.count_end(run, reason)
        if logger.isEnabledFor(logging.INFO):
            logger.info("%s", _sentence(run, reason), extra=_fields(run, reason))
    else:
        metrics.count_release(run.agent_name)
        if logger.isEnabledFor(logging.INFO):
            logger.info(
                "run %s of agent %s was released: %s", run.id, run.agent_name, reason, extra=_fields(run, reason)
            )


def _sentence(run: Run, reason: str | None) -> str:
    took = "" if (seconds := _seconds(run)) is None else f" after {seconds:.1f} s"
    error = "" if run.error_message is None else f": {run.error_message}"
    return f"run {run.id} of agent {run.agent_name}: {run.headline} ({reason}){took}{error}"


def _fields(run: Run, reason: str | None) -> dict[str, Any]:
    return {
        "run": run.id,
        "agent": run.agent_name,
        "status": run.status.value,
        "score": run.final_score,
        "reason": reason,
        "error": run.error_message,
        "attempts": run.current_attempt,
        "seconds": _seconds(run),
    }


def _seconds(run: Run) -> float | None:
    """Return the seconds from the start of a run to its end."""
    if run.started_at is None or run.completed_at is None:
        return None
    return (run.completed_at - run.started_at).total_seconds()
