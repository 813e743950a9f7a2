"""Points of feedback, and how much of a point a change mentions.

The comparison of two attempts shows each change beside the feedback that it may address. Evaluators give feedback as
prose, mostly without naming a place in the output, so criteria alone cannot connect a change with a sentence: they
would leave the reader with two lists. What a sentence and the change made for it nearly always share is their content
words. So a change counts as mentioning a point if it has enough of the point's words:

    point          "The free tier is 100 GB a month, not 50."       words: fre, tier, 100, month, 50
    change         "The free tier ends at 50 GB a month." becomes "The free tier ends at 100 GB a month."
    changed words  50 and 100: two, as many as are required; they count 1 each
    beside them    fre, tier and month: they count 0.6 each, so the change mentions 3.8 / 5 of the point

Words are compared without common endings and without the most common words of English. Feedback in another language
is matched by its words as they are, so more of its matches are accidental. It is an aid for reading, which the page
says; no score and no decision depends on it.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Final

import attrs

from loopkit_web.dashboard.markup.diff import Hunk
from loopkit_web.dashboard.markup.text_allowance import cut
from loopkit_web.dashboard.views.evaluations import EvaluationView

__all__ = ["HunkWords", "Point", "hunk_words", "is_praise", "mentioned_share", "points_of", "word_counts"]

_MAX_POINTS: Final = 60
_MAX_POINT: Final = 300
"""Characters of a point: a sentence that is longer is cut."""
_UNCHANGED_WEIGHT: Final = 0.6
"""Weight of a word beside a change, relative to a changed one."""
_WORD: Final = re.compile(r"[^\W_]+(?:[.,]\d+)*")
_SENTENCE: Final = re.compile(r"(?<=[.!?;])\s+(?=[\"“'(]?[A-Z0-9ÄÖÜÀ-Ý])|\n+|(?<=;)\s+")
_PRAISE: Final = re.compile(
    r"\b(good|great|fine|excellent|perfect|right|correct|clear|complete|solid|strong|nice|accurate|works|improved"
    r"|well (done|written|structured|sourced)|nothing (is |else |more )?(missing|wrong|to \w+)"
    r"|no (further |more |other )?(issues?|problems?|complaints?|remarks?|changes?|errors?|faults?)( \w+)?)\b"
)
_REQUEST: Final = re.compile(
    r"\b(but|however|yet|though|although|except|not|no|never|should|must|needs?|missing|lacks?|without|too|more|less"
    r"|make|makes|give|name|add|cut|remove|replace|fix|use|avoid|explain|shorten|could|would|still|only|instead)\b|n't\b|\?"
)
_BULLET: Final = re.compile(r"^\s*(?:[-*•–]|\d+[.)])\s+")
_ENDINGS: Final = ("ings", "ing", "ies", "ied", "ers", "er", "ed", "es", "ly", "s")
_COMMON_WORDS: Final = frozenset(
    {
        *("the", "a", "an", "and", "or", "but", "of", "for", "to", "in", "on", "at", "by", "with", "from", "as"),
        *("is", "are", "was", "were", "be", "been", "it", "its", "this", "that", "these", "those", "not", "no"),
        *("than", "then", "there", "their", "them", "they", "he", "she", "we", "you", "your", "our", "his", "her"),
        *("has", "have", "had", "do", "does", "did", "can", "could", "should", "would", "will", "may", "might"),
        *("must", "more", "most", "less", "very", "too", "also", "into", "over", "under", "about", "each", "every"),
        *("all", "any", "some", "one", "only", "just", "so", "if", "attempt", "output", "text", "feedback", "give"),
        *("name", "please", "need", "say", "make", "use", "still", "now", "score"),
    }
)


@attrs.frozen(kw_only=True, slots=False)
class Point:
    """One statement of the feedback."""

    text: str
    criterion: str | None = None
    """Name of the criterion that it is about, if it mentions one."""

    @cached_property
    def words(self) -> frozenset[str]:
        """Content words, without their endings."""
        return frozenset(_content_words(self.text))


def points_of(evaluation: EvaluationView) -> list[Point]:
    """Return the points of an evaluation, at most 60: sentences and list items, those on single criteria first.

    Praise is no point, nor is what is said of a criterion that has its full score.
    """
    points: dict[str, Point] = {}
    for criterion in evaluation.criteria:
        for text in _requests(criterion.feedback) if criterion.score < 1 else ():
            points.setdefault(text, Point(text=text, criterion=criterion.name))
        if len(points) >= _MAX_POINTS:
            return list(points.values())[:_MAX_POINTS]
    criteria = [(criterion.name, frozenset(_content_words(criterion.name))) for criterion in evaluation.criteria]
    for text in islice(_requests(evaluation.feedback), _MAX_POINTS):
        words = frozenset(_content_words(text))
        named = next((name for name, name_words in criteria if name_words and name_words <= words), None)
        points.setdefault(text, Point(text=text, criterion=named))
    return list(points.values())[:_MAX_POINTS]


def word_counts(points: Sequence[Point]) -> Counter[str]:
    """Return in how many points each word occurs."""
    return Counter(word for point in points for word in point.words)


@attrs.frozen
class HunkWords:
    """Content words of a change."""

    changed: frozenset[str]
    """Words that were added or removed."""
    nearby: frozenset[str]
    """These words, and those beside them."""


def hunk_words(hunk: Hunk) -> HunkWords:
    """Return the content words of a change, to be compared with every point."""
    changed = frozenset(_content_words(f"{hunk.removed} {hunk.added}"))
    return HunkWords(changed, frozenset(_content_words(hunk.context)) | changed)


def mentioned_share(point: Point, words: HunkWords, counts: Counter[str]) -> float:
    """Return how much of a point a change mentions, 0.0..1.0.

    0 if fewer than two of the point's words are changed ones (one, for a point of one word). A word that many points
    share counts for less.

    Args:
        counts: number of points that have a word, of all points; see :func:`word_counts`.
    """
    if not point.words:
        return 0.0
    changed, nearby = words.changed, words.nearby
    if len(point.words & changed) < min(2, len(point.words)):
        return 0.0
    total = sum(1 / counts[word] for word in point.words)
    mentioned = sum(
        (1.0 if word in changed else _UNCHANGED_WEIGHT) / counts[word] for word in point.words if word in nearby
    )
    return mentioned / total


def is_praise(text: str) -> bool:
    """Return whether a sentence praises and asks for nothing: ``The limits are right now.``, ``Nothing is missing.``"""
    lowered = text.casefold()
    return bool(_PRAISE.search(lowered)) and not _REQUEST.search(_PRAISE.sub("", lowered))


def _requests(text: str) -> Iterator[str]:
    return (sentence for sentence in _sentences(text) if not is_praise(sentence))


def _sentences(text: str) -> Iterator[str]:
    for part in _SENTENCE.split(text):
        if stripped := _BULLET.sub("", part).strip():
            yield cut(stripped, _MAX_POINT)


def _content_words(text: str) -> Iterator[str]:
    for word in _WORD.findall(text.casefold()):
        if word not in _COMMON_WORDS and (len(word) > 2 or word.isdigit()):
            yield _without_ending(word)


def _without_ending(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)].removesuffix("e")
    return word.removesuffix("e")
