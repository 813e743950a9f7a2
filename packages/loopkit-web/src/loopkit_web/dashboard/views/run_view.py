"""One run: the values that its page shows in every tab, from the run, its artifacts and a window of its journal."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from itertools import islice
from typing import Any, Final

import attrs

from loopkit.core import run_actions, strict_json
from loopkit.core.journal import ArtifactInfo, ArtifactType
from loopkit.core.labels.label_text import MAX_TITLE_CHARS
from loopkit.core.run import Run
from loopkit_web.dashboard.markup import display_text
from loopkit_web.dashboard.markup.text_allowance import TextAllowance, cut
from loopkit_web.dashboard.views.artifact_view import ArtifactView, BestOutput, best_output, find_best_output
from loopkit_web.dashboard.views.attempt_columns import AttemptColumns, attempt_columns
from loopkit_web.dashboard.views.evaluations import (
    MAX_CRITERIA,
    REGRESSED,
    Criterion,
    EvaluationView,
)
from loopkit_web.dashboard.views.panel_view import PanelRow, panel_rows
from loopkit_web.dashboard.views.run_list_view import Filters
from loopkit_web.dashboard.views.run_summary import RunSummary, run_summary
from loopkit_web.dashboard.views.runners_view import FleetView, host_and_pid
from loopkit_web.dashboard.views.stage_failure import StageFailure
from loopkit_web.dashboard.views.status import Status, status_of

__all__ = ["Cell", "Input", "MatrixRow", "RunView", "Tab", "run_view"]

_LONG_INPUT: Final = 160
_MATRIX_ATTEMPTS: Final = 8
_MAX_INPUTS: Final = 200
_MAX_INPUT_BYTES: Final = 400_000
"""Bytes of HTML that the inputs take at most."""
_MAX_NAME: Final = 200
_MAX_LISTED: Final = 500
"""Most artifacts that the tab of artifacts lists."""
_MAX_FEEDBACK_BYTES: Final = 160_000
"""Bytes of HTML that the feedback of all evaluations takes at most, that of all criteria, and that of a panel."""


class Tab(StrEnum):
    """Tabs of a run's page; values of the parameter ``tab``."""

    TIMELINE = "timeline"
    ARTIFACTS = "artifacts"
    EVALUATION = "evaluation"
    INPUTS = "inputs"
    USAGE = "usage"
    RAW = "raw"


@attrs.frozen(kw_only=True)
class Cell:
    """One criterion in one attempt."""

    criterion: Criterion | None
    change: float | None
    """Difference to the attempt before; None without one."""
    has_regressed: bool


@attrs.frozen(kw_only=True)
class MatrixRow:
    """One criterion in all attempts that are shown."""

    name: str
    pass_mark: float
    cells: tuple[Cell, ...]
    feedback: str
    """The newest feedback on it."""
    is_score: bool = False


@attrs.frozen(kw_only=True)
class Input:
    """One input and its name."""

    name: str
    text: str
    """Its value on one line, or the beginning of it."""
    whole: str
    """Its value in full: a text as it is, anything else as JSON."""
    is_long: bool
    """True if ``text`` does not show all of it."""


@attrs.frozen(kw_only=True)
class RunView:
    """Run on its page."""

    run: Run
    status: Status
    title: str
    """Title of the run; "" without one."""
    tags: tuple[tuple[str, str], ...]
    """Each tag, with the path of the list of the runs that have it."""
    subject: str
    actor: str | None
    host: str
    pid: str
    duration: timedelta | None
    summary: RunSummary
    best_output: BestOutput | None
    """Output of an ended run, where the tab shows it."""
    columns: AttemptColumns
    evaluations: Mapping[int, EvaluationView]
    """Evaluations by attempt."""
    matrix: tuple[MatrixRow, ...]
    checks: tuple[PanelRow, ...]
    """Checks of the attempts that have a column in the matrix."""
    judges: tuple[PanelRow, ...]
    inputs: tuple[Input, ...]
    """At most 200 of them."""
    has_more_inputs: bool
    """True if not all inputs are shown in full."""
    artifacts: tuple[ArtifactInfo, ...]
    artifact_views: Mapping[int, ArtifactView]
    """The artifacts whose texts the tab shows, by artifact id."""
    can_cancel: bool
    can_retry: bool

    @property
    def latest_evaluation(self) -> EvaluationView | None:
        return self.evaluations[max(self.evaluations)] if self.evaluations else None

    @property
    def evaluated_attempts(self) -> list[int]:
        return sorted(self.evaluations)

    @property
    def matrix_attempts(self) -> list[int]:
        """Attempts that have a column in the matrix: the newest eight that are evaluated."""
        return self.evaluated_attempts[-_MATRIX_ATTEMPTS:]

    def listed_artifacts(self, attempt: int | None) -> Sequence[ArtifactInfo]:
        """Return the artifacts that the tab of artifacts lists: at most 500, all of one attempt if it is given."""
        return [artifact for artifact in self.artifacts if attempt in (None, artifact.attempt)][:_MAX_LISTED]

    @property
    def attempts_to_compare(self) -> tuple[int, int] | None:
        """The best attempt and the output before it, else the newest two; None for fewer than two outputs."""
        numbers = sorted(
            artifact.attempt for artifact in self.artifacts if artifact.artifact_type is ArtifactType.OUTPUT
        )
        if len(numbers) < 2:
            return None
        best = self.run.best_attempt
        if best in numbers[1:]:
            return numbers[numbers.index(best) - 1], best
        return numbers[-2], numbers[-1]


