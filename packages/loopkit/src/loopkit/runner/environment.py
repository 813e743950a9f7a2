"""What a runner takes from outside: time, chance, ids, threads and a name. Simulation hands in its own."""

import os
import random
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta

import attrs

from loopkit.agents.agent import StageContext, StageSpec
from loopkit.agents.calling import call
from loopkit.clock import Clock, SystemClock, SystemIds
from loopkit.core.ids import Ids
from loopkit.core.lease import Claimant
from loopkit.core.outcome import Outcome
from loopkit.runner.keeper import HEARTBEAT, Keeper, KeeperThread, Keeping

__all__ = ["Environment", "claimant"]


def _own_name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


@attrs.frozen(kw_only=True)
class Environment:
    """The surroundings of one runner."""

    clock: Clock = attrs.field(factory=SystemClock)
    ids: Ids = attrs.field(factory=SystemIds)
    chance: random.Random = attrs.field(factory=random.Random)
    keeping: Callable[[Keeper], Keeping] = KeeperThread
    """How leases are kept while runs are worked; in production from a thread."""
    call: Callable[[StageSpec, StageContext], Awaitable[Outcome]] = call
    """How a stage is called; ``partial(call, passing=())`` where somebody else handles the keyboard's interrupt."""
    name: str = attrs.field(factory=_own_name)
    """``host:pid``."""

    def claimant(self, heartbeat: timedelta = HEARTBEAT) -> Claimant:
        """Give this process as one who claims runs."""
        return Claimant(name=self.name, heartbeat=heartbeat)


def claimant(heartbeat: timedelta = HEARTBEAT) -> Claimant:
    """Give this process as one who claims runs: ``host:pid``."""
    return Environment().claimant(heartbeat)
