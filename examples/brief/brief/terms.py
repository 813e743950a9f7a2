"""Key terms: the words that a document is about, each with its weight. English stop words are left out."""

import re
from collections import Counter
from functools import lru_cache
from math import log2
from pathlib import Path

from brief.document import Document

_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_STOP_WORDS = frozenset(Path(__file__).with_name("stop_words.txt").read_text(encoding="utf-8").split())


@lru_cache(maxsize=10_000)
def terms_of(text: str) -> frozenset[str]:
    """Return the words that carry meaning, singular and lower case."""
    words = (word.lower().replace("’", "'").removesuffix("'s").strip("'-") for word in _WORD.findall(text))
    return frozenset(_singular(word) for word in words if len(word) > 2 and word not in _STOP_WORDS)


def key_terms(document: Document, limit: int) -> dict[str, float]:
    """Return the terms that a brief of ``limit`` words should speak of, the weightiest first.

    A term weighs more the more sentences and the larger a share of the sections have it, and half as much again when
    it stands in a heading. A longer brief is asked for more terms: one for every eight words.
    """
    sentences: Counter[str] = Counter()
    sections: dict[str, set[int]] = {}
    for sentence in document.sentences:
        for term in terms_of(sentence.text):
            sentences[term] += 1
            sections.setdefault(term, set()).add(sentence.section)
    in_headings = {term for heading in document.headings for term in terms_of(heading)}
    parts = len({sentence.section for sentence in document.sentences})
    weights = {
        term: log2(1 + count) * (1 + len(sections[term]) / parts) * (1.5 if term in in_headings else 1)
        for term, count in sentences.items()
    }
    heaviest = sorted(weights, key=lambda term: (-weights[term], term))[: max(4, limit // 8)]
    return {term: weights[term] for term in heaviest}


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is", "os")) and len(word) > 3:
        return word[:-1]
    return word
