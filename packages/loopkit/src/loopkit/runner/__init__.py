"""Working runs: one held run to its end, or many at once."""

from loopkit.runner.environment import Environment, claimant
from loopkit.runner.keeper import HEARTBEAT, check_heartbeat
from loopkit.runner.stopping import Stopping
from loopkit.runner.work import work
from loopkit.runner.worker import Runner, RunnerStatus

__all__ = ["HEARTBEAT", "Environment", "Runner", "RunnerStatus", "Stopping", "check_heartbeat", "claimant", "work"]
