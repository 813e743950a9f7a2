"""One run: what its page shows in every tab, put together from the run, its artifacts and a window of its journal."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs

from loopkit.core import machine, plain
from loopkit.core.journal import Artifact, ArtifactInfo, ArtifactType
from loopkit.core.run import Run
from loopkit_web.rendering import words
from loopkit_web.views.artifacts import Shown
from loopkit_web.views.attempts import Rail, rail_of
from loopkit_web.views.fleet import FleetView, holder
from loopkit_web.views.judging import Criterion, Judgement, judgements
from loopkit_web.views.status import Status, status_of
from loopkit_web.views.strip import Strip, strip_of

__all__ = ["TABS", "Input", "MatrixRow", "RunView", "run_view"]

TABS: Final = ("timeline", "artifacts", "evaluation", "inputs", "raw")
_LONG: Final = 160


@attrs.frozen(kw_only=True)
class Cell:
    """A criterion in one attempt."""

    criterion: Criterion | None
    change: float | None
    has_regressed: bool


@attrs.frozen(kw_only=True)
class MatrixRow:
    """One criterion through all attempts."""

    name: str
    mark: float
    cells: tuple[Cell, ...]
    said: str
    """What the evaluator said of it last."""
    is_score: bool = False


@attrs.frozen(kw_only=True)
class Input:
    """One input by its name."""

    name: str
    text: str
    value: Any
    is_long: bool


@attrs.frozen(kw_only=True)
class RunView:
    """A run on its page."""

    run: Run
    status: Status
    subject: str
    actor: str | None
    host: str
    process: str
    duration: timedelta | None
    strip: Strip
    rail: Rail
    judged: Mapping[int, Judgement]
    matrix: tuple[MatrixRow, ...]
    inputs: tuple[Input, ...]
    artifacts: tuple[ArtifactInfo, ...]
    shown: Mapping[int, Shown]
    can_cancel: bool
    can_retry: bool

    @property
    def latest(self) -> Judgement | None:
        """The newest evaluation."""
        return self.judged[max(self.judged)] if self.judged else None

    @property
    def scored(self) -> list[int]:
        return sorted(self.judged)

    @property
    def comparable(self) -> tuple[int, int] | None:
        """The best attempt, and the one that is compared with it; None where there are no two outputs."""
        numbers = sorted(one.attempt for one in self.artifacts if one.artifact_type is ArtifactType.OUTPUT)
        if len(numbers) < 2:
            return None
        best = self.run.best_attempt
        if best in numbers[1:]:
            return numbers[numbers.index(best) - 1], best
        return numbers[-2], numbers[-1]


def run_view(
    run: Run,
    artifacts: Sequence[ArtifactInfo],
    texts: Sequence[Artifact],
    shown: Mapping[int, Shown],
    fleet: FleetView | None,
    actor: str | None,
) -> RunView:
    """Put together what a run's page shows.

    Args:
        texts: the artifacts that were read, every evaluation among them.
        shown: the artifacts that the page shows, by their id.
        actor: who started it, where that is known.
    """
    judged = judgements(texts, run.pass_threshold)
    host, process = holder(run)
    actions = machine.actions(run)
    ended = run.started_at is not None and run.completed_at is not None
    return RunView(
        run=run,
        status=status_of(run),
        subject=words.subject(run.inputs),
        actor=actor,
        host=host,
        process=process,
        duration=run.completed_at - run.started_at if ended else None,  # type: ignore[operator]
        strip=strip_of(run, judged, fleet),
        rail=rail_of(run, artifacts, judged),
        judged=judged,
        matrix=tuple(_matrix(run, judged)),
        inputs=tuple(_input(name, value) for name, value in plain.mapping(run.inputs).items()),
        artifacts=tuple(artifacts),
        shown=shown,
        can_cancel=machine.Action.CANCEL in actions,
        can_retry=machine.Action.RETRY in actions,
    )


def _input(name: str, value: Any) -> Input:
    text = words.plain(value)
    return Input(name=name, text=text, value=value, is_long=len(text) > _LONG or isinstance(value, dict))


def _matrix(run: Run, judged: Mapping[int, Judgement]) -> list[MatrixRow]:
    """Give criteria by attempts, the score last."""
    numbers = sorted(judged)[-8:]
    names = dict.fromkeys(criterion.name for number in numbers for criterion in judged[number].criteria)
    rows = [_matrix_row(name, [judged[number].criterion(name) for number in numbers]) for name in names]
    if numbers:
        mark = run.pass_threshold
        scores = [judged[number].score for number in numbers]
        score = [None if one is None else Criterion(name="Score", score=one, mark=mark) for one in scores]
        row = _matrix_row("Score", score)
        rows.append(attrs.evolve(row, mark=mark, is_score=True, said=judged[numbers[-1]].feedback))
    return rows


def _matrix_row(name: str, found: Sequence[Criterion | None]) -> MatrixRow:
    cells = []
    before: Criterion | None = None
    for criterion in found:
        change = round(criterion.score - before.score, 6) if criterion and before else None
        cells.append(Cell(criterion=criterion, change=change, has_regressed=change is not None and change <= -0.05))
        before = criterion or before
    said = next((one.feedback for one in reversed(found) if one and one.feedback), "")
    mark = next((one.mark for one in reversed(found) if one), 0.0)
    return MatrixRow(name=name, mark=mark, cells=tuple(cells), said=said)
