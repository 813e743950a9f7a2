"""The runners over HTTP: their states, the runs they hold, and the backlog of each agent."""

from starlette.responses import Response

from loopkit.fleet import read_runner_list
from loopkit_web.http.call import Call
from loopkit_web.http.json_response import json_response

__all__ = ["get_runners"]


async def get_runners(call: Call) -> Response:
    """``GET /api/runners``: the runners seen in the last 24 hours, and the backlog of each agent."""
    return await json_response(call, await read_runner_list(call.store))
