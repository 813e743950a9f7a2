"""Runners: they claim runs, call the stages of their agents, and record what came of them.

``worker`` claims runs and works many at once; ``run_once`` works a single one. ``held_run`` is the loop of one run: it
writes through ``run_writer``, with the log lines that ``logs`` keeps, calls its stages under ``stage_watch`` and its
panel through ``verdicts``, keeps its ``accounts``, and ends with an ``end_report``. ``keeper`` renews the leases from a
thread; ``loop_watch`` logs an event loop that a stage blocks. ``metrics`` counts what happens, and ``openmetrics``
writes the counts as text. ``runner_context`` holds what all held runs share, ``stop_request`` the stop of a runner,
``task_groups`` the task groups of both, and ``environment`` what a simulation replaces.
"""

from loopkit.core.lease import HEARTBEAT
from loopkit.runner.environment import Environment, claimant, spare_collector
from loopkit.runner.keeper import check_heartbeat
from loopkit.runner.metrics import METRICS, Metrics
from loopkit.runner.run_once import work_run
from loopkit.runner.stop_request import Stopping
from loopkit.runner.worker import Runner, RunnerStatus

__all__ = [
    "HEARTBEAT",
    "METRICS",
    "Environment",
    "Metrics",
    "Runner",
    "RunnerStatus",
    "Stopping",
    "check_heartbeat",
    "claimant",
    "spare_collector",
    "work_run",
]
