"""The API's endpoints: the one table that routing, validation, permissions and the OpenAPI document are made of."""

from typing import Final

from loopkit.core.run import Run
from loopkit_web import agents, artifacts, events, health, openapi, replies, runners, stats, workflows
from loopkit_web.access import Permission
from loopkit_web.routing import Endpoint, Reply

__all__ = ["API"]

_JSON: Final = "application/json"
_STREAM: Final = "text/event-stream"


def _ok(content: object, description: str = "It is this.") -> dict[int, Reply]:
    return {
        200: Reply(description=description, content={_JSON: content}, headers=("ETag",)),
        304: Reply(description="It is as the client's ETag has it."),
    }


def _made(description: str) -> dict[int, Reply]:
    return {201: Reply(description=description, content={_JSON: Run}, headers=("Location",))}


API: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        method="GET",
        path="/api/workflows",
        handler=workflows.get_workflows,
        permission=Permission.VIEW,
        summary="List runs, newest first, or give the run of an id",
        query=workflows.Runs,
        replies=_ok(replies.RunList | Run, "A page of runs; with `id` the run."),
        problems=frozenset({"run-not-found"}),
    ),
    Endpoint(
        method="POST",
        path="/api/workflows",
        handler=workflows.start_workflow,
        permission=Permission.START,
        summary="Start a run",
        body=workflows.Start,
        check=workflows.check_start,
        replies=_made("The run, queued; for an idempotency key that came before, the run made then as it is now."),
        problems=frozenset({"unknown-agent", "key-reused", "bad-header"}),
        request_headers=("Idempotency-Key",),
    ),
    Endpoint(
        method="GET",
        path="/api/workflow-events",
        handler=events.get_events,
        permission=Permission.VIEW,
        summary="Give events of a run, oldest first, or stream them",
        query=events.Events,
        replies={
            200: Reply(
                description="A page of events, or a stream: one message an event, `id` its id, `data` its JSON.",
                content={_JSON: replies.EventList, _STREAM: None},
                headers=("ETag",),
            ),
            204: Reply(description="The run has ended and no event follows: do not stream again."),
            304: Reply(description="It is as the client's ETag has it."),
        },
        problems=frozenset({"run-not-found", "too-many-streams", "bad-header"}),
        request_headers=("Last-Event-ID",),
    ),
    Endpoint(
        method="GET",
        path="/api/workflow-stream",
        handler=events.stream_changes,
        permission=Permission.VIEW,
        summary="Stream hints that runs have changed",
        replies={200: Reply(description='One message `{"runs": [ids]}` a change.', content={_STREAM: None})},
        problems=frozenset({"too-many-streams"}),
    ),
    Endpoint(
        method="GET",
        path="/api/workflow-artifacts",
        handler=artifacts.get_artifacts,
        permission=Permission.VIEW,
        summary="Give the artifacts of a run",
        query=artifacts.Artifacts,
        replies=_ok(replies.ArtifactList),
        problems=frozenset({"run-not-found"}),
    ),
    Endpoint(
        method="POST",
        path="/api/workflow-cancel",
        handler=workflows.cancel_workflow,
        permission=Permission.CANCEL,
        summary="Ask for a run to be cancelled",
        query=workflows.RunId,
        replies={202: Reply(description="The run as it is now.", content={_JSON: Run})},
        problems=frozenset({"run-not-found", "run-ended"}),
    ),
    Endpoint(
        method="POST",
        path="/api/workflow-retry",
        handler=workflows.retry_workflow,
        permission=Permission.RETRY,
        summary="Start a new run like an ended one",
        query=workflows.RunId,
        replies=_made("The new run, queued."),
        problems=frozenset({"run-not-found", "run-not-ended", "key-reused", "bad-header"}),
        request_headers=("Idempotency-Key",),
    ),
    Endpoint(
        method="GET",
        path="/api/agents-config",
        handler=agents.get_agents,
        permission=Permission.VIEW,
        summary="Give the configured agents",
        replies=_ok(replies.AgentList),
    ),
    Endpoint(
        method="GET",
        path="/api/runners",
        handler=runners.get_runners,
        permission=Permission.VIEW,
        summary="Give the runners seen within a day, and what waits for them",
        replies=_ok(replies.RunnerList),
    ),
    Endpoint(
        method="GET",
        path="/api/stats",
        handler=stats.get_stats,
        permission=Permission.VIEW,
        summary="Give bounded figures by agent and status",
        replies=_ok(replies.Stats),
    ),
    Endpoint(
        method="GET",
        path="/api/metrics",
        handler=stats.get_metrics,
        permission=Permission.VIEW,
        summary="Give the figures as OpenMetrics",
        replies={200: Reply(description="OpenMetrics 1.0 text.", content={"application/openmetrics-text": None})},
    ),
    Endpoint(
        method="GET",
        path="/api/openapi.json",
        handler=openapi.get_openapi,
        permission=Permission.VIEW,
        summary="Give this document",
        replies=_ok(dict[str, object]),
    ),
    Endpoint(
        method="GET",
        path="/api/health",
        handler=health.get_health,
        permission=None,
        summary="Tell whether the database answers",
        replies={200: Reply(description="It does.", content={_JSON: replies.Health})},
        any_host=True,
    ),
)
