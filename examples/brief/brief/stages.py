"""The stages: two kinds of drafts, a check, a judge, and a revision that brings in what the judge found missing."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from itertools import chain, combinations
from typing import Any

from brief.document import Document, Sentence, count_words, read
from brief.judging import Measure, missing_terms
from brief.terms import terms_of
from loopkit import StageContext

CHANGES = 2
"""Sentences that one revision brings in at most, so that people can follow it."""

CANDIDATES, FEW = 40, 16
"""Sentences that a change looks at, and in a draft of how many it may drop two for one: what bounds the time."""


def produce(context: StageContext) -> str:
    """Make a draft: the first of how each section begins and then goes on, the second of how the longest end."""
    document, limit = _read(context.inputs), context.inputs["limit"]
    candidates = sorted(document.quotable(limit), key=lambda sentence: sentence.place, reverse=context.attempt > 1)
    chosen: set[Sentence] = set()
    for sentence in candidates:
        if _words(chosen) + sentence.words <= limit:
            chosen.add(sentence)
    return _write(document.only(chosen)) if chosen else _cut(document.sentences[0], limit)


def keeps_limit(context: StageContext) -> tuple[bool, str]:
    """Check that a brief has at most as many words as are allowed; a longer one is not judged."""
    words, limit = count_words(context.output), context.inputs["limit"]
    return words <= limit, f"{words} words where {limit} are allowed"


def evaluate(context: StageContext) -> dict[str, Any]:
    """Judge a brief by the document's key terms in it, its length and its repetitions; the score is their product."""
    limit = context.inputs["limit"]
    judgement = Measure(_read(context.inputs), limit).judge(_lines(context.output))
    context.log(
        f"{count_words(context.output)} of {limit} words; coverage {judgement.coverage:.2f}, "
        f"length {judgement.length:.2f}, variety {judgement.variety:.2f}"
    )
    return judgement.as_evaluation()


def revise(context: StageContext) -> str:
    """Bring in missing terms that the judge names, by a few new sentences; a change that makes it worse is none."""
    assert context.evaluation is not None
    missing = missing_terms(context.evaluation["criteria"])
    measure = Measure(_read(context.inputs), context.inputs["limit"])
    lines = _lines(context.output)
    draft = measure.document.only({sentence for sentence in measure.document.sentences if sentence.text in lines})
    if not draft:
        return str(context.output)  # the beginning of one long sentence: nothing shorter can be quoted
    for _ in range(CHANGES):
        wanted = set(missing).difference(*map(terms_of, _texts(draft)))
        draft = max((draft, *_variants(measure, draft, wanted)), key=lambda one: _rank(measure, one))
    return _write(draft)


Draft = tuple[Sentence, ...]
"""Sentences of a document, in its order, that fit into the limit."""


def _rank(measure: Measure, draft: Draft) -> tuple[float, int]:
    """Return what makes a draft better: its score, and among equals the fewer words."""
    return measure.judge(_texts(draft)).score, -_words(draft)


def _variants(measure: Measure, draft: Draft, wanted: Set[str]) -> Iterator[Draft]:
    """Return drafts with one more sentence that has a wanted term (any, when none is wanted), and some dropped for it.

    The first sentence stays, since it says what the document is.
    """
    having = (s for s in measure.quotable if s not in draft and not (wanted and wanted.isdisjoint(terms_of(s.text))))
    best = sorted(having, key=measure.weight_of, reverse=True)[:CANDIDATES]
    most = 2 if len(draft) <= FEW else 1
    for added in chain([()], ((sentence,) for sentence in best)):
        for dropped in chain.from_iterable(combinations(draft[1:], number) for number in range(most + 1)):
            changed = {*draft, *added}.difference(dropped)
            if 0 < _words(changed) <= measure.limit:
                yield measure.document.only(changed)


def _read(inputs: Mapping[str, Any]) -> Document:
    document = read(inputs["document"])
    if not document.sentences:
        raise ValueError("the document has no sentences: only headings, code or tables")
    return document


def _write(sentences: Iterable[Sentence]) -> str:
    """Write a brief: a paragraph a sentence, so that two briefs compare line by line."""
    return "\n\n".join(sentence.text for sentence in sentences) + "\n"


def _lines(brief: str) -> list[str]:
    return [line for line in brief.splitlines() if line]


def _texts(sentences: Iterable[Sentence]) -> list[str]:
    return [sentence.text for sentence in sentences]


def _words(sentences: Collection[Sentence]) -> int:
    return sum(sentence.words for sentence in sentences)


def _cut(sentence: Sentence, limit: int) -> str:
    """Return the beginning of a sentence that is longer than the whole brief may be."""
    return " ".join(sentence.text.split()[:limit]).rstrip(",;:") + "…\n"
