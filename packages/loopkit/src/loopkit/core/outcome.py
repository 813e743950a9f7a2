"""Outcome of a stage: what its call returned, or its error."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from loopkit.core.run import Stage
from loopkit.core.values import value

__all__ = ["Errored", "Evaluated", "Evaluation", "Outcome", "Produced"]


@value
class Evaluation(Mapping[str, Any]):
    """Judgement of an output: ``score``, ``feedback`` and, by key, whatever else the evaluator returned."""

    score: float
    """0.0..1.0."""
    feedback: str = ""
    rest: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    """Other keys that the evaluator returned, e.g. ``criteria``."""

    def __getitem__(self, key: str) -> Any:
        if key == "score":
            return self.score
        if key == "feedback":
            return self.feedback
        return self.rest[key]

    def __iter__(self) -> Iterator[str]:
        yield "score"
        yield "feedback"
        yield from self.rest

    def __len__(self) -> int:
        return 2 + len(self.rest)


@value
class Produced:
    """Output of a stage that produces or revises."""

    output: str
    is_json: bool = False
    """True when the stage returned a mapping or list; ``output`` is then its JSON text."""


@value
class Evaluated:
    """Evaluation by a stage that evaluates."""

    evaluation: Evaluation


@value
class Errored:
    """Error of a stage whose retries are used up; never a score."""

    message: str
    details: Mapping[str, Any] | None = attrs.field(default=None, kw_only=True, eq=False)
    """Metadata of the error event: where the code of the stage failed. None for a failure without an exception."""

    part: str | None = attrs.field(default=None, kw_only=True, eq=False)
    """Name of the check or judge of a panel whose error it is; None elsewhere."""

    def in_stage(self, stage: Stage) -> "Errored":
        """Return the error with its place before the message, such as ``produce: `` or ``evaluate (facts): ``."""
        place = stage.key if self.part is None else f"{stage.key} ({self.part})"
        return attrs.evolve(self, message=f"{place}: {self.message}")


Outcome = Produced | Evaluated | Errored
