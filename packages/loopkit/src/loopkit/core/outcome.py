"""What the call of a stage came to."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs


@attrs.frozen
class Evaluation(Mapping[str, Any]):
    """A judgement: ``.score`` (0..1), ``.feedback`` and, by key, whatever else the evaluator gave."""

    score: float
    feedback: str = ""
    rest: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)
    """The evaluator's other keys, e.g. ``criteria``."""

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


@attrs.frozen
class Produced:
    """A stage made an output."""

    output: str
    is_json: bool = False
    """True when the stage gave a mapping or list; ``output`` is then its JSON text."""


@attrs.frozen
class Evaluated:
    """A stage judged an output."""

    evaluation: Evaluation


@attrs.frozen
class Errored:
    """A stage failed and its retries are used up. It is an error, never a score."""

    message: str


Outcome = Produced | Evaluated | Errored
