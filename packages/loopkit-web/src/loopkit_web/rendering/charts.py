"""Charts as numbers: where each dot and line stands. The templates draw them as SVG with presentation attributes.

Everything is one figure: the pass mark as a dashed line, what lies above it as a zone, an attempt as a dot.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import floor
from typing import Final

import attrs

from loopkit.core.run import Run, RunStatus

__all__ = ["Arc", "Plot", "Spark", "arcs", "plot", "position", "spark"]

_STEP: Final = 26
_WIDEST: Final = 134
_MARK_Y: Final = 12.0
_FOOT_Y: Final = 29.0
_DEPTH: Final = 0.4
_MAX_DOTS: Final = 8


@attrs.frozen(kw_only=True)
class Dot:
    x: float
    y: float
    kind: str
    """``past``, ``passed``, ``failed``, ``best``, ``now``, ``silent`` or ``unused``."""
    attempt: int = 0
    score: float | None = None


@attrs.frozen(kw_only=True)
class Spark:
    """The trajectory of a run in its row: 36 high, the pass mark always in the same place."""

    width: int
    dots: tuple[Dot, ...]
    passed: bool
    words: str
    """The same for who does not see it."""

    @property
    def line(self) -> str:
        """The points of the scored dots, for a polyline; "" where there is no line."""
        scored = [dot for dot in self.dots if dot.score is not None]
        return " ".join(f"{dot.x:g},{dot.y:g}" for dot in scored) if len(scored) > 1 else ""


def spark(run: Run, scores: Mapping[int, float]) -> Spark:
    """Give the trajectory of a run from the scores of its attempts."""
    used = run.current_attempt if run.status is not RunStatus.QUEUED else max(scores, default=0)
    last = min(run.max_attempts, max(_MAX_DOTS, used))
    first = max(1, last - _MAX_DOTS + 1)
    step = min(_STEP, _WIDEST // max(1, last - first + 1))
    dots = []
    for attempt in range(first, last + 1):
        x = 10.0 + (attempt - first) * step
        if attempt in scores:
            y = _row_y(scores[attempt], run.pass_threshold)
            kind = _scored_kind(run, attempt, max(scores))
            dots.append(Dot(x=x, y=y, kind=kind, attempt=attempt, score=scores[attempt]))
        elif attempt == run.current_attempt and run.status is RunStatus.RUNNING:
            dots.append(Dot(x=x, y=_FOOT_Y, kind="silent" if run.stalled else "now", attempt=attempt))
        else:
            dots.append(Dot(x=x, y=_FOOT_Y, kind="unused", attempt=attempt))
    told = ", ".join(f"{scores[attempt]:.2f}" for attempt in sorted(scores))
    words = f"Scores {told}; pass mark {run.pass_threshold:.2f}" if told else "No score yet"
    passed = run.status is RunStatus.PASSED
    return Spark(
        width=len(dots) * step - 4 if step == _STEP else (len(dots) - 1) * step + 20,
        dots=tuple(dots),
        passed=passed,
        words=words,
    )


def _row_y(score: float, mark: float) -> float:
    if score >= mark:
        room = 1.0 - mark
        return round(_MARK_Y - 1.5 - (7.0 * (score - mark) / room if room else 0.0), 1)
    return round(_MARK_Y + 2.5 + (_FOOT_Y - _MARK_Y - 2.5) * min((mark - score) / _DEPTH, 1.0), 1)


def _scored_kind(run: Run, attempt: int, newest: int) -> str:
    if attempt == newest and run.status is RunStatus.PASSED:
        return "passed"
    return "failed" if attempt == newest and run.status is RunStatus.FAILED else "past"


# --- The attempts of one run -----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Plot:
    """Scores against the pass mark, one column an attempt; x in percent of the width, y in a height of 148."""

    mark: float
    mark_y: float
    floor: float
    floor_y: float
    dots: tuple[Dot, ...]
    edges: tuple[float, ...]
    """Where columns meet, in percent."""
    height: int = 148

    @property
    def lines(self) -> Sequence[tuple[Dot, Dot]]:
        """The scored dots that follow each other."""
        scored = [dot for dot in self.dots if dot.score is not None]
        return list(pairwise(scored))


_TOP_Y: Final = 12.0
_BASE_Y: Final = 126.0


def plot(run: Run, attempts: Sequence[int], scores: Mapping[int, float]) -> Plot:
    """Give the chart of these attempts, a column each."""
    mark = run.pass_threshold
    lowest = max(0.0, min(min(scores.values(), default=1.0), mark - 0.35) - 0.15)
    base = floor(lowest * 10 + 1e-9) / 10
    dots = []
    width = 100 / max(len(attempts), 1)
    for index, attempt in enumerate(attempts):
        x = round(width * (index + 0.5), 3)
        value = scores.get(attempt)
        y = _BASE_Y if value is None else _plot_y(value, base)
        dots.append(Dot(x=x, y=y, kind=_plot_kind(run, attempt, scores), attempt=attempt, score=value))
    edges = tuple(round(width * index, 3) for index in range(1, len(attempts)))
    return Plot(mark=mark, mark_y=_plot_y(mark, base), floor=base, floor_y=_BASE_Y, dots=tuple(dots), edges=edges)


def _plot_y(score: float, base: float) -> float:
    return round(_BASE_Y - (_BASE_Y - _TOP_Y) * max(score - base, 0.0) / (1.0 - base), 1) if base < 1 else _TOP_Y


def _plot_kind(run: Run, attempt: int, scores: Mapping[int, float]) -> str:
    if attempt in scores:
        kind = _scored_kind(run, attempt, max(scores))
        return "best" if kind == "past" and attempt == run.best_attempt else kind
    if attempt == run.current_attempt and run.status is RunStatus.RUNNING:
        return "silent" if run.stalled else "now"
    return "unused"


# --- Small shapes ----------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Arc:
    """One piece of the ring that stands for a running run: an attempt."""

    length: float
    turn: float
    kind: str
    """``done``, ``now`` or ``rest``."""


def arcs(current: int, total: int) -> list[Arc]:
    """Give the ring of a running run, cut into as many pieces as it has attempts; at most eight."""
    pieces = min(total, _MAX_DOTS)
    at = current if total <= _MAX_DOTS else max(1, min(pieces, round(current / total * pieces)))
    gap = 9.0 if pieces > 1 else 0.0
    return [
        Arc(
            length=round(100 / pieces - gap, 2),
            turn=round(-90 + 360 * (index + gap / 200) / pieces, 1),
            kind="done" if index + 1 < at else "now" if index + 1 == at else "rest",
        )
        for index in range(pieces)
    ]


def position(score: float, width: float) -> float:
    """Give where a score stands on a track that goes from 0 to 1."""
    return round(max(0.0, min(score, 1.0)) * width, 1)
