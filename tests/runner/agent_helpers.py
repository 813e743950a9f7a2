"""A small agent for the tests of the runner, and its runs claimed from a store."""

from datetime import timedelta
from typing import Any

from loopkit import Agent, MemoryStore, StageContext
from loopkit.core.lease import Claimant
from loopkit.core.run import NewRun
from loopkit.storage import Held

ME = Claimant(name="here:1")
QUICK = timedelta(milliseconds=200)
"""A heartbeat with which the keeper checks its leases ten times a second."""


async def produce(context: StageContext) -> str:
    return f"draft {context.attempt}"


async def evaluate(context: StageContext) -> dict[str, Any]:
    return {"score": min(1.0, 0.45 * context.attempt), "feedback": f"attempt {context.attempt} is short"}


def small_agent(**changes: Any) -> Agent:
    """Build an agent that passes on attempt 2 with 0.9, unless ``changes`` say otherwise."""
    values: dict[str, Any] = {"name": "writer", "produce": produce, "evaluate": evaluate, "revise": produce}
    return Agent(**{**values, **changes})


async def start(store: MemoryStore, agent: Agent, **changes: Any) -> Held:
    """Make and claim a run of the agent."""
    values = {"agent_name": agent.name, "inputs": {"topic": "cats"}, "max_attempts": 3, "pass_threshold": 0.8}
    return await store.start(NewRun(**{**values, **changes}), ME, definition=agent.definition)
