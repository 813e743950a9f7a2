"""Response bodies of the API, except runs, events and artifacts, which are loopkit's own values."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs

from loopkit.core.journal import Artifact, RunEvent
from loopkit.core.run import Run, RunStatus
from loopkit.wire import RunUsage, UsageCall

__all__ = [
    "AgentConfig",
    "AgentList",
    "ArtifactList",
    "EventList",
    "Health",
    "RunList",
    "RunReference",
    "UsageReport",
]


@attrs.frozen(kw_only=True)
class RunReference:
    """A run that was changed by a client without the permission to view runs."""

    id: str
    status: RunStatus


@attrs.frozen(kw_only=True)
class RunList:
    """A page of runs."""

    runs: Sequence[Run]
    next_cursor: str | None
    """None on the last page."""


@attrs.frozen(kw_only=True)
class EventList:
    """Events of a run, oldest first."""

    events: Sequence[RunEvent]
    next_after: int | None
    """Value of ``after`` for the next page; None if there are no more events now."""


@attrs.frozen(kw_only=True)
class ArtifactList:
    """The artifacts of a run, in the order of the attempts."""

    artifacts: Sequence[Artifact]


@attrs.frozen(kw_only=True)
class UsageReport:
    """The model calls of a run, oldest first, and the sums over them."""

    calls: Sequence[UsageCall]
    total: RunUsage


@attrs.frozen(kw_only=True)
class AgentConfig:
    """An agent that runs can be started for."""

    name: str
    description: str
    max_attempts: int
    pass_threshold: float
    inputs: Mapping[str, Any]
    """JSON Schema of the inputs."""


@attrs.frozen(kw_only=True)
class AgentList:
    """The configured agents."""

    agents: Sequence[AgentConfig]


@attrs.frozen(kw_only=True)
class Health:
    """Result of a successful health check."""

    status: Literal["ok"] = "ok"
