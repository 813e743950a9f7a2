"""Working runs: one held run to its end, or many at once."""

from loopkit.runner.keeper import HEARTBEAT, check_heartbeat, claimant
from loopkit.runner.stopping import Stopping
from loopkit.runner.work import work
from loopkit.runner.worker import Runner, RunnerStatus

__all__ = ["HEARTBEAT", "Runner", "RunnerStatus", "Stopping", "check_heartbeat", "claimant", "work"]
