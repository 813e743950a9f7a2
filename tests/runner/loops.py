"""Small agents for the runner's tests."""

from __future__ import annotations

from typing import Any

from loopkit import Agent, StageContext


async def produce(context: StageContext) -> str:
    return f"draft {context.attempt}"


async def evaluate(context: StageContext) -> dict[str, Any]:
    return {"score": min(1.0, 0.45 * context.attempt), "feedback": f"attempt {context.attempt} is short"}


def agent(**changes: Any) -> Agent:
    """An agent that passes on attempt 2 with 0.9, unless ``changes`` say otherwise."""
    given: dict[str, Any] = {"name": "writer", "produce": produce, "evaluate": evaluate, "revise": produce}
    return Agent(**{**given, **changes})
