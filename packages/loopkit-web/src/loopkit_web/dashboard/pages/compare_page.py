"""``/agents/{runId}/compare`` and ``/compare``: two attempts of a run, or the best attempts of two runs."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

import attrs
from starlette.responses import Response

from loopkit.core import strict_json
from loopkit.core.journal import Artifact, ArtifactInfo, ArtifactType
from loopkit.core.labels.label_text import MAX_TITLE_CHARS
from loopkit.core.run import MAX_ATTEMPTS, Run
from loopkit.core.strict_json import mapping
from loopkit_web.dashboard.markup import diff, display_text
from loopkit_web.dashboard.markup.bidi_text import isolated
from loopkit_web.dashboard.markup.text_allowance import TextAllowance
from loopkit_web.dashboard.pages.layout import page, segment
from loopkit_web.dashboard.pages.page_worker import in_worker
from loopkit_web.dashboard.views import comparison
from loopkit_web.dashboard.views.artifact_view import ArtifactView, ViewAllowance, artifact_view
from loopkit_web.dashboard.views.comparison import CriterionChange, MatchedChange
from loopkit_web.dashboard.views.evaluations import MAX_EVALUATION_CHARS, EvaluationView, evaluation_views
from loopkit_web.dashboard.views.feedback_points import Point, points_of
from loopkit_web.dashboard.views.run_view import input_changes
from loopkit_web.dashboard.views.status import Status, status_of
from loopkit_web.http.call import Call
from loopkit_web.http.endpoint import Form
from loopkit_web.http.json_schema import documented
from loopkit_web.http.problems import ProblemCode, Refused

__all__ = ["AttemptsQuery", "RunsQuery", "compare_attempts", "compare_runs", "redirect_to_comparison", "scale_fault"]

_MAX_INPUTS: Final = 40
"""Inputs that differ and are shown."""

_MAX_RUN_CHARS: Final = 60_000
"""Characters of each text of a run that are read."""
_MAX_OUTPUT_CHARS: Final = 200_000
"""Characters of an output that are read; longer ones are not compared."""
_MAX_NUMBERS: Final = 100
"""Newest attempts to choose from."""
_MAX_RENDERED_BYTES: Final = 450_000
_MAX_MARKDOWN_BYTES: Final = 120_000


class Mode(StrEnum):
    """Ways to show the outputs; values of the parameter ``view``."""

    SPLIT = "split"
    INLINE = "inline"
    RENDERED = "rendered"


@attrs.frozen(kw_only=True)
class AttemptsQuery:
    """Query of the comparison of two attempts."""

    a: int | None = documented(None, minimum=1, maximum=MAX_ATTEMPTS)
    b: int | None = documented(None, minimum=1, maximum=MAX_ATTEMPTS)
    view: str = Mode.SPLIT.value
    """An unknown mode is ``split``."""


@attrs.frozen(kw_only=True)
class RunsQuery:
    """Query of the comparison of two runs."""

    runs: str = ""
    """Two ids, separated by a comma."""
    view: str = Mode.SPLIT.value
    """An unknown mode is ``split``."""


@attrs.frozen(kw_only=True)
class Side:
    """One side of a comparison."""

    label: str
    run: Run
    attempt: int
    output: Artifact | None
    evaluation: EvaluationView | None
    path: str
    artifact: ArtifactView | None = None
    """The output as it is shown in the mode ``rendered``."""
    duration: timedelta | None = None

    @property
    def status(self) -> Status:
        return status_of(self.run)

    @property
    def subject(self) -> str:
        """Title of the run; without one its subject."""
        return display_text.shorten(self.run.title or "", MAX_TITLE_CHARS) or display_text.subject(self.run.inputs)

    @property
    def filename(self) -> str:
        return self.output.filename if self.output else f"attempt {self.attempt}"

    @property
    def text(self) -> str:
        return self.output.content if self.output else ""


async def compare_attempts(call: Call) -> Response:
    """``GET /agents/{runId}/compare``: two attempts; without ``a`` and ``b`` the best and the one before it."""
    query: AttemptsQuery = call.query
    run = await call.store.get_run(call.path["run_id"], max_chars=_MAX_RUN_CHARS)
    infos = await call.store.describe_artifacts(run.id)
    numbers = sorted({info.attempt for info in infos if info.artifact_type is ArtifactType.OUTPUT})
    if not numbers:
        raise Refused(ProblemCode.NOT_FOUND, "This run has no output yet, so there is nothing to compare.")
    b = query.b or (run.best_attempt if (run.best_attempt or 0) > 1 and query.a is None else numbers[-1])
    a = query.a or max([number for number in numbers if number < (b or 1)], default=numbers[0])
    sides = [await _side(call, run, infos, number or 1, f"attempt {number}") for number in (a, b)]
    numbers = sorted({*numbers[-_MAX_NUMBERS:], *(number for number in numbers if number in (a, b))})
    path = f"/agents/{segment(run.id)}/compare?a={a}&b={b}"
    modes = [(mode, f"{path}&view={mode}") for mode in Mode]
    title = f"Did attempt {b} improve on attempt {a}?"
    return await _page(call, sides[0], sides[1], query.view, modes, title=title, same_run=True, numbers=numbers)


async def compare_runs(call: Call) -> Response:
    """``GET /compare?runs=A,B``: the best attempts of two runs."""
    query: RunsQuery = call.query
    ids = [part.strip() for part in query.runs.split(",") if part.strip()]
    if len(ids) != 2:
        raise Refused(ProblemCode.BAD_QUERY, "Choose two runs to compare: /compare?runs=A,B")
    sides = []
    for run_id, name in zip(ids, "AB", strict=True):
        run = await call.store.get_run(run_id, max_chars=_MAX_RUN_CHARS)
        attempt = run.best_attempt or run.current_attempt
        infos = await call.store.describe_artifacts(run.id)
        sides.append(await _side(call, run, infos, attempt, f"run {name}"))
    modes = [(mode, f"/compare?{urlencode({'runs': ','.join(ids), 'view': mode})}") for mode in Mode]
    fault = scale_fault(sides[0].run, sides[1].run)
    title = "Two runs side by side" if fault else f"Is the second {isolated(sides[1].run.agent_name)} better?"
    return await _page(
        call, sides[0], sides[1], query.view, modes, title=title, same_run=False, numbers=[], scale_fault=fault
    )


def scale_fault(a: Run, b: Run) -> str:
    """Return why the scores of two runs are not on one scale; "" if they are."""
    if a.agent_name != b.agent_name:
        names = f"{isolated(a.agent_name)} and {isolated(b.agent_name)}"
        return f"The runs are of different agents, {names}, so their scores are not compared."
    if a.definition is not None and b.definition is not None and a.definition != b.definition:
        return "The agent was changed between the two runs, so their scores are not compared."
    return ""


async def redirect_to_comparison(call: Call) -> Response:
    """``POST /compare``: leads to the comparison of the two runs that were selected in the list."""
    form: Form = call.body
    ids = list(dict.fromkeys(form.getlist("id")))
    if len(ids) != 2:
        selected = f"{len(ids)} {'is' if len(ids) == 1 else 'are'} selected"
        raise Refused(ProblemCode.BAD_QUERY, f"Choose two runs to compare; {selected}.")
    # Without scripts the order of choosing is not known: the list shows the newest first, the comparison the older one.
    return call.see_other(f"/compare?{urlencode({'runs': ','.join(reversed(ids))})}")


async def _side(call: Call, run: Run, infos: Sequence[ArtifactInfo], attempt: int, label: str) -> Side:
    ids = {info.artifact_type: info.id for info in infos if info.attempt == attempt}
    outputs = await _read(call, run, ids.get(ArtifactType.OUTPUT), _MAX_OUTPUT_CHARS)
    evaluations = await _read(call, run, ids.get(ArtifactType.EVALUATION), MAX_EVALUATION_CHARS)
    views = await in_worker(call, evaluation_views, evaluations, run.pass_threshold)
    ended_at = max((info.created_at for info in infos if info.attempt == attempt), default=None)
    earlier = [info.created_at for info in infos if info.attempt < attempt]
    started_at = max(earlier) if earlier else run.started_at
    return Side(
        label=label,
        run=run,
        attempt=attempt,
        output=outputs[0] if outputs else None,
        evaluation=views.get(attempt),
        path=f"/agents/{segment(run.id)}?tab=artifacts#attempt-{attempt}-output",
        duration=ended_at - started_at if ended_at and started_at else None,
    )


async def _read(call: Call, run: Run, artifact_id: int | None, max_chars: int) -> Sequence[Artifact]:
    """Read one artifact, or the beginning of it; none without an id."""
    if artifact_id is None:
        return ()
    return await call.store.list_artifacts(run.id, only=[artifact_id], max_chars=max_chars)


class DifferenceState(StrEnum):
    """Results of comparing two outputs."""

    CHANGED = "changed"
    IDENTICAL = "identical"
    MISSING = "missing"
    TOO_LARGE = "too-large"


@attrs.frozen(kw_only=True)
class Difference:
    """Difference between two outputs."""

    state: DifferenceState
    is_json: bool = False
    parts: Sequence[diff.Part] = ()
    """Empty unless the state is ``changed``."""


async def _page(
    call: Call,
    a: Side,
    b: Side,
    view: str,
    modes: Sequence[tuple[Mode, str]],
    *,
    title: str,
    same_run: bool,
    numbers: Sequence[int],
    scale_fault: str = "",
) -> Response:
    mode = Mode(view) if view in set(Mode) else Mode.SPLIT
    values = await in_worker(
        call, partial(_compared, a, b, mode, title=title, same_run=same_run, scale_fault=scale_fault)
    )
    return await page(
        call,
        "compare.html",
        title=title,
        nav="/agents",
        run=a.run,
        same_run=same_run,
        swapped=f"/compare?{urlencode({'runs': f'{b.run.id},{a.run.id}', 'view': mode})}",
        numbers=numbers,
        mode=mode,
        modes=modes,
        durations=(a.duration, b.duration) if a.duration is not None and b.duration is not None else None,
        **values,
    )


def _compared(a: Side, b: Side, mode: Mode, *, title: str, same_run: bool, scale_fault: str) -> Mapping[str, Any]:
    """Return what the page shows of the two sides. Takes time for long outputs: call it from a worker thread."""
    changes = comparison.criterion_changes(
        a.evaluation, b.evaluation, b.run.pass_threshold, is_comparable=not scale_fault
    )
    points = points_of(a.evaluation) if a.evaluation and same_run else []
    difference = _difference(a, b)
    parts = comparison.match_changes(difference.parts, points, changes)
    matched = [part for part in parts if isinstance(part, MatchedChange)]
    is_changed = difference.state is DifferenceState.CHANGED
    open_points = comparison.open_points(points, matched, changes) if is_changed else points
    headline = scale_fault or comparison.headline(changes, open_points, points)
    if mode is Mode.RENDERED:
        allowance = ViewAllowance(max_bytes=_MAX_RENDERED_BYTES)
        a, b = [attrs.evolve(side, artifact=_rendered(side, allowance)) for side in (a, b)]
    shown = comparison.shown_parts(parts)
    shown_changes = [part for part in shown if isinstance(part, MatchedChange)]
    markdown = _markdown(title, headline, changes, shown_changes, open_points)
    return {
        "a": a,
        "b": b,
        "headline": headline,
        "input_changes": [] if same_run else input_changes(mapping(a.run.inputs), mapping(b.run.inputs))[:_MAX_INPUTS],
        "changes": changes if a.evaluation or b.evaluation else [],
        "state": difference.state,
        "is_json": difference.is_json,
        "parts": shown,
        "omitted": len(matched) - len(shown_changes),
        "hunks": len(matched),
        "words_added": sum(len(change.hunk.added.split()) for change in matched),
        "words_removed": sum(len(change.hunk.removed.split()) for change in matched),
        "open_points": open_points,
        "markdown": TextAllowance(_MAX_MARKDOWN_BYTES).take(markdown),
    }


def _rendered(side: Side, allowance: ViewAllowance) -> ArtifactView | None:
    return None if side.output is None else artifact_view(side.output, allowance=allowance)


def _difference(a: Side, b: Side) -> Difference:
    """Compare the two outputs."""
    if a.output is None or b.output is None:
        return Difference(state=DifferenceState.MISSING)
    is_part = a.output.length is not None or b.output.length is not None
    if a.text == b.text and not is_part:
        return Difference(state=DifferenceState.IDENTICAL)
    if is_part or diff.is_too_large(a.text, b.text):
        return Difference(state=DifferenceState.TOO_LARGE)
    documents = [_document(text) for text in (a.text, b.text)]
    if any(document is None for document in documents):
        return Difference(state=DifferenceState.CHANGED, parts=diff.line_diff(a.text, b.text))
    parts = diff.json_diff(*documents)
    if parts is None:
        return Difference(state=DifferenceState.TOO_LARGE, is_json=True)
    return Difference(state=DifferenceState.CHANGED, is_json=True, parts=parts)


def _document(text: str) -> Mapping[str, Any] | list[Any] | None:
    document = strict_json.loads_or_text(text)
    return document if isinstance(document, dict | list) else None


def _markdown(
    title: str,
    headline: str,
    changes: Sequence[CriterionChange],
    matched: Sequence[MatchedChange],
    open_points: Sequence[Point],
) -> str:
    """Return the comparison as Markdown, to be copied elsewhere."""
    lines = [f"# {title}", "", headline, "", "| criterion | before | after | change |", "|---|---|---|---|"]
    for change in changes:
        text = "" if change.change is None else f"{display_text.signed(change.change)} {change.text}"
        before, after = (display_text.score(score, change.pass_mark) for score in (change.before, change.after))
        lines.append(f"| {change.name} | {before} | {after} | {text} |")
    for part in matched:
        lines += ["", f"## Change {part.number}: {part.label}", ""]
        lines += [f"> {point.text}" for point in part.points]
        removed = (line for line in part.hunk.before if line.kind is diff.LineKind.REMOVED)
        added = (line for line in part.hunk.after if line.kind is diff.LineKind.ADDED)
        lines += ["```diff", *(f"- {line.text}" for line in removed), *(f"+ {line.text}" for line in added), "```"]
    if open_points:
        lines += ["", "## Still open", "", *(f"- {point.text}" for point in open_points)]
    return "\n".join(lines)
