"""Attempts of a run, one column each: what was produced, how long it took, and how far it is from passing."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import attrs

from loopkit.core.journal import ArtifactInfo, ArtifactType
from loopkit.core.policy import policy_of
from loopkit.core.run import Run, RunStatus, Stage
from loopkit_web.dashboard.markup import charts
from loopkit_web.dashboard.views.evaluations import REGRESSED, EvaluationView
from loopkit_web.dashboard.views.status import Tone

__all__ = ["Attempt", "AttemptColumns", "Bar", "BarKind", "attempt_columns"]

_MAX_COLUMNS: Final = 20
_PENDING_COLUMNS: Final = 2
"""Columns shown for attempts that may not be needed."""
_RUNNING_PERCENT: Final = 50
"""Width of the bar of a stage that has not ended."""
_MIN_PERCENT: Final = 1.5


class BarKind(StrEnum):
    """Meanings of a bar; they are CSS classes."""

    OUTPUT = "output"
    """Duration of an ended stage that made an output: producing or revising."""
    EVALUATION = "evaluation"
    """Duration of an ended evaluation."""
    NOW = "now"
    """Marker of the stage that is running."""
    STALLED = "stalled"
    """Marker of the stage in which the run stalled."""


@attrs.frozen(kw_only=True)
class Bar:
    """One stage of an attempt, and its duration."""

    label: str
    percent: float
    """Duration as a percentage of the run's longest stage; 50 while the stage is running."""
    duration: timedelta | None
    """None while the stage is running."""
    running_since: datetime | None
    kind: BarKind


@attrs.frozen(kw_only=True)
class Attempt:
    """Column of one attempt."""

    number: int
    score: float | None
    shortfall: float | None
    """Distance below the pass threshold, negative above it; None without a score."""
    tag: str
    tag_tone: Tone
    bars: tuple[Bar, ...]
    evaluation: EvaluationView | None
    output: ArtifactInfo | None
    is_current: bool = False
    is_stalled: bool = False
    is_pending: bool = False
    """True for an attempt that has not begun, and may not be needed."""


@attrs.frozen(kw_only=True)
class AttemptColumns:
    """Columns of the attempts that are shown, and their chart."""

    attempts: tuple[Attempt, ...]
    plot: charts.Plot
    earlier: int
    """Number of attempts before those shown."""
    later: int
    """Number of attempts after those shown, which may not be needed."""


def attempt_columns(
    run: Run, artifacts: Sequence[ArtifactInfo], evaluations: Mapping[int, EvaluationView]
) -> AttemptColumns:
    """Return the columns of a run's attempts: at most 20, the newest."""
    outputs = {artifact.attempt: artifact for artifact in artifacts if artifact.artifact_type is ArtifactType.OUTPUT}
    ended_at = {(artifact.attempt, artifact.artifact_type): artifact.created_at for artifact in artifacts}
    newest = max([0, *outputs, *evaluations, *([run.current_attempt] if run.started_at else [])])
    numbers = _numbers(run, newest)
    spans = _spans(run, numbers, ended_at)
    attempts = [_attempt(run, number, newest, evaluations, outputs.get(number), spans) for number in numbers]
    scores = {attempt.number: attempt.score for attempt in attempts if attempt.score is not None}
    return AttemptColumns(
        attempts=tuple(attempts),
        plot=charts.plot(run, numbers, scores),
        earlier=numbers[0] - 1,
        later=max(run.max_attempts - numbers[-1], 0) if not run.ended else 0,
    )


def _numbers(run: Run, newest: int) -> range:
    last = newest if run.ended else min(max(run.max_attempts, newest), max(newest + _PENDING_COLUMNS, 3))
    last = max(last, 1)
    return range(max(1, last - _MAX_COLUMNS + 1), last + 1)


_Place = tuple[int, ArtifactType]
"""A stage: the attempt, and the type of the artifact that ends it."""
_Span = tuple[datetime, datetime | None]
"""Start and end of a stage; the end is None while it is running."""


def _spans(run: Run, numbers: Sequence[int], ended_at: Mapping[_Place, datetime]) -> dict[_Place, _Span]:
    """Return when each stage began and ended: a stage begins at the moment the stage before it ended."""
    spans: dict[_Place, _Span] = {}
    for number in numbers:
        start = ended_at.get((number - 1, ArtifactType.EVALUATION)) if number > 1 else run.started_at
        for artifact_type in (ArtifactType.OUTPUT, ArtifactType.EVALUATION):
            if start is None:
                break
            end = ended_at.get((number, artifact_type))
            is_running = end is None and number == run.current_attempt and run.status is RunStatus.RUNNING
            if end is None and not is_running:
                break
            spans[number, artifact_type] = (start, end)
            start = end
    return spans


def _attempt(
    run: Run,
    number: int,
    newest: int,
    evaluations: Mapping[int, EvaluationView],
    output: ArtifactInfo | None,
    spans: Mapping[_Place, _Span],
) -> Attempt:
    evaluation = evaluations.get(number)
    score = evaluation.score if evaluation else None
    is_current = number == run.current_attempt and run.status is RunStatus.RUNNING
    tag, tag_tone = _tag(run, number, evaluations)
    longest = max((end - start for start, end in spans.values() if end), default=timedelta())
    return Attempt(
        number=number,
        score=score,
        shortfall=None if score is None else run.pass_threshold - score,
        tag=tag,
        tag_tone=tag_tone,
        bars=tuple(
            _bar(run, number, artifact_type, spans[number, artifact_type], longest)
            for artifact_type in (ArtifactType.OUTPUT, ArtifactType.EVALUATION)
            if (number, artifact_type) in spans
        ),
        evaluation=evaluation,
        output=output,
        is_current=is_current,
        is_stalled=is_current and run.stalled,
        is_pending=number > newest,
    )


def _bar(run: Run, number: int, artifact_type: ArtifactType, span: _Span, longest: timedelta) -> Bar:
    start, end = span
    if artifact_type is ArtifactType.EVALUATION:
        label, kind = "Evaluate", BarKind.EVALUATION
    else:
        label, kind = _output_label(number, policy_of(run.policy).drafts), BarKind.OUTPUT
    if end is None:
        kind = BarKind.STALLED if run.stalled else BarKind.NOW
        return Bar(label=label, percent=_RUNNING_PERCENT, duration=None, running_since=start, kind=kind)
    percent = 100 * (end - start) / longest if longest else 100.0
    return Bar(
        label=label,
        percent=round(max(percent, _MIN_PERCENT), 1),
        duration=end - start,
        running_since=None,
        kind=kind,
    )


def _output_label(number: int, drafts: int) -> str:
    if drafts > 1 and number <= drafts:
        return "Draft"
    return "Produce" if number == 1 else "Revise"


def _tag(run: Run, number: int, evaluations: Mapping[int, EvaluationView]) -> tuple[str, Tone]:
    """Return the one tag of an attempt and its colour."""
    if number == run.current_attempt and run.status is RunStatus.RUNNING:
        if run.stalled:
            return "Stalled", Tone.WARN
        return (run.current_stage or Stage.PRODUCING).value.capitalize(), Tone.LIVE
    score = evaluations[number].score if number in evaluations else None
    previous = evaluations[number - 1].score if number - 1 in evaluations else None
    if number == run.best_attempt:
        if run.status is RunStatus.PASSED:
            return "Passed", Tone.GOOD
        return ("Best" if run.ended else "Best so far"), Tone.NEUTRAL
    if score is not None and previous is not None and score - previous < REGRESSED / 2:
        return "Regressed", Tone.BAD
    return "", Tone.NEUTRAL
