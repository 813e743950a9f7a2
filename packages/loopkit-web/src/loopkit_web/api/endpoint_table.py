"""Table of the API's endpoints, from which routing, validation, permissions and the OpenAPI document come."""

from typing import Final

from loopkit.core.run import Run
from loopkit.fleet import RunnerList, Stats
from loopkit_web import actions
from loopkit_web.api import (
    agents,
    artifacts,
    events,
    figures,
    health,
    metrics,
    openapi_document,
    runners,
    runs,
    shapes,
    usage,
)
from loopkit_web.http.access import Permission
from loopkit_web.http.endpoint import DocumentedResponse, Endpoint
from loopkit_web.http.problems import ProblemCode

__all__ = ["API"]

_JSON: Final = "application/json"
_STREAM: Final = "text/event-stream"
_CHANGED_RUN: Final = Run | shapes.RunReference
"""Without the permission to view runs, the id and the status."""
_NOT_MODIFIED: Final = DocumentedResponse(description="Not modified: the client's ETag is current.")


def _ok(content: object, description: str) -> dict[int, DocumentedResponse]:
    return {
        200: DocumentedResponse(description=description, content={_JSON: content}, headers=("ETag",)),
        304: _NOT_MODIFIED,
    }


def _created(description: str) -> dict[int, DocumentedResponse]:
    return {201: DocumentedResponse(description=description, content={_JSON: _CHANGED_RUN}, headers=("Location",))}