def run_view(
    run: Run,
    artifacts: Sequence[ArtifactInfo],
    evaluations: Mapping[int, EvaluationView],
    artifact_views: Mapping[int, ArtifactView],
    fleet: FleetView | None,
    actor: str | None,
    best_view: ArtifactView | None = None,
    failure: StageFailure | None = None,
) -> RunView:
    """Return what a run's page shows.

    Args:
        evaluations: those that the page shows, by attempt.
        artifact_views: the artifacts that the page shows, by artifact id.
        fleet: the runners, where they matter for the run. None: they are not known.
        actor: who started the run, if that is known.
        best_view: the run's best output, if the page shows it.
        failure: the newest failure in the journal of a failed run.
    """
    evaluations = _bounded(evaluations)
    panels = [evaluations[attempt].panel for attempt in sorted(evaluations)[-_MATRIX_ATTEMPTS:]]
    words = TextAllowance(_MAX_FEEDBACK_BYTES)
    host, pid = host_and_pid(run)
    actions = run_actions.allowed_actions(run)
    ended = run.started_at is not None and run.completed_at is not None
    return RunView(
        run=run,
        status=status_of(run),
        title=display_text.shorten(run.title or "", MAX_TITLE_CHARS),
        tags=tuple((tag, Filters(tag=(tag,)).path()) for tag in run.tags),
        subject=display_text.subject(run.inputs),
        actor=actor,
        host=host,
        pid=pid,
        duration=run.completed_at - run.started_at if ended else None,  # type: ignore[operator]
        summary=run_summary(run, evaluations, fleet, failure),
        best_output=best_output(run, find_best_output(run, artifacts), best_view, evaluations),
        columns=attempt_columns(run, artifacts, evaluations),
        evaluations=evaluations,
        matrix=tuple(_matrix(run, evaluations)),
        checks=panel_rows([panel.checks for panel in panels], words),
        judges=panel_rows([panel.judges for panel in panels], words),
        inputs=_inputs(run),
        has_more_inputs=run.is_cut or len(strict_json.mapping(run.inputs)) > _MAX_INPUTS,
        artifacts=tuple(artifacts),
        artifact_views=artifact_views,
        can_cancel=run_actions.Action.CANCEL in actions,
        can_retry=run_actions.Action.RETRY in actions,
    )


def _bounded(evaluations: Mapping[int, EvaluationView]) -> dict[int, EvaluationView]:
    """Return the evaluations with feedback that a page can hold, the newest in full and earlier ones as far as fits."""
    allowance = TextAllowance(_MAX_FEEDBACK_BYTES)
    bounded: dict[int, EvaluationView] = {}
    for attempt in sorted(evaluations, reverse=True):
        evaluation = evaluations[attempt]
        feedback = allowance.take(evaluation.feedback)
        is_cut = evaluation.is_cut or feedback != evaluation.feedback
        bounded[attempt] = attrs.evolve(evaluation, feedback=feedback, is_cut=is_cut)
    return bounded


def _inputs(run: Run) -> tuple[Input, ...]:
    allowance = TextAllowance(_MAX_INPUT_BYTES)
    inputs = strict_json.mapping(run.inputs).items()
    return tuple(_input(name, value, allowance) for name, value in islice(inputs, _MAX_INPUTS))


def _input(name: str, value: Any, allowance: TextAllowance) -> Input:
    text = display_text.plain(value)
    whole = display_text.whole(value)
    is_cut = isinstance(value, dict) or (isinstance(value, list) and not display_text.is_plain_list(value))
    return Input(
        name=cut(name, _MAX_NAME),
        text=cut(text, 2 * _LONG_INPUT),
        whole=allowance.take(whole),
        is_long=is_cut or len(text) > _LONG_INPUT,
    )


def _matrix(run: Run, evaluations: Mapping[int, EvaluationView]) -> list[MatrixRow]:
    """Return a row for each criterion, at most 100, and one for the score at the end."""
    numbers = sorted(evaluations)[-_MATRIX_ATTEMPTS:]
    if not numbers:
        return []
    names = dict.fromkeys(criterion.name for number in reversed(numbers) for criterion in evaluations[number].criteria)
    allowance = TextAllowance(_MAX_FEEDBACK_BYTES)
    rows = [
        _matrix_row(name, [evaluations[number].criterion(name) for number in numbers], allowance)
        for name in islice(names, MAX_CRITERIA)
    ]
    pass_mark = run.pass_threshold
    scores = [evaluations[number].score for number in numbers]
    cells = [None if score is None else Criterion(name="Score", score=score, pass_mark=pass_mark) for score in scores]
    feedback = evaluations[numbers[-1]].feedback
    score_row = attrs.evolve(
        _matrix_row("Score", cells, allowance), pass_mark=pass_mark, is_score=True, feedback=allowance.take(feedback)
    )
    return [*rows, score_row]


def _matrix_row(name: str, criteria: Sequence[Criterion | None], allowance: TextAllowance) -> MatrixRow:
    cells = []
    previous: Criterion | None = None
    for criterion in criteria:
        change = round(criterion.score - previous.score, 6) if criterion and previous else None
        has_regressed = change is not None and change <= REGRESSED
        cells.append(Cell(criterion=criterion, change=change, has_regressed=has_regressed))
        previous = criterion or previous
    newest_first = [criterion for criterion in reversed(criteria) if criterion]
    return MatrixRow(
        name=name,
        pass_mark=newest_first[0].pass_mark if newest_first else 0.0,
        cells=tuple(cells),
        feedback=allowance.take(next((criterion.feedback for criterion in newest_first if criterion.feedback), "")),
    )
