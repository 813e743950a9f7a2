"""Runs of the examples: the shipped agents.yaml, worked on a store in memory."""

import json
from pathlib import Path
from typing import Any

import anyio
import attrs

import loopkit
from loopkit import Artifact, ArtifactType, Run

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@attrs.frozen
class Worked:
    """An ended run with its artifacts and events."""

    run: Run
    artifacts: list[Artifact]

    @property
    def outputs(self) -> list[str]:
        return [a.content for a in self.artifacts if a.artifact_type is ArtifactType.OUTPUT]

    @property
    def scores(self) -> list[float]:
        return [json.loads(a.content)["score"] for a in self.artifacts if a.artifact_type is ArtifactType.EVALUATION]


def work(example: str, inputs: dict[str, Any], **limits: Any) -> Worked:
    """Run the agent of an example to its end."""
    agent = loopkit.load_agents(EXAMPLES / example / "agents.yaml")[example]

    async def run() -> Worked:
        async with loopkit.MemoryStore() as store:
            result = await loopkit.run(agent, inputs, store=store, **limits)
            return Worked(result.run, await store.list_artifacts(result.run.id))

    return anyio.run(run)
