"""Stored evaluations as the pages read them. Other programs write them too, so nothing in them is taken for granted."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from loopkit.core import plain
from loopkit.core.journal import Artifact, ArtifactType

__all__ = ["REGRESSED", "Criterion", "Judgement", "judgement", "judgements"]

REGRESSED = -0.05
"""A criterion that falls by so much has regressed; the page says the word."""


@attrs.frozen(kw_only=True)
class Criterion:
    """One thing an output was judged by."""

    name: str
    score: float
    mark: float
    """Its own pass mark, or the run's."""
    feedback: str = ""

    @property
    def is_below(self) -> bool:
        return self.score < self.mark


@attrs.frozen(kw_only=True)
class Judgement:
    """The evaluation of one attempt."""

    attempt: int
    score: float | None
    feedback: str
    criteria: tuple[Criterion, ...] = ()

    def criterion(self, name: str) -> Criterion | None:
        """Give a criterion by its name."""
        return next((criterion for criterion in self.criteria if criterion.name == name), None)

    @property
    def below(self) -> tuple[Criterion, ...]:
        """The criteria short of their mark, the worst first."""
        return tuple(sorted((one for one in self.criteria if one.is_below), key=lambda one: one.score - one.mark))


def judgement(artifact: Artifact, mark: float) -> Judgement:
    """Read one stored evaluation."""
    document = plain.loads(artifact.content)
    if not isinstance(document, dict):
        return Judgement(attempt=artifact.attempt, score=_number(document), feedback="")
    feedback = document.get("feedback")
    return Judgement(
        attempt=artifact.attempt,
        score=_number(document.get("score")),
        feedback=feedback if isinstance(feedback, str) else "",
        criteria=tuple(_criteria(document.get("criteria"), mark)),
    )


def judgements(artifacts: Iterable[Artifact], mark: float) -> dict[int, Judgement]:
    """Read every stored evaluation of a run, by attempt."""
    found = (one for one in artifacts if one.artifact_type is ArtifactType.EVALUATION)
    return {artifact.attempt: judgement(artifact, mark) for artifact in found}


def _criteria(value: Any, mark: float) -> Iterable[Criterion]:
    if not isinstance(value, Mapping):
        return
    for name, given in value.items():
        document = given if isinstance(given, Mapping) else {"score": given}
        score, feedback = _number(document.get("score")), document.get("feedback")
        if score is None:
            continue
        own = _number(document.get("pass_mark"))
        yield Criterion(
            name=str(name),
            score=score,
            mark=mark if own is None else own,
            feedback=feedback if isinstance(feedback, str) else "",
        )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(max(float(value), 0.0), 1.0)
