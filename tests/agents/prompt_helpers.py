"""Prompt stages for tests: one in a folder of its own, and a call of it that waits for nothing."""

from pathlib import Path
from typing import Any

from loopkit.agents.agent import StageSpec
from loopkit.agents.prompt.prompt_stage import PromptStage
from loopkit.agents.stage_call import call_stage
from loopkit.core.outcome import Outcome
from loopkit.core.run import Stage
from tests.agents.context_helpers import context


def prompt_stage(folder: Path, template: str = "Name {{ inputs.thing }}.", **settings: Any) -> PromptStage:
    (folder / "prompt.md").write_text(template)
    return PromptStage(**{"prompt": "prompt.md", "model": "local:tiny", "folder": folder, **settings})


async def ask(prompt: PromptStage, stage: Stage = Stage.PRODUCING, **settings: Any) -> Outcome:
    """Call a stage, without retries unless they are given; ``pauses`` is a list that the pauses are added to."""
    own = {"retries": 0, **{key: settings.pop(key) for key in ("timeout", "retries") if key in settings}}
    pauses: list[float] = settings.pop("pauses", [])

    async def no_pause(seconds: float) -> None:
        pauses.append(seconds)

    return await call_stage(StageSpec(prompt, **own), context(stage, **settings), pause=no_pause, delay=float)