API: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        method="GET",
        path="/api/workflows",
        handler=runs.get_workflows,
        permission=Permission.VIEW,
        summary="List runs, newest first, or return the run with an id",
        tag="runs",
        query=runs.RunListQuery,
        responses=_ok(shapes.RunList | Run, "A page of runs; with `id`, the run."),
        problems=frozenset({ProblemCode.RUN_NOT_FOUND}),
    ),
    Endpoint(
        method="POST",
        path="/api/workflows",
        handler=runs.start_workflow,
        permission=Permission.START,
        summary="Start a run",
        tag="runs",
        body=actions.StartRequest,
        check=actions.check_start,
        find_repeated=runs.find_started,
        responses=_created(
            "The queued run; for a repeated idempotency key, the run of the first request as it is now."
        ),
        problems=frozenset({ProblemCode.UNKNOWN_AGENT, ProblemCode.KEY_REUSED, ProblemCode.BAD_HEADER}),
        request_headers=("Idempotency-Key",),
    ),
    Endpoint(
        method="PATCH",
        path="/api/workflows",
        handler=runs.label_workflow,
        permission=Permission.START,
        summary="Change the title and the tags of a run, whatever its state",
        tag="runs",
        query=runs.RunIdQuery,
        body=actions.LabelRequest,
        check=actions.check_labels,
        responses={200: DocumentedResponse(description="The run with its new labels.", content={_JSON: _CHANGED_RUN})},
        problems=frozenset({ProblemCode.RUN_NOT_FOUND}),
    ),
    Endpoint(
        method="GET",
        path="/api/workflow-events",
        handler=events.get_events,
        permission=Permission.VIEW,
        summary="List events of a run, oldest first, or stream them",
        tag="journal",
        query=events.EventsQuery,
        responses={
            200: DocumentedResponse(
                description="A page of events, or a stream, one message per event: `id` is its id, `data` its JSON.",
                content={_JSON: shapes.EventList, _STREAM: None},
                headers=("ETag",),
            ),
            204: DocumentedResponse(
                description="The run has ended and has no further events: do not open the stream again."
            ),
            304: _NOT_MODIFIED,
        },
        problems=frozenset({ProblemCode.RUN_NOT_FOUND, ProblemCode.TOO_MANY_STREAMS, ProblemCode.BAD_HEADER}),
        request_headers=("Last-Event-ID",),
    ),
    Endpoint(
        method="GET",
        path="/api/workflow-stream",
        handler=events.stream_changes,
        permission=Permission.VIEW,
        summary="Stream notifications of changed runs",
        tag="journal",
        responses={
            200: DocumentedResponse(description='One message `{"runs": [ids]}` per change.', content={_STREAM: None})
        },
        problems=frozenset({ProblemCode.TOO_MANY_STREAMS}),
    ),
    Endpoint(
        method="GET",
        path="/api/workflow-artifacts",
        handler=artifacts.get_artifacts,
        permission=Permission.VIEW,
        summary="List the artifacts of a run",
        tag="journal",
        query=artifacts.ArtifactsQuery,
        responses=_ok(shapes.ArtifactList, "The outputs and evaluations, in the order of the attempts."),
        problems=frozenset({ProblemCode.RUN_NOT_FOUND}),
    ),
    Endpoint(
        method="GET",
        path="/api/workflow-usage",
        handler=usage.get_usage,
        permission=Permission.VIEW,
        summary="List the model calls of a run, with their tokens and prices",
        tag="journal",
        query=usage.UsageQuery,
        responses=_ok(shapes.UsageReport, "The model calls, oldest first, and the sums over them."),
        problems=frozenset({ProblemCode.RUN_NOT_FOUND}),
    ),
    Endpoint(
        method="POST",
        path="/api/workflow-cancel",
        handler=runs.cancel_workflow,
        permission=Permission.CANCEL,
        summary="Request the cancellation of a run",
        tag="runs",
        query=runs.RunIdQuery,
        responses={202: DocumentedResponse(description="The run as it is now.", content={_JSON: _CHANGED_RUN})},
        problems=frozenset({ProblemCode.RUN_NOT_FOUND, ProblemCode.RUN_ENDED}),
    ),
    Endpoint(
        method="POST",
        path="/api/workflow-retry",
        handler=runs.retry_workflow,
        permission=Permission.RETRY,
        summary="Start a new run with the inputs and settings of an ended one",
        tag="runs",
        query=runs.RunIdQuery,
        responses=_created("The new run, which is queued."),
        problems=frozenset(
            {ProblemCode.RUN_NOT_FOUND, ProblemCode.RUN_NOT_ENDED, ProblemCode.KEY_REUSED, ProblemCode.BAD_HEADER}
        ),
        request_headers=("Idempotency-Key",),
    ),
    Endpoint(
        method="GET",
        path="/api/agents-config",
        handler=agents.get_agents,
        permission=Permission.VIEW,
        summary="List the configured agents",
        tag="agents",
        responses=_ok(shapes.AgentList, "The agents, in the order of the configuration."),
    ),
    Endpoint(
        method="GET",
        path="/api/runners",
        handler=runners.get_runners,
        permission=Permission.VIEW,
        summary="List the runners seen in the last 24 hours, and the backlog of each agent",
        tag="agents",
        responses=_ok(RunnerList, "The runners with the runs they hold, and the backlog."),
    ),
    Endpoint(
        method="GET",
        path="/api/stats",
        handler=figures.get_stats,
        permission=Permission.VIEW,
        summary="Return figures by agent and status",
        tag="figures",
        responses=_ok(Stats, "The figures. Counts stop at 1000."),
    ),
    Endpoint(
        method="GET",
        path="/api/metrics",
        handler=metrics.get_metrics,
        permission=Permission.VIEW,
        summary="Return the figures as OpenMetrics",
        tag="figures",
        responses={
            200: DocumentedResponse(description="OpenMetrics 1.0 text.", content={"application/openmetrics-text": None})
        },
    ),
    Endpoint(
        method="GET",
        path="/api/openapi.json",
        handler=openapi_document.get_openapi,
        permission=Permission.VIEW,
        summary="Return the OpenAPI 3.1 document of this API",
        tag="service",
        responses=_ok(dict[str, object], "The document."),
    ),
    Endpoint(
        method="GET",
        path="/api/health",
        handler=health.get_health,
        permission=None,
        summary="Check that the database responds",
        tag="service",
        responses={200: DocumentedResponse(description="The database responds.", content={_JSON: shapes.Health})},
        any_host=True,
    ),
)
