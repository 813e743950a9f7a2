"""Stored evaluations as the pages read them. Other programs write evaluations too, so no field is taken for granted."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import islice
from typing import Any, Final

import attrs

from loopkit.core import cut_json, strict_json
from loopkit.core.journal import Artifact, ArtifactType
from loopkit_web.dashboard.markup.text_allowance import cut
from loopkit_web.dashboard.views.panel_view import NO_ANSWERS, PanelAnswers, panel_answers

__all__ = [
    "MAX_CRITERIA",
    "MAX_EVALUATION_CHARS",
    "REGRESSED",
    "Criterion",
    "EvaluationView",
    "evaluation_view",
    "evaluation_views",
]

REGRESSED: Final = -0.05
"""Change from which on a criterion counts as regressed; the pages then show the word."""
MAX_CRITERIA: Final = 100
"""Most criteria of an evaluation that are read."""
MAX_EVALUATION_CHARS: Final = 40_000
"""Characters of a stored evaluation that need be read: more of it is not shown."""
_MAX_FEEDBACK: Final = 16_000
_MAX_CRITERION_FEEDBACK: Final = 1_000
_MAX_NAME: Final = 200


@attrs.frozen(kw_only=True)
class Criterion:
    """Score of an output in one criterion."""

    name: str
    score: float
    pass_mark: float
    """The criterion's own pass mark, else the run's threshold."""
    feedback: str = ""

    @property
    def is_below(self) -> bool:
        return self.score < self.pass_mark


@attrs.frozen(kw_only=True, slots=False)
class EvaluationView:
    """Evaluation of one attempt."""

    attempt: int
    score: float | None
    feedback: str
    """At most 16,000 characters of it."""
    criteria: tuple[Criterion, ...] = ()
    """At most 100 of them."""
    panel: PanelAnswers = NO_ANSWERS
    """Answers of checks and judges, where a panel has evaluated."""
    is_cut: bool = False
    """True if criteria or parts of texts are left out."""

    def with_score(self, score: float | None) -> "EvaluationView":
        """Return the evaluation with a score that was read elsewhere."""
        return attrs.evolve(self, score=score)

    @cached_property
    def _by_name(self) -> Mapping[str, Criterion]:
        return {criterion.name: criterion for criterion in reversed(self.criteria)}

    def criterion(self, name: str) -> Criterion | None:
        """Return the criterion of this name, or None."""
        return self._by_name.get(name)

    @cached_property
    def below(self) -> tuple[Criterion, ...]:
        """Criteria below their pass mark, the farthest below first."""
        below = (criterion for criterion in self.criteria if criterion.is_below)
        return tuple(sorted(below, key=lambda criterion: criterion.score - criterion.pass_mark))


def evaluation_view(artifact: Artifact, pass_threshold: float) -> EvaluationView:
    """Parse one stored evaluation, or the beginning of it; what cannot be read is left out."""
    is_part = artifact.length is not None
    content = artifact.content
    document = cut_json.loads_beginning(content) if is_part else strict_json.loads_or_text(content)
    if not isinstance(document, dict):
        return EvaluationView(attempt=artifact.attempt, score=_number(document), feedback="", is_cut=is_part)
    feedback, criteria = document.get("feedback"), document.get("criteria")
    feedback = feedback if isinstance(feedback, str) else ""
    criteria = criteria if isinstance(criteria, Mapping) else {}
    panel = panel_answers(document)
    shown = tuple(islice(_criteria(criteria, pass_threshold), MAX_CRITERIA))
    return EvaluationView(
        attempt=artifact.attempt,
        score=_number(document.get("score")),
        feedback=cut(feedback, _MAX_FEEDBACK),
        criteria=shown,
        panel=panel,
        is_cut=is_part or len(feedback) > _MAX_FEEDBACK or len(shown) < len(criteria) or panel.is_cut,
    )


def evaluation_views(artifacts: Iterable[Artifact], pass_threshold: float) -> dict[int, EvaluationView]:
    """Parse the evaluations among a run's artifacts, by attempt."""
    evaluations = (artifact for artifact in artifacts if artifact.artifact_type is ArtifactType.EVALUATION)
    return {artifact.attempt: evaluation_view(artifact, pass_threshold) for artifact in evaluations}


def _criteria(value: Mapping[str, Any], pass_threshold: float) -> Iterable[Criterion]:
    """Yield the criteria with a score from 0 to 1; any other number would be shown as one that nobody gave."""
    for name, entry in value.items():
        document = entry if isinstance(entry, Mapping) else {"score": entry}
        score, feedback = strict_json.finite_number(document.get("score")), document.get("feedback")
        if score is None or not 0 <= score <= 1:
            continue
        pass_mark = _number(document.get("pass_mark"))
        yield Criterion(
            name=cut(str(name), _MAX_NAME),
            score=score,
            pass_mark=pass_threshold if pass_mark is None else pass_mark,
            feedback=cut(feedback, _MAX_CRITERION_FEEDBACK) if isinstance(feedback, str) else "",
        )


def _number(value: Any) -> float | None:
    number = strict_json.finite_number(value)
    return None if number is None else min(max(number, 0.0), 1.0)
