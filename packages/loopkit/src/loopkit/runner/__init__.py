"""Working runs: one held run to its end, or many at once."""

from loopkit.runner.calls import Result, new_run, result_of, run, run_sync, submit, wait, work
from loopkit.runner.stopping import Stopping
from loopkit.runner.worker import HEARTBEAT, Runner, RunnerStatus, check_heartbeat, claimant

__all__ = [
    "HEARTBEAT",
    "Result",
    "Runner",
    "RunnerStatus",
    "Stopping",
    "check_heartbeat",
    "claimant",
    "new_run",
    "result_of",
    "run",
    "run_sync",
    "submit",
    "wait",
    "work",
]
