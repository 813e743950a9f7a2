"""The configured agents over HTTP, with what a start form needs."""

from starlette.responses import Response

from loopkit_web.api.shapes import AgentConfig, AgentList
from loopkit_web.http.call import Call
from loopkit_web.http.json_response import json_response

__all__ = ["get_agents"]


async def get_agents(call: Call) -> Response:
    """``GET /api/agents-config``: every agent, in the order of the configuration."""
    agents = [
        AgentConfig(
            name=agent.name,
            description=agent.description,
            max_attempts=agent.max_attempts,
            pass_threshold=agent.pass_threshold,
            inputs=agent.inputs,
        )
        for agent in call.agents.values()
    ]
    return await json_response(call, AgentList(agents=agents))
