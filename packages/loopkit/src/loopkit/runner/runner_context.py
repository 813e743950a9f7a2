"""Parts and settings of a runner that all its held runs share."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import attrs
from anyio.abc import TaskGroup

from loopkit.eventloop import EventLoop
from loopkit.runner.environment import Environment
from loopkit.runner.keeper import Keeper
from loopkit.runner.stop_request import Stopping
from loopkit.storage import Storage

__all__ = ["RunnerContext"]


@attrs.frozen(kw_only=True)
class RunnerContext:
    """Parts and settings of one runner, shared by the runs that it holds."""

    storage: Storage
    keeper: Keeper
    environment: Environment
    loop: EventLoop
    """Event loop in which the runs are worked."""
    tasks: TaskGroup
    """Task group of the runs and of what they do beside their stages."""
    stopping: Stopping
    deps: Mapping[str, Any] = attrs.field(factory=dict)
    """Values that the lifespans yielded, by the name of the agent."""
    grace: timedelta = timedelta(seconds=10)
    """Time that a cancelled stage may take to stop before it is left behind."""
