"""Charts as numbers: coordinates of dots and lines. The templates draw them as SVG with presentation attributes.

All charts share one figure: a dashed line at the pass mark, a zone above it, and one dot for each attempt.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from math import floor
from typing import Final

import attrs

from loopkit.core.run import Run, RunStatus
from loopkit_web.dashboard.markup import display_text

__all__ = ["Arc", "ArcKind", "Dot", "DotKind", "Plot", "Spark", "arcs", "plot", "position", "spark"]

_MAX_DOTS: Final = 8

# The chart in a row of the list, in pixels.
_STEP: Final = 26
_MAX_WIDTH: Final = 134
_ROW_MARK_Y: Final = 12.0
_ROW_BASE_Y: Final = 29.0
_ROW_DEPTH: Final = 0.4
"""Distance below the pass mark at which a dot is at the bottom of its row."""

# The chart of a run's page, in pixels from the top.
_TOP_Y: Final = 12.0
_BASE_Y: Final = 126.0


class DotKind(StrEnum):
    """Meanings of a dot; they are CSS classes."""

    PAST = "past"
    PASSED = "passed"
    FAILED = "failed"
    BEST = "best"
    NOW = "now"
    STALLED = "stalled"
    UNUSED = "unused"


@attrs.frozen(kw_only=True)
class Dot:
    """One attempt in a chart."""

    x: float
    y: float
    kind: DotKind
    attempt: int
    score: float | None = None


@attrs.frozen(kw_only=True)
class Spark:
    """Scores of a run in its row of the list: 36 px high, with the pass mark always at the same height."""

    width: int
    dots: tuple[Dot, ...]
    passed: bool
    description: str
    """The same as text, for screen readers."""

    @property
    def line(self) -> str:
        """Points of the polyline through the scored dots; "" for fewer than two."""
        scored = [dot for dot in self.dots if dot.score is not None]
        return " ".join(f"{dot.x:g},{dot.y:g}" for dot in scored) if len(scored) > 1 else ""


def spark(run: Run, scores: Mapping[int, float]) -> Spark:
    """Return the chart of a run's row, from the scores of its attempts; at most the newest eight attempts."""
    used = run.current_attempt if run.status is not RunStatus.QUEUED else max(scores, default=0)
    last = min(run.max_attempts, max(_MAX_DOTS, used))
    first = max(1, last - _MAX_DOTS + 1)
    step = min(_STEP, _MAX_WIDTH // max(1, last - first + 1))
    dots = tuple(
        _spark_dot(run, attempt, scores, x=10.0 + (attempt - first) * step) for attempt in range(first, last + 1)
    )
    listed = ", ".join(display_text.score(scores[attempt], run.pass_threshold) for attempt in sorted(scores))
    return Spark(
        width=len(dots) * step - 4 if step == _STEP else (len(dots) - 1) * step + 20,
        dots=dots,
        passed=run.status is RunStatus.PASSED,
        description=f"Scores {listed}; pass mark {display_text.mark(run.pass_threshold)}" if listed else "No score yet",
    )


def _spark_dot(run: Run, attempt: int, scores: Mapping[int, float], *, x: float) -> Dot:
    if attempt not in scores:
        return Dot(x=x, y=_ROW_BASE_Y, kind=_unscored_kind(run, attempt), attempt=attempt)
    y = _row_y(scores[attempt], run.pass_threshold)
    return Dot(x=x, y=y, kind=_scored_kind(run, attempt, max(scores)), attempt=attempt, score=scores[attempt])


def _row_y(score: float, pass_mark: float) -> float:
    """Return the height of a dot; above the line exactly if the score reaches the pass mark."""
    if score >= pass_mark:
        room = 1.0 - pass_mark
        return round(_ROW_MARK_Y - 1.5 - (7.0 * (score - pass_mark) / room if room else 0.0), 1)
    depth = min((pass_mark - score) / _ROW_DEPTH, 1.0)
    return round(_ROW_MARK_Y + 2.5 + (_ROW_BASE_Y - _ROW_MARK_Y - 2.5) * depth, 1)


def _scored_kind(run: Run, attempt: int, newest: int) -> DotKind:
    if attempt == newest and run.status is RunStatus.PASSED:
        return DotKind.PASSED
    return DotKind.FAILED if attempt == newest and run.status is RunStatus.FAILED else DotKind.PAST


def _unscored_kind(run: Run, attempt: int) -> DotKind:
    if attempt == run.current_attempt and run.status is RunStatus.RUNNING:
        return DotKind.STALLED if run.stalled else DotKind.NOW
    return DotKind.UNUSED


@attrs.frozen(kw_only=True)
class Plot:
    """Scores against the pass mark on a run's page, one column for each attempt.

    x is in percent of the width, y in pixels of a height of 148.
    """

    pass_mark: float
    pass_mark_y: float
    base: float
    """Score at the bottom of the chart."""
    base_y: float
    dots: tuple[Dot, ...]
    edges: tuple[float, ...]
    """Boundaries between the columns, in percent."""
    height: int = 148

    @property
    def has_scores(self) -> bool:
        return any(dot.score is not None for dot in self.dots)

    @property
    def lines(self) -> Sequence[tuple[Dot, Dot]]:
        """Pairs of scored dots that follow each other."""
        return list(pairwise(dot for dot in self.dots if dot.score is not None))


def plot(run: Run, attempts: Sequence[int], scores: Mapping[int, float]) -> Plot:
    """Return the chart of these attempts. Its lowest score is a multiple of 0.1 below all scores and the pass mark."""
    pass_mark = run.pass_threshold
    lowest = max(0.0, min(min(scores.values(), default=1.0), pass_mark - 0.35) - 0.15)
    base = floor(lowest * 10 + 1e-9) / 10
    width = 100 / max(len(attempts), 1)
    dots = [
        _plot_dot(run, attempt, scores, base, x=round(width * (index + 0.5), 3))
        for index, attempt in enumerate(attempts)
    ]
    edges = tuple(round(width * index, 3) for index in range(1, len(attempts)))
    return Plot(
        pass_mark=pass_mark,
        pass_mark_y=_plot_y(pass_mark, base),
        base=base,
        base_y=_BASE_Y,
        dots=tuple(dots),
        edges=edges,
    )


def _plot_dot(run: Run, attempt: int, scores: Mapping[int, float], base: float, *, x: float) -> Dot:
    score = scores.get(attempt)
    y = _BASE_Y if score is None else _plot_y(score, base)
    return Dot(x=x, y=y, kind=_plot_kind(run, attempt, scores), attempt=attempt, score=score)


def _plot_y(score: float, base: float) -> float:
    return round(_BASE_Y - (_BASE_Y - _TOP_Y) * max(score - base, 0.0) / (1.0 - base), 1) if base < 1 else _TOP_Y


def _plot_kind(run: Run, attempt: int, scores: Mapping[int, float]) -> DotKind:
    if attempt not in scores:
        return _unscored_kind(run, attempt)
    kind = _scored_kind(run, attempt, max(scores))
    return DotKind.BEST if kind is DotKind.PAST and attempt == run.best_attempt else kind


class ArcKind(StrEnum):
    """Meanings of an arc; they are CSS classes."""

    DONE = "done"
    NOW = "now"
    REST = "rest"


@attrs.frozen(kw_only=True)
class Arc:
    """One attempt in the ring that is the symbol of a running run."""

    length: float
    """Hundredths of the whole ring."""
    turn: float
    """Degrees by which the arc is rotated."""
    kind: ArcKind


def arcs(current: int, total: int) -> list[Arc]:
    """Return the ring of a running run: one arc for each attempt, at most eight arcs."""
    pieces = min(total, _MAX_DOTS)
    current_piece = current if total <= _MAX_DOTS else max(1, min(pieces, round(current / total * pieces)))
    gap = 9.0 if pieces > 1 else 0.0
    return [
        Arc(
            length=round(100 / pieces - gap, 2),
            turn=round(-90 + 360 * (index + gap / 200) / pieces, 1),
            kind=_arc_kind(index + 1, current_piece),
        )
        for index in range(pieces)
    ]


def _arc_kind(piece: int, current: int) -> ArcKind:
    if piece == current:
        return ArcKind.NOW
    return ArcKind.DONE if piece < current else ArcKind.REST


def position(score: float, width: float) -> float:
    """Return the position of a score on a track of this width, which reaches from 0 to 1."""
    return round(max(0.0, min(score, 1.0)) * width, 1)
