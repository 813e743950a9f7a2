"""What a stage gets, and what a stage is to the rest of loopkit."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from loopkit.core.outcome import Evaluation
from loopkit.core.run import Stage

__all__ = ["Sink", "StageBody", "StageContext"]

Sink = Callable[[str, Mapping[str, Any]], None]
"""Takes a log line and its metadata, from any thread; it may drop them."""


def _drop(message: str, metadata: Mapping[str, Any]) -> None:
    """Take a line to nowhere."""


@attrs.frozen(kw_only=True)
class StageContext:
    """What one call of a stage gets to see."""

    run_id: str
    agent_name: str
    cycle_id: str
    inputs: Mapping[str, Any]
    stage: Stage
    attempt: int
    """The attempt being made or judged, from 1."""
    output: Any = None
    """Producing: None. Evaluating: what is to be judged. Revising: the output before. Text, or the mapping or list
    that a stage gave."""
    evaluation: Evaluation | None = None
    """The judgement of the attempt before."""
    idempotency_key: str
    """The same for every try of this stage of this run; hand it to services that should act once."""
    sink: Sink = attrs.field(default=_drop, repr=False, eq=False)
    retrying: Callable[[str], None] | None = attrs.field(default=None, repr=False, eq=False)
    """Told, before the next try, why the last one failed; None: the log is."""

    def log(self, message: str, **metadata: Any) -> None:
        """Add a line to the run's journal. May be called from any thread."""
        self.sink(message, metadata)

    def document(self) -> dict[str, Any]:
        """Give the JSON document that programs get, in camelCase."""
        return {
            "runId": self.run_id,
            "agentName": self.agent_name,
            "cycleId": self.cycle_id,
            "inputs": self.inputs,
            "stage": self.stage.value,
            "attempt": self.attempt,
            "output": self.output,
            "evaluation": None if self.evaluation is None else dict(self.evaluation),
            "idempotencyKey": self.idempotency_key,
        }


class StageBody(Protocol):
    """The part of a stage that does its work; timeout and retries are around it."""

    @property
    def kind(self) -> str:
        """``python``, ``command`` or ``prompt``."""
        ...

    @property
    def target(self) -> str:
        """What is called, as a person would name it."""
        ...

    @property
    def definition(self) -> str:
        """Everything that decides what the stage does, as text: the same in every process, changed when it changes."""
        ...

    def problem(self) -> str | None:
        """Say why the stage cannot be called here, or None. Does not call it."""
        ...

    async def __call__(self, context: StageContext) -> object:
        """Do the work once. Whatever is raised is an error of the stage; a cancellation stops it."""
        ...
