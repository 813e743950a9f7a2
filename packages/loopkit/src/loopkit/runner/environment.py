"""Surroundings of a runner: time, randomness, ids, threads and a name. Simulation passes its own."""

import gc
import os
import random
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import attrs

from loopkit.agents.agent import StageContext, StageSpec
from loopkit.agents.stage_call import call_stage
from loopkit.clock import Clock, SystemClock
from loopkit.core.ids import Ids
from loopkit.core.lease import HEARTBEAT, Claimant
from loopkit.core.outcome import Outcome
from loopkit.runner.keeper import Keeper, KeeperThread, LeaseKeeping
from loopkit.runner.metrics import METRICS, Metrics
from loopkit.system_ids import SystemIds

__all__ = ["Environment", "claimant", "spare_collector"]


def _process_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


@attrs.frozen(kw_only=True)
class Environment:
    """Surroundings of one runner."""

    clock: Clock = attrs.field(factory=SystemClock)
    ids: Ids = attrs.field(factory=SystemIds)
    chance: random.Random = attrs.field(factory=random.Random)
    keep_leases: Callable[[Keeper], LeaseKeeping] = KeeperThread
    """Makes the context in which leases are kept while runs are worked; in production a thread."""
    call_stage: Callable[[StageSpec, StageContext], Awaitable[Outcome]] = call_stage
    """Calls a stage; ``partial(call, passing=())`` where another part of the process handles SIGINT."""
    metrics: Metrics = METRICS
    """Metrics of the process, which the runner counts into."""
    name: str = attrs.field(factory=_process_name)
    """``host:pid``."""

    def claimant(self, heartbeat: timedelta = HEARTBEAT) -> Claimant:
        """Return this process as a claimant of runs."""
        return Claimant(name=self.name, heartbeat=heartbeat)


def claimant(heartbeat: timedelta = HEARTBEAT) -> Claimant:
    """Return this process, ``host:pid``, as a claimant of runs."""
    return Environment().claimant(heartbeat)


_YOUNG_OBJECTS: Final = 10_000
"""Objects after whose creation the collector looks at the young ones; a loop leaves no cycles, so it finds nothing."""


def spare_collector() -> None:
    """Keep the collector from scanning what is loaded by now, and let it look at new objects less often.

    For processes that are loopkit's own: what it sets is valid for the whole process.
    """
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
