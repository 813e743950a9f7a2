"""Comparison of two attempts of a run, or of the best attempts of two runs: the values that its page shows."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

import attrs

from loopkit.core import strict_json
from loopkit.core.journal import Artifact
from loopkit.core.labels.label_text import MAX_TITLE_CHARS
from loopkit.core.run import Run
from loopkit.core.strict_json import mapping
from loopkit_web.dashboard.markup import diff, display_text
from loopkit_web.dashboard.markup.bidi_text import isolated
from loopkit_web.dashboard.markup.text_allowance import TextAllowance, cut
from loopkit_web.dashboard.views import comparison
from loopkit_web.dashboard.views.artifact_view import ArtifactView, ViewAllowance, artifact_view
from loopkit_web.dashboard.views.comparison import CriterionChange, MatchedChange
from loopkit_web.dashboard.views.evaluations import EvaluationView
from loopkit_web.dashboard.views.feedback_points import Point, points_of
from loopkit_web.dashboard.views.status import Status, status_of

__all__ = ["InputChange", "Mode", "Side", "comparison_view", "input_changes", "scale_fault"]

_MAX_INPUTS: Final = 40
"""Inputs that differ and are shown."""
_LONG_INPUT: Final = 160
_CONTEXT_CHARS: Final = 60
"""Characters shown before the first difference of two long inputs."""
_MAX_PART: Final = 400
_MAX_NAME: Final = 200
_MAX_RENDERED_BYTES: Final = 450_000
_MAX_MARKDOWN_BYTES: Final = 120_000


class Mode(StrEnum):
    """Ways to show the outputs; values of the parameter ``view``."""

    SPLIT = "split"
    INLINE = "inline"
    RENDERED = "rendered"


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


def scale_fault(a: Run, b: Run) -> str:
    """Return why the scores of two runs are not on one scale; "" if they are."""
    if a.agent_name != b.agent_name:
        names = f"{isolated(a.agent_name)} and {isolated(b.agent_name)}"
        return f"The runs are of different agents, {names}, so their scores are not compared."
    if a.definition is not None and b.definition is not None and a.definition != b.definition:
        return "The agent was changed between the two runs, so their scores are not compared."
    return ""


@attrs.frozen(kw_only=True)
class InputChange:
    """One input that differs between two runs."""

    name: str
    before: str | None
    """Its value in the first run, or the part of it around the first difference; None if the run lacks it."""
    after: str | None


def input_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[InputChange]:
    """Return the inputs that differ between two runs, by name, in the order of the first run."""
    return [
        _input_change(name, before, after)
        for name in dict.fromkeys([*before, *after])
        if name not in before or name not in after or _sorted(before[name]) != _sorted(after[name])
    ]


def _input_change(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> InputChange:
    old, new = (display_text.whole(inputs[name]) if name in inputs else None for inputs in (before, after))
    if old is None or new is None:
        return InputChange(name=cut(name, _MAX_NAME), before=_part(old, 0), after=_part(new, 0))
    shorter = min(len(old), len(new))
    same = next((index for index in range(shorter) if old[index] != new[index]), shorter)
    start = max(same - _CONTEXT_CHARS, 0) if max(len(old), len(new)) > _LONG_INPUT else 0
    return InputChange(name=cut(name, _MAX_NAME), before=_part(old, start), after=_part(new, start))


def _part(text: str | None, start: int) -> str | None:
    return None if text is None else ("… " if start else "") + cut(text[start:], _MAX_PART)


def _sorted(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


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


def comparison_view(a: Side, b: Side, mode: Mode, *, title: str, same_run: bool, scale_fault: str) -> Mapping[str, Any]:
    """Return what the page shows of the two sides, by the names of its template.

    It takes time for long outputs: call it from a worker thread.
    """
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
