"""Figures of agents over HTTP; their cost is bounded whatever the size of the database."""

from starlette.responses import Response

from loopkit.fleet import read_stats
from loopkit_web.http.call import Call
from loopkit_web.http.json_response import json_response

__all__ = ["get_stats"]


async def get_stats(call: Call) -> Response:
    """``GET /api/stats``: counts by status and agent, score and attempt figures."""
    return await json_response(call, await read_stats(call.store))
