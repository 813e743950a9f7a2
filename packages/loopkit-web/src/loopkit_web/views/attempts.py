"""The attempts of a run, one column each: what was made, how long it took, and how far from the mark it came."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import attrs

from loopkit.core.journal import ArtifactInfo, ArtifactType
from loopkit.core.run import Run, RunStatus, Stage
from loopkit_web.rendering import charts
from loopkit_web.views.judging import REGRESSED, Judgement

__all__ = ["Attempt", "Bar", "Rail", "rail_of"]

_MOST: Final = 20
_AHEAD: Final = 2
"""Columns shown of attempts that may not be needed."""


@attrs.frozen(kw_only=True)
class Bar:
    """One stage of an attempt and the time it took."""

    words: str
    share: float
    """Of the longest stage of the run, in percent."""
    span: timedelta | None
    """None while it goes on."""
    since: datetime | None
    kind: str
    """``made``, ``judged``, ``now`` or ``silent``."""


@attrs.frozen(kw_only=True)
class Attempt:
    """One attempt."""

    number: int
    score: float | None
    short: float | None
    """How far below the mark; None where there is no score."""
    tag: str
    tag_kind: str
    bars: tuple[Bar, ...]
    judgement: Judgement | None
    output: ArtifactInfo | None
    is_now: bool = False
    is_silent: bool = False
    is_ahead: bool = False
    """It was not begun."""


@attrs.frozen(kw_only=True)
class Rail:
    """The attempts that are shown, and their chart."""

    attempts: tuple[Attempt, ...]
    plot: charts.Plot
    earlier: int
    """Attempts before those shown."""
    later: int
    """Attempts after those shown, which may not be needed."""


def rail_of(run: Run, artifacts: Sequence[ArtifactInfo], judged: Mapping[int, Judgement]) -> Rail:
    """Give the attempts of a run."""
    outputs = {one.attempt: one for one in artifacts if one.artifact_type is ArtifactType.OUTPUT}
    ends = {(one.attempt, one.artifact_type): one.created_at for one in artifacts}
    begun = max([0, *outputs, *judged, *([run.current_attempt] if run.started_at else [])])
    numbers = _numbers(run, begun)
    scores = {number: one.score for number, one in judged.items() if one.score is not None}
    spans = _spans(run, numbers, ends)
    attempts = [_attempt(run, number, begun, judged, outputs.get(number), spans) for number in numbers]
    shown = {number: score for number, score in scores.items() if number in numbers}
    return Rail(
        attempts=tuple(attempts),
        plot=charts.plot(run, numbers, shown),
        earlier=numbers[0] - 1,
        later=max(run.max_attempts - numbers[-1], 0) if not run.ended else 0,
    )


def _numbers(run: Run, begun: int) -> range:
    last = begun if run.ended else min(max(run.max_attempts, begun), max(begun + _AHEAD, 3))
    last = max(last, 1)
    return range(max(1, last - _MOST + 1), last + 1)


_Ends = Mapping[tuple[int, ArtifactType], datetime]
_Span = tuple[datetime, datetime | None]


def _spans(run: Run, numbers: Sequence[int], ends: _Ends) -> dict[tuple[int, ArtifactType], _Span]:
    """Give when each stage began and ended: a stage begins in the moment in which the one before it ended."""
    found: dict[tuple[int, ArtifactType], _Span] = {}
    for number in numbers:
        start = ends.get((number - 1, ArtifactType.EVALUATION)) if number > 1 else run.started_at
        for kind in (ArtifactType.OUTPUT, ArtifactType.EVALUATION):
            if start is None:
                break
            end = ends.get((number, kind))
            is_running = end is None and number == run.current_attempt and run.status is RunStatus.RUNNING
            if end is None and not is_running:
                break
            found[number, kind] = (start, end)
            start = end
    return found


def _attempt(
    run: Run,
    number: int,
    begun: int,
    judged: Mapping[int, Judgement],
    output: ArtifactInfo | None,
    spans: Mapping[tuple[int, ArtifactType], _Span],
) -> Attempt:
    judgement = judged.get(number)
    score = judgement.score if judgement else None
    is_now = number == run.current_attempt and run.status is RunStatus.RUNNING
    tag, tag_kind = _tag(run, number, judged)
    longest = max((end - start for start, end in spans.values() if end), default=timedelta())
    return Attempt(
        number=number,
        score=score,
        short=None if score is None else round(run.pass_threshold - score, 6),
        tag=tag,
        tag_kind=tag_kind,
        bars=tuple(
            _bar(run, number, kind, spans[number, kind], longest)
            for kind in (ArtifactType.OUTPUT, ArtifactType.EVALUATION)
            if (number, kind) in spans
        ),
        judgement=judgement,
        output=output,
        is_now=is_now,
        is_silent=is_now and run.stalled,
        is_ahead=number > begun,
    )


def _bar(run: Run, number: int, kind: ArtifactType, span: _Span, longest: timedelta) -> Bar:
    start, end = span
    if kind is ArtifactType.EVALUATION:
        words, look = "Evaluate", "judged"
    else:
        words, look = ("Produce" if number == 1 else "Revise"), "made"
    if end is None:
        return Bar(words=words, share=50, span=None, since=start, kind="silent" if run.stalled else "now")
    share = 100 * (end - start) / longest if longest else 100.0
    return Bar(words=words, share=round(max(share, 1.5), 1), span=end - start, since=None, kind=look)


def _tag(run: Run, number: int, judged: Mapping[int, Judgement]) -> tuple[str, str]:
    """Give the one tag of an attempt and its colour."""
    if number == run.current_attempt and run.status is RunStatus.RUNNING:
        if run.stalled:
            return "Silent", "warn"
        return (run.current_stage or Stage.PRODUCING).value.capitalize(), "live"
    score = judged[number].score if number in judged else None
    before = judged[number - 1].score if number - 1 in judged else None
    if number == run.best_attempt:
        if run.status is RunStatus.PASSED:
            return "Passed", "good"
        return ("Best" if run.ended else "Best so far"), ""
    if score is not None and before is not None and score - before < REGRESSED / 2:
        return "Regressed", "bad"
    return "", ""
