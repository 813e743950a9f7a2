"""Figures of agents over HTTP; their cost is bounded whatever the size of the database."""

from collections.abc import Sequence

from starlette.responses import Response

from loopkit.fleet import read_stats
from loopkit.storage import AgentStats
from loopkit_web.http.call import Call
from loopkit_web.http.json_response import json_response

__all__ = ["agent_stats", "get_stats"]


async def get_stats(call: Call) -> Response:
    """``GET /api/stats``: counts by status and agent, score and attempt figures."""
    return await json_response(call, await read_stats(call.store))


async def agent_stats(call: Call) -> Sequence[AgentStats]:
    """Read the figures of every agent that has runs; none if the store keeps no figures."""
    return await call.statistics.stats() if call.statistics is not None else ()
