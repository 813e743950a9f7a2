"""A run's artifacts over HTTP."""

import attrs
from starlette.responses import Response

from loopkit_web.context import Call
from loopkit_web.replies import ArtifactList, json_reply
from loopkit_web.schema import documented

__all__ = ["Artifacts", "get_artifacts"]


@attrs.frozen(kw_only=True)
class Artifacts:
    """Whose artifacts."""

    run_id: str = documented(minLength=1)


async def get_artifacts(call: Call) -> Response:
    """``GET /api/workflow-artifacts?runId=X``: outputs and evaluations, by attempt."""
    query: Artifacts = call.query
    return json_reply(call, ArtifactList(artifacts=await call.store.list_artifacts(query.run_id)))
