"""Two attempts side by side: did it get better, and did the changes answer what the evaluator had said?

Which change answers which point is found by the words they share, and by the criterion that a point speaks of. It is
a reading aid and says so on the page; nothing depends on it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import attrs

from loopkit_web.rendering.diff import Hunk, Same
from loopkit_web.rendering.words import score as score_words
from loopkit_web.views.judging import REGRESSED, Judgement

__all__ = ["Answer", "Delta", "Point", "answers", "deltas", "left_open", "points"]

_WORD: Final = re.compile(r"[^\W_]+(?:[.,]\d+)*")
_SENTENCE: Final = re.compile(r"(?<=[.!?;])\s+(?=[\"“'(]?[A-Z0-9ÄÖÜÀ-Ý])|\n+|(?<=;)\s+")
_BULLET: Final = re.compile(r"^\s*(?:[-*•–]|\d+[.)])\s+")
_STOP: Final = frozenset(
    {
        *("the", "a", "an", "and", "or", "but", "of", "for", "to", "in", "on", "at", "by", "with", "from"),
        *("as", "is", "are", "was", "were", "be", "been", "it", "its", "this", "that", "these", "those"),
        *("not", "no", "than", "then", "there", "their", "them", "they", "he", "she", "we", "you", "your"),
        *("our", "his", "her", "has", "have", "had", "do", "does", "did", "can", "could", "should", "would"),
        *("will", "may", "might", "must", "more", "most", "less", "very", "too", "also", "into", "over"),
        *("under", "about", "each", "every", "all", "any", "some", "one", "only", "just", "so", "if", "attempt"),
        *(
            "output",
            "text",
            "feedback",
            "give",
            "name",
            "please",
            "need",
            "say",
            "make",
            "use",
            "still",
            "now",
            "score",
        ),
    }
)
_SHARED: Final = 0.3
"""The share of a point's words that a change must have to count as an answer to it."""
_CLOSE: Final = 0.5
"""From which share of a point's words on a change answers it, where no criterion tells."""
_MAX_POINTS: Final = 60


# --- Criteria --------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Delta:
    """One criterion on both sides."""

    name: str
    mark: float | None
    before: float | None
    after: float | None
    is_score: bool = False
    """It is the score itself, not one of the criteria."""

    @property
    def change(self) -> float | None:
        if self.before is None or self.after is None:
            return None
        return round(self.after - self.before, 6)

    @property
    def has_regressed(self) -> bool:
        return self.change is not None and self.change <= REGRESSED

    @property
    def words(self) -> str:
        """The change in words."""
        change = self.change
        if change is None:
            return "new" if self.before is None and self.after is not None else "not judged"
        if abs(change) < 0.005:
            return "the same"
        if self.is_score:
            return "better" if change > 0 else "worse"
        if change <= REGRESSED:
            return "regressed"
        return f"{'slightly ' if abs(change) < -REGRESSED else ''}{'better' if change > 0 else 'worse'}"

    @property
    def is_below(self) -> bool | None:
        """True where it is short of its mark now; None where that is not known."""
        return None if self.after is None or self.mark is None else self.after < self.mark


def deltas(before: Judgement, after: Judgement, mark: float) -> list[Delta]:
    """Give every criterion of both sides, what fell most first, and the score last."""
    names = dict.fromkeys([one.name for one in (*before.criteria, *after.criteria)])
    found = []
    for name in names:
        old, new = before.criterion(name), after.criterion(name)
        judged = new or old
        found.append(
            Delta(
                name=name,
                mark=judged.mark if judged else None,
                before=old.score if old else None,
                after=new.score if new else None,
            )
        )
    found.sort(key=lambda delta: 0.0 if delta.change is None else delta.change)
    return [*found, Delta(name="Score", mark=mark, before=before.score, after=after.score, is_score=True)]


# --- Feedback against changes ----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Point:
    """One thing the evaluator said."""

    text: str
    criterion: str | None = None

    @property
    def terms(self) -> frozenset[str]:
        return frozenset(_terms(self.text))


@attrs.frozen(kw_only=True)
class Answer:
    """One change, what it answers, and how well."""

    hunk: Hunk
    number: int
    verdict: str
    """``answered``, ``half``, ``worse`` or ``unasked``."""
    points: tuple[Point, ...] = ()
    criteria: tuple[Delta, ...] = ()

    @property
    def words(self) -> str:
        return _VERDICTS[self.verdict]

    @property
    def growth(self) -> int:
        """Words that the change adds."""
        return len(self.hunk.added.split()) - len(self.hunk.removed.split())


_VERDICTS: Final = {
    "answered": "Answered",
    "half": "Half answered",
    "worse": "Half answered, now worse",
    "unasked": "Nobody asked for this",
}


