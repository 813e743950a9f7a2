"""The configured agents over HTTP: what a start form needs to know of them."""

from starlette.responses import Response

from loopkit_web.context import Call
from loopkit_web.replies import AgentConfig, AgentList, json_reply

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
    return json_reply(call, AgentList(agents=agents))
