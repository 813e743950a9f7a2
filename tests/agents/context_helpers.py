"""What the tests of stages hand to a stage, and where its log lines go."""

from collections.abc import Mapping
from typing import Any

from loopkit.agents.agent import StageContext
from loopkit.agents.context import StagePlace, StageRole
from loopkit.core.run import Stage

SETTINGS: dict[str, Any] = {
    "run_id": "run_1",
    "agent_name": "namer",
    "cycle_id": "2026-01-02-003",
    "inputs": {"thing": "a cat"},
    "stage": Stage.PRODUCING,
    "attempt": 1,
    "idempotency_key": "key",
}


class Lines(list[tuple[str, Mapping[str, Any]]]):
    """A sink that keeps what it gets."""

    def __call__(self, message: str, metadata: Mapping[str, Any]) -> None:
        self.append((message, metadata))

    @property
    def texts(self) -> list[str]:
        return [message for message, _ in self]


def context(stage: Stage = Stage.PRODUCING, **settings: Any) -> StageContext:
    return StageContext(**{**SETTINGS, "stage": stage, **settings})


def place(role: str = "produce", **settings: Any) -> StagePlace:
    """Return a place in an agent whose inputs may be anything."""
    return StagePlace(**{"key": role, "role": StageRole(role), "inputs": {}, **settings})