def points(judgement: Judgement) -> list[Point]:
    """Cut feedback into the points it makes: sentences, lines of a list, and what was said of each criterion."""
    found: dict[str, Point] = {}
    for criterion in judgement.criteria:
        for text in _sentences(criterion.feedback):
            found.setdefault(text, Point(text=text, criterion=criterion.name))
    names = [(criterion.name, frozenset(_terms(criterion.name))) for criterion in judgement.criteria]
    for text in _sentences(judgement.feedback):
        terms = frozenset(_terms(text))
        named = next((name for name, words in names if words and words <= terms), None)
        found.setdefault(text, Point(text=text, criterion=named))
    return list(found.values())[:_MAX_POINTS]


def _sentences(text: str) -> Iterator[str]:
    for part in _SENTENCE.split(text):
        if stripped := _BULLET.sub("", part).strip():
            yield stripped


def _terms(text: str) -> Iterator[str]:
    for word in _WORD.findall(text.casefold()):
        if word not in _STOP and (len(word) > 2 or word.isdigit()):
            yield _stem(word)


def _stem(word: str) -> str:
    for ending in ("ings", "ing", "ies", "ied", "ers", "er", "ed", "es", "ly", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)].removesuffix("e")
    return word.removesuffix("e")


def answers(parts: Iterable[Hunk | Same], said: Sequence[Point], changes: Sequence[Delta]) -> list[Answer | Same]:
    """Put beside each change the points it answers; what stayed the same keeps its place."""
    weights = Counter(term for point in said for term in point.terms)
    by_name = {delta.name: delta for delta in changes if not delta.is_score}
    found: list[Answer | Same] = []
    number = 0
    for part in parts:
        if isinstance(part, Same):
            found.append(part)
            continue
        number += 1
        matched = sorted(
            ((share, index) for index, point in enumerate(said) if (share := _share(point, part, weights)) >= _SHARED),
            reverse=True,
        )[:3]
        answered = tuple(said[index] for _, index in matched)
        named = dict.fromkeys(point.criterion for point in answered if point.criterion)
        judged = tuple(by_name[name] for name in named if name in by_name)
        verdict = _verdict(judged, max((share for share, _ in matched), default=0.0))
        found.append(Answer(hunk=part, number=number, verdict=verdict, points=answered, criteria=judged))
    return found


def _share(point: Point, hunk: Hunk, weights: Counter[str]) -> float:
    """Give how much of a point a change speaks of, 0..1; a word that many points have counts for less."""
    terms = point.terms
    if not terms:
        return 0.0
    changed = frozenset(_terms(f"{hunk.removed} {hunk.added}"))
    near = frozenset(_terms(hunk.context))
    if len(terms & changed) < min(2, len(terms)):
        return 0.0
    total = sum(1 / weights[term] for term in terms)
    hit = sum((1.0 if term in changed else 0.6) / weights[term] for term in terms if term in near | changed)
    return hit / total


def _verdict(judged: Sequence[Delta], share: float) -> str:
    if share == 0.0:
        return "unasked"
    if any(delta.has_regressed for delta in judged):
        return "worse"
    told = [delta for delta in judged if delta.change is not None]
    if told:
        good = all((delta.change or 0.0) > 0 or delta.is_below is False for delta in told)
        return "answered" if good else "half"
    return "answered" if share >= _CLOSE else "half"


def left_open(said: Sequence[Point], found: Iterable[Any], changes: Sequence[Delta]) -> list[Point]:
    """Give the points that no change answers, but for those whose criterion has reached its mark all the same."""
    answered = {point for one in found if isinstance(one, Answer) for point in one.points}
    reached = {delta.name for delta in changes if delta.is_below is False}
    return [point for point in said if point not in answered and point.criterion not in reached and point.terms]


def sentence(changes: Sequence[Delta], open_points: Sequence[Point], said: Sequence[Point]) -> str:
    """Say in one sentence whether it got better."""
    score = changes[-1]
    if score.change is None:
        return "One side has no score, so only the texts can be compared."
    if abs(score.change) < 0.005:
        opening = f"Neither better nor worse. The score stayed at {score_words(score.after)}"
    else:
        verb = "rose" if score.change > 0 else "fell"
        opening = f"{'Yes' if score.change > 0 else 'No'}. The score {verb} by {abs(score.change):.2f}"
    worse = [delta for delta in changes[:-1] if delta.has_regressed]
    rest = []
    if said:
        rest.append(
            f"{len(open_points)} of {len(said)} points raised {'was' if len(open_points) == 1 else 'were'} left open"
        )
    if worse:
        rest.append(f"{', '.join(delta.name for delta in worse)} regressed")
    return f"{opening}, and {' and '.join(rest)}." if rest else f"{opening}."
