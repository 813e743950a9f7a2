"""Artifacts of a run over HTTP."""

from collections.abc import Sequence
from contextlib import aclosing

import attrs
from starlette.responses import Response

from loopkit.core.journal import ArtifactInfo
from loopkit_web.http.call import Call
from loopkit_web.http.json_response import json_parts_response
from loopkit_web.http.json_schema import documented
from loopkit_web.row_parts import Parts, artifact_documents

__all__ = ["ArtifactsQuery", "get_artifacts"]


@attrs.frozen(kw_only=True)
class ArtifactsQuery:
    """Query of the artifacts endpoint."""

    run_id: str = documented(minLength=1, description="Id of the run.")


async def get_artifacts(call: Call) -> Response:
    """``GET /api/workflow-artifacts?runId=X``: outputs and evaluations in the order of the attempts."""
    query: ArtifactsQuery = call.query
    infos = await call.store.describe_artifacts(query.run_id)
    return await json_parts_response(call, _artifact_list(call, infos), ("artifacts", infos))


async def _artifact_list(call: Call, infos: Sequence[ArtifactInfo]) -> Parts:
    yield b'{"artifacts":['
    async with aclosing(artifact_documents(call.store, infos)) as documents:
        async for part in documents:
            yield part
    yield b"]}"
