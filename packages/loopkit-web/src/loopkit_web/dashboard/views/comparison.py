"""Two attempts side by side: how scores and criteria changed, and which points of the feedback a change addresses.

Changes and points are matched by the words they share (:mod:`.feedback_points`); whether a matched point was
addressed is read from the criterion that it is about.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import islice
from typing import Final

import attrs

from loopkit_web.dashboard.markup import display_text
from loopkit_web.dashboard.markup.bidi_text import isolated
from loopkit_web.dashboard.markup.diff import Hunk, Line, Part, Same
from loopkit_web.dashboard.markup.text_allowance import html_bytes
from loopkit_web.dashboard.views.evaluations import MAX_CRITERIA, REGRESSED, EvaluationView
from loopkit_web.dashboard.views.feedback_points import HunkWords, Point, hunk_words, mentioned_share, word_counts

__all__ = [
    "CriterionChange",
    "MatchedChange",
    "Verdict",
    "criterion_changes",
    "headline",
    "match_changes",
    "open_points",
    "shown_parts",
]

_MIN_SHARE: Final = 0.3
"""Share of a point that a change must mention to be shown beside it."""
_ADDRESSED_SHARE: Final = 0.5
"""Share from which on a change addresses a point, if no criterion decides."""
_MAX_POINTS_PER_CHANGE: Final = 3
_MAX_MATCHED: Final = 1_000
"""Changes that are compared with the feedback; further ones count as unrelated."""
_NO_WORDS: Final = HunkWords(frozenset(), frozenset())
_MAX_SHOWN_BYTES: Final = 350_000
"""Bytes of HTML that the parts of a difference take."""
_LINE_BYTES: Final = 150
_HUNK_BYTES: Final = 700
_PIECE_BYTES: Final = 11
_UNCHANGED: Final = 0.005
"""Changes of a score below this are not visible in two decimals."""
_NOT_EVALUATED: Final = EvaluationView(attempt=0, score=None, feedback="")


@attrs.frozen(kw_only=True)
class CriterionChange:
    """One criterion, or the score, on both sides."""

    name: str
    pass_mark: float | None
    before: float | None
    after: float | None
    is_score: bool = False
    """True for the score itself."""
    is_comparable: bool = True
    """False if the two scores are not on one scale."""

    @property
    def change(self) -> float | None:
        if self.before is None or self.after is None or not self.is_comparable:
            return None
        return round(self.after - self.before, 6)

    @property
    def has_regressed(self) -> bool:
        return self.change is not None and self.change <= REGRESSED

    @property
    def is_unchanged(self) -> bool:
        return self.change is not None and abs(self.change) < _UNCHANGED

    @property
    def text(self) -> str:
        """Description of the change: ``slightly better``, ``regressed``."""
        change = self.change
        if not self.is_comparable:
            return "not comparable"
        if change is None:
            return "new" if self.before is None and self.after is not None else "not evaluated"
        if self.is_unchanged:
            return "unchanged"
        if self.is_score:
            return "better" if change > 0 else "worse"
        if change <= REGRESSED:
            return "regressed"
        return f"{'slightly ' if abs(change) < -REGRESSED else ''}{'better' if change > 0 else 'worse'}"

    @property
    def is_below(self) -> bool | None:
        """True if it is below its pass mark now; None if that is not known."""
        return None if self.after is None or self.pass_mark is None else self.after < self.pass_mark


def criterion_changes(
    before: EvaluationView | None,
    after: EvaluationView | None,
    pass_threshold: float,
    *,
    is_comparable: bool = True,
) -> list[CriterionChange]:
    """Return the changes of the criteria of both sides, the largest fall first, and that of the score last.

    At most 100 criteria are compared.

    Args:
        is_comparable: False if the scores of the two sides are not on one scale.
    """
    before = before or _NOT_EVALUATED
    after = after or _NOT_EVALUATED
    names = dict.fromkeys(criterion.name for criterion in (*before.criteria, *after.criteria))
    changes = [_criterion_change(name, before, after) for name in islice(names, MAX_CRITERIA)]
    changes.sort(key=lambda change: change.change or 0.0)
    score = CriterionChange(
        name="Score", pass_mark=pass_threshold, before=before.score, after=after.score, is_score=True
    )
    return [attrs.evolve(change, is_comparable=is_comparable) for change in (*changes, score)]


def _criterion_change(name: str, before: EvaluationView, after: EvaluationView) -> CriterionChange:
    old, new = before.criterion(name), after.criterion(name)
    newest = new or old
    return CriterionChange(
        name=name,
        pass_mark=newest.pass_mark if newest else None,
        before=old.score if old else None,
        after=new.score if new else None,
    )


class Verdict(StrEnum):
    """Degrees to which a change addresses the feedback; they are CSS classes."""

    ADDRESSED = "addressed"
    PARTLY = "partly"
    REGRESSED = "regressed"
    """It addresses a point whose criterion has regressed."""
    UNRELATED = "unrelated"


_VERDICT_LABELS: Final = {
    Verdict.ADDRESSED: "Addressed",
    Verdict.PARTLY: "Partly addressed",
    Verdict.REGRESSED: "Partly addressed, now worse",
    Verdict.UNRELATED: "Not in the feedback",
}


@attrs.frozen(kw_only=True)
class MatchedChange:
    """One change of the output, and the points of the feedback that it addresses."""

    hunk: Hunk
    number: int
    verdict: Verdict
    points: tuple[Point, ...] = ()
    criteria: tuple[CriterionChange, ...] = ()
    """Criteria that the points are about."""

    @property
    def label(self) -> str:
        return _VERDICT_LABELS[self.verdict]

    @property
    def growth(self) -> int:
        """Number of words that the change adds, negative if it removes more."""
        return len(self.hunk.added.split()) - len(self.hunk.removed.split())


def match_changes(
    parts: Iterable[Part], points: Sequence[Point], changes: Sequence[CriterionChange]
) -> list[MatchedChange | Same]:
    """Return the parts of a difference, each change with the points of the feedback that it mentions.

    Args:
        points: the points of the feedback on the earlier side.
        changes: see :func:`criterion_changes`.
    """
    counts = word_counts(points)
    by_name = {change.name: change for change in changes if not change.is_score}
    matched: list[MatchedChange | Same] = []
    number = 0
    for part in parts:
        if isinstance(part, Same):
            matched.append(part)
            continue
        number += 1
        words = hunk_words(part) if points and number <= _MAX_MATCHED else _NO_WORDS
        shares = [(mentioned_share(point, words, counts), index) for index, point in enumerate(points)]
        best = sorted((pair for pair in shares if pair[0] >= _MIN_SHARE), reverse=True)[:_MAX_POINTS_PER_CHANGE]
        mentioned = tuple(points[index] for _, index in best)
        names = dict.fromkeys(point.criterion for point in mentioned if point.criterion)
        criteria = tuple(by_name[name] for name in names if name in by_name)
        verdict = _verdict(criteria, max((share for share, _ in best), default=0.0))
        matched.append(MatchedChange(hunk=part, number=number, verdict=verdict, points=mentioned, criteria=criteria))
    return matched


def shown_parts(parts: Sequence[MatchedChange | Same]) -> list[MatchedChange | Same]:
    """Return the first parts of a difference, as many as a page can hold."""
    left = _MAX_SHOWN_BYTES
    shown: list[MatchedChange | Same] = []
    for part in parts:
        if isinstance(part, Same):
            left -= _HUNK_BYTES + sum(map(_line_bytes, part.lines))
        else:
            texts = (part.hunk.path, *(point.text for point in part.points), *(c.name for c in part.criteria))
            left -= _HUNK_BYTES + sum(map(html_bytes, texts))
            left -= sum(map(_line_bytes, (*part.hunk.before, *part.hunk.after)))
        if left < 0:
            break
        shown.append(part)
    return shown


def _line_bytes(line: Line) -> int:
    return _LINE_BYTES + sum(_PIECE_BYTES + html_bytes(piece.text) for piece in line.pieces)


def _verdict(criteria: Sequence[CriterionChange], share: float) -> Verdict:
    if share == 0.0:
        return Verdict.UNRELATED
    if any(criterion.has_regressed for criterion in criteria):
        return Verdict.REGRESSED
    comparable = [criterion for criterion in criteria if criterion.change is not None]
    if comparable:
        is_better = all((criterion.change or 0.0) > 0 or criterion.is_below is False for criterion in comparable)
        return Verdict.ADDRESSED if is_better else Verdict.PARTLY
    return Verdict.ADDRESSED if share >= _ADDRESSED_SHARE else Verdict.PARTLY


def open_points(
    points: Sequence[Point], matched: Iterable[MatchedChange | Same], changes: Sequence[CriterionChange]
) -> list[Point]:
    """Return the points that no change mentions, except those whose criterion has reached its pass mark."""
    mentioned = {point for part in matched if isinstance(part, MatchedChange) for point in part.points}
    reached = {change.name for change in changes if change.is_below is False}
    return [point for point in points if point not in mentioned and point.criterion not in reached and point.words]


def headline(changes: Sequence[CriterionChange], still_open: Sequence[Point], points: Sequence[Point]) -> str:
    """Return one sentence that says whether the score rose, and what speaks against the later attempt."""
    score = changes[-1]
    if score.change is None:
        return "One side has no score, so only the outputs can be compared."
    if score.is_unchanged:
        opening = f"Neither better nor worse. The score stayed at {display_text.score(score.after, score.pass_mark)}"
    else:
        answer, verb = ("Yes", "rose") if score.change > 0 else ("No", "fell")
        opening = f"{answer}. The score {verb} by {abs(score.change):.2f}"
    drawbacks = []
    if still_open:
        drawbacks.append(_open_text(len(still_open), len(points)))
    if regressed := [isolated(change.name) for change in changes[:-1] if change.has_regressed]:
        drawbacks.append(f"{', '.join(regressed)} regressed")
    return f"{opening}; {' and '.join(drawbacks)}." if drawbacks else f"{opening}."


def _open_text(count: int, total: int) -> str:
    if total == 1:
        return "the only point of the feedback is still open"
    if count == total:
        return f"all {total} points of the feedback are still open"
    return f"{count} of {total} points of the feedback {'is' if count == 1 else 'are'} still open"
