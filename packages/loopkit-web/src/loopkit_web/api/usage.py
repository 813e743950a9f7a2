"""Model calls of a run over HTTP."""

import attrs
from starlette.responses import Response

from loopkit import wire
from loopkit.storage import Ledger
from loopkit_web.api.shapes import UsageReport
from loopkit_web.http.call import Call
from loopkit_web.http.json_response import json_response
from loopkit_web.http.json_schema import documented

__all__ = ["UsageQuery", "get_usage"]


@attrs.frozen(kw_only=True)
class UsageQuery:
    """Query of the usage endpoint."""

    run_id: str = documented(minLength=1, description="Id of the run.")


async def get_usage(call: Call) -> Response:
    """``GET /api/workflow-usage?runId=X``: the model calls of a run, oldest first, and the sums in its row."""
    query: UsageQuery = call.query
    run = await call.store.get_run(query.run_id)
    calls = await call.store.list_calls(query.run_id) if isinstance(call.store, Ledger) else []
    report = UsageReport(calls=[wire.usage_call(one) for one in calls], total=run.usage)
    return await json_response(call, report)
