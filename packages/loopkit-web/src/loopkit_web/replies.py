"""The API's own shapes: what is sent besides a run, an event and an artifact, whose shapes are loopkit's."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Literal

import attrs
from starlette.responses import Response

from loopkit import wire
from loopkit.core import plain
from loopkit.core.journal import Artifact, RunEvent
from loopkit.core.run import Run
from loopkit_web.context import Call
from loopkit_web.schema import sometimes

__all__ = [
    "AgentConfig",
    "AgentFigures",
    "AgentList",
    "ArtifactList",
    "Backlog",
    "EventList",
    "FaultReply",
    "Health",
    "ProblemReply",
    "RunList",
    "Runner",
    "RunnerList",
    "Stats",
    "json_reply",
]


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
    """Ask again after this id for more; None where there are no more now."""


@attrs.frozen(kw_only=True)
class ArtifactList:
    """The artifacts of a run, by attempt."""

    artifacts: Sequence[Artifact]


@attrs.frozen(kw_only=True)
class AgentConfig:
    """An agent that runs can be started of."""

    name: str
    description: str
    max_attempts: int
    pass_threshold: float
    inputs: Mapping[str, Any]
    """A JSON Schema."""


@attrs.frozen(kw_only=True)
class AgentList:
    """The configured agents."""

    agents: Sequence[AgentConfig]


@attrs.frozen(kw_only=True)
class Health:
    """The app runs and its database answers."""

    status: Literal["ok"] = "ok"


@attrs.frozen(kw_only=True)
class Runner:
    """What a runner says of itself, and what it holds."""

    id: str
    name: str
    """``host:pid``."""
    version: str
    state: Literal["live", "late", "lost", "draining", "gone"]
    """``late`` after two heartbeats without a sign, ``lost`` once its runs may be taken over."""
    agents: Sequence[str]
    slots: int
    busy: int
    started_at: datetime | None
    seen_at: datetime | None
    age_seconds: float | None
    """How long ago it was seen, by the store's clock."""
    heartbeat_seconds: float
    runs: Sequence[str]
    """Ids of the running runs it holds, at most 1,000 over all runners."""


@attrs.frozen(kw_only=True)
class Backlog:
    """What waits for a runner."""

    agent: str
    queued: int
    """At most 1,000, which stands for 1,000 or more."""
    stalled: int
    oldest_queued_at: datetime | None


@attrs.frozen(kw_only=True)
class RunnerList:
    """The runners seen within a day, and what waits for them."""

    runners: Sequence[Runner]
    backlog: Sequence[Backlog]


@attrs.frozen(kw_only=True)
class AgentFigures:
    """Figures of one agent. Counts stop at 1,000; scores are those of its newest 1,000 ended runs."""

    agent: str
    counts: Mapping[str, int]
    """By status, ``stalled`` besides."""
    oldest_queued_at: datetime | None
    ended: int
    """How many ended runs the figures below cover."""
    passed: int
    mean_score: float | None
    last_score: float | None
    mean_attempts: float | None
    passed_at_attempt: Mapping[str, int]
    """How many passed at attempt 1, 2, ..."""


@attrs.frozen(kw_only=True)
class Stats:
    """Figures of every agent that has runs, and their sums by status."""

    counts: Mapping[str, int]
    agents: Sequence[AgentFigures]


@attrs.frozen(kw_only=True)
class FaultReply:
    """One fault: where, and what."""

    pointer: str
    detail: str


@attrs.frozen(kw_only=True)
class ProblemReply:
    """A problem (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    instance: str
    request_id: str
    detail: str | None = sometimes(None)
    current_status: str | None = sometimes(None)
    errors: Sequence[FaultReply] = sometimes(())


def json_reply(call: Call, value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with a value as JSON: a read that has not changed since the client's ETag with 304."""
    body = plain.dumps(_plain(value)).encode()
    told = dict(headers or {})
    if status == 200 and call.request.method in ("GET", "HEAD"):
        told["ETag"] = call.tag(body)
        told["Vary"] = "Accept, Authorization, Cookie"
        if same := call.unchanged(told["ETag"]):
            return same
    return Response(body, status_code=status, headers=told, media_type="application/json")


def _plain(value: Any) -> Any:
    match value:
        case Run():
            return wire.run(value)
        case RunEvent():
            return wire.event(value)
        case Artifact():
            return wire.artifact(value)
        case datetime():
            return wire.instant(value)
        case Enum():
            return value.value
        case str() | int() | float() | None:
            return value
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case Sequence():
            return [_plain(item) for item in value]
        case _:
            return {wire.camel(field.name): _plain(getattr(value, field.name)) for field in attrs.fields(type(value))}
