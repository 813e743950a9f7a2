"""What a brief is worth: coverage of the document's key terms, length and variety, each 0..1, and what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from typing import Any

from brief.document import Document, Sentence, count_words
from brief.terms import key_terms, terms_of

NAMED_TERMS = 6
"""Missing terms that one judgement names, the weightiest first, for the next revision to bring in."""

FULL_ENOUGH = 0.7
"""Share of the words allowed from which on a brief counts as using its room."""

SAME = 0.5
"""Share of their terms from which on two sentences say the same."""


@dataclass(frozen=True)
class Judgement:
    """What a brief is worth: three criteria in 0..1, and what is wrong in words."""

    coverage: float
    length: float
    variety: float
    missing: tuple[str, ...]
    """The weightiest key terms that the brief does not have."""
    too_many: int
    """Words over the limit."""
    unused: int
    """Words of room left, where the brief does not use enough of it."""
    repeats: tuple[str, ...]
    """Sentences that say what another has said."""

    @property
    def score(self) -> float:
        return round(self.coverage * self.length * self.variety, 4)

    def as_evaluation(self) -> dict[str, Any]:
        told = {
            "coverage": f"Missing: {', '.join(self.missing)}." if self.missing else "",
            "length": _told_length(self),
            "variety": " ".join(f"Says again what was said: “{text}”" for text in self.repeats),
        }
        return {
            "score": self.score,
            "feedback": " ".join(filter(None, told.values())) or "Nothing is missing.",
            "criteria": {
                name: {"score": round(getattr(self, name), 4), "feedback": text} for name, text in told.items()
            },
        }


def missing_terms(criteria: Mapping[str, Any]) -> Sequence[str]:
    """Return the missing terms that a judgement names in its feedback on coverage."""
    told = str(criteria["coverage"]["feedback"])
    return told.removeprefix("Missing: ").removesuffix(".").split(", ") if told else []


@dataclass
class Measure:
    """What a brief of one document under one limit is measured by."""

    document: Document
    limit: int

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """The key terms, the weightiest first."""
        return key_terms(self.document, self.limit)

    @cached_property
    def room(self) -> int:
        """The words that a brief can have: no more than the document."""
        return min(self.limit, sum(sentence.words for sentence in self.document.sentences))

    @cached_property
    def quotable(self) -> tuple[Sentence, ...]:
        return self.document.quotable(self.limit)

    def weight_of(self, sentence: Sentence) -> float:
        """Return the weight of the key terms in a sentence."""
        return fsum(self.weights.get(term, 0.0) for term in terms_of(sentence.text))

    def judge(self, lines: Sequence[str]) -> Judgement:
        """Judge a brief, given as its sentences."""
        words = sum(map(count_words, lines))
        present = set().union(*map(terms_of, lines))
        missing = [term for term in self.weights if term not in present]
        lost = sum(self.weights[term] for term in missing) / sum(self.weights.values()) if missing else 0.0
        repeats = _repeats(lines)
        return Judgement(
            coverage=1 - lost,
            length=_length_score(words, self.room, self.limit),
            variety=1 - sum(map(count_words, repeats)) / words if repeats else 1.0,
            missing=tuple(missing[:NAMED_TERMS]),
            too_many=max(0, words - self.limit),
            unused=self.room - words if words < FULL_ENOUGH * self.room else 0,
            repeats=tuple(repeats),
        )


def _length_score(words: int, room: int, limit: int) -> float:
    """Return 1 for a brief that uses its room, and at most 0.5 for one over the limit."""
    if words > limit:
        return 0.5 * limit / words
    return min(1.0, words / (FULL_ENOUGH * room))


def _told_length(judgement: Judgement) -> str:
    if judgement.too_many:
        return f"{judgement.too_many} words too long."
    return f"There is room for {judgement.unused} more words." if judgement.unused else ""


def _repeats(lines: Sequence[str]) -> list[str]:
    """Return the sentences that share most of their terms with one before."""
    repeats: list[str] = []
    before: list[frozenset[str]] = []
    for line in lines:
        terms = terms_of(line)
        if any(terms and len(terms & other) >= SAME * min(len(terms), len(other)) for other in before if other):
            repeats.append(line)
        before.append(terms)
    return repeats
