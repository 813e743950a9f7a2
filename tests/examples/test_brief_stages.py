"""The stages of the example `brief`: properties for every document, and examples."""

import subprocess
import sys
from typing import Any

import pytest
from brief.document import count_words, read
from brief.judging import Measure, missing_terms
from brief.stages import evaluate, keeps_limit, produce, revise
from brief.terms import key_terms
from hypothesis import given, settings
from hypothesis import strategies as st

from loopkit import Evaluation, Stage, StageContext
from tests.examples.example_helpers import EXAMPLES

HARBOUR = """# The harbour

The harbour is the oldest part of the town. Boats have landed fish here for six hundred years.

## Fish

Every morning the boats bring herring and cod to the market. The market sells the herring before noon.
Cod is salted in the sheds behind the market, and the salted cod is shipped in winter.

## Boats

Forty boats work from the harbour. A boat is mended on the slip, and the slip belongs to the town.
A storm in 1881 sank eleven boats in one night. The lighthouse was built after the storm.

| boat | year |
|------|------|
| Tern | 1911 |

```python
herring = "never quoted"
```
"""

words = st.sampled_from(
    ["boat", "harbours", "fish", "storm", "market", "cod", "slip", "the", "of", "e.g.", "Dr.", "1881"]
)
sentences = st.lists(words, min_size=1, max_size=60).map(lambda parts: " ".join(parts).capitalize() + ".")
blocks = st.one_of(
    sentences,
    sentences.map("## {}".format),
    sentences.map("- {}".format),
    sentences.map("    {}".format),
    st.lists(sentences, max_size=6).map(" ".join),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60),
)
documents = st.lists(blocks, min_size=1, max_size=20).map("\n\n".join).filter(lambda text: bool(read(text).sentences))
limits = st.integers(20, 120)


def context(stage: Stage, document: str, limit: int, **more: Any) -> StageContext:
    return StageContext(
        run_id="run_1",
        agent_name="brief",
        cycle_id="2026-01-01-001",
        inputs={"document": document, "limit": limit},
        stage=stage,
        **{"attempt": 1, "idempotency_key": "run_1/1", **more},
    )


def judged(document: str, brief: str, limit: int) -> Evaluation:
    given = evaluate(context(Stage.EVALUATING, document, limit, output=brief))
    return Evaluation(given.pop("score"), given.pop("feedback"), rest=given)


def improved(document: str, brief: str, limit: int) -> str:
    told = judged(document, brief, limit)
    return str(revise(context(Stage.REVISING, document, limit, output=brief, evaluation=told)))


def first(document: str, limit: int, *, attempt: int = 1) -> str:
    return str(produce(context(Stage.PRODUCING, document, limit, attempt=attempt)))


@settings(max_examples=50)
@given(documents, limits)
def test_a_brief_keeps_its_limit_and_a_revision_is_never_worse(document: str, limit: int) -> None:
    """Whatever the document, every output has words, keeps the limit, and scores at least what the one before did."""
    brief = first(document, limit)
    last = judged(document, brief, limit).score
    for _ in range(3):
        assert 0 < count_words(brief) <= limit
        assert 0 <= last <= 1
        brief = improved(document, brief, limit)
        score = judged(document, brief, limit).score
        assert score >= last
        last = score


@settings(max_examples=50)
@given(documents, limits)
def test_a_brief_quotes(document: str, limit: int) -> None:
    """Every line of a brief is a sentence of the document, in its order, or the beginning of one too long for it."""
    brief = improved(document, first(document, limit), limit)
    known = [sentence.text for sentence in read(document).sentences]
    quoted = [line for line in brief.splitlines() if line]
    if quoted[0] in known:
        assert quoted == [text for text in known if text in quoted]
    else:
        assert len(quoted) == 1
        assert any(text.startswith(quoted[0].removesuffix("…")) for text in known)


@given(st.text(max_size=300))
def test_any_text_is_read(document: str) -> None:
    """No text keeps the reader from giving sentences without white space around or in between."""
    for sentence in read(document).sentences:
        assert sentence.text == " ".join(sentence.text.split())
        assert sentence.words > 0


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_same_in_every_process(seed: str) -> None:
    """Another order of hashes changes nothing."""
    program = (
        "from tests.examples.test_brief_stages import HARBOUR, first, improved\n"
        "print(improved(HARBOUR, first(HARBOUR, 60), 60), end='')"
    )
    path = f"{EXAMPLES / 'brief'}:{EXAMPLES.parent}"
    env = {"PYTHONPATH": path, "PYTHONHASHSEED": seed}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert done.stdout == improved(HARBOUR, first(HARBOUR, 60), 60), done.stderr


def test_what_is_read() -> None:
    """Headings, code and tables are not quoted, and a sentence ends neither at an abbreviation nor at a number."""
    opening = "# Title\n\nIt cost 3.50 marks, e.g. For Dr. Who paid it. The second one was free of charge!\n"
    document = read(opening + HARBOUR)
    texts = [sentence.text for sentence in document.sentences]
    assert texts[:2] == ["It cost 3.50 marks, e.g. For Dr. Who paid it.", "The second one was free of charge!"]
    assert not any("Tern" in text or "never quoted" in text or text == "harbour" for text in texts)
    assert document.headings == ("Title", "The harbour", "Fish", "Boats")


def test_key_terms_are_what_the_document_is_about() -> None:
    """Terms in headings and all over the document come first, in the singular, and no stop words."""
    assert list(key_terms(read(HARBOUR), 40)) == ["boat", "harbour", "market", "town", "cod"]


def test_scores_mean_something() -> None:
    """A brief that says less, repeats itself, is too short or too long scores lower, and the feedback says why."""
    good = improved(HARBOUR, first(HARBOUR, 60), 60)
    best = judged(HARBOUR, good, 60)
    lines = [line for line in good.splitlines() if line]

    less = judged(HARBOUR, lines[0] + "\n", 60)
    assert less.score < best.score / 2
    assert "Missing: " in less.feedback
    assert "There is room for" in less.feedback
    repeated = judged(HARBOUR, "\n\n".join([*lines, lines[0]]), 120)
    assert f"Says again what was said: “{lines[0]}”" in repeated.feedback
    assert repeated["criteria"]["variety"]["score"] < 1
    too_long = judged(HARBOUR, " ".join([good] * 2), 60)
    assert too_long.score <= 0.5
    assert "words too long" in too_long.feedback


def test_a_revision_brings_in_what_was_missing() -> None:
    """A term that the judgement names stands in the next brief."""
    brief = "The harbour is the oldest part of the town.\n"
    missing = missing_terms(judged(HARBOUR, brief, 60)["criteria"])
    better = improved(HARBOUR, brief, 60)
    assert missing
    assert any(term in better.lower() for term in missing)
    assert better.startswith(brief)


def test_the_second_draft_is_another_one() -> None:
    """It takes how sections end, so that it is worth its judgement."""
    lead, end = first(HARBOUR, 40), first(HARBOUR, 40, attempt=2)
    assert lead != end
    assert 0 < count_words(end) <= 40


def test_a_brief_over_the_limit_does_not_hold() -> None:
    """The check says by how much, and the judge need not be asked."""
    assert keeps_limit(context(Stage.EVALUATING, HARBOUR, 20, output="word " * 20)) == (
        True,
        "20 words where 20 are allowed",
    )
    assert keeps_limit(context(Stage.EVALUATING, HARBOUR, 20, output="word " * 21)) == (
        False,
        "21 words where 20 are allowed",
    )


def test_a_sentence_longer_than_the_brief_is_cut() -> None:
    """If no sentence fits, the brief is the beginning of the first one, and a revision keeps it."""
    document = "Word after word " * 30
    brief = first(document, 20)
    assert count_words(brief) == 20
    assert brief.endswith("…\n")
    assert improved(document, brief, 20) == brief


@pytest.mark.parametrize("document", ["# Only a heading\n", "```\ncode\n```\n", "   \n", "| a |\n|---|\n| b |\n"])
def test_a_document_without_sentences_is_an_error(document: str) -> None:
    """Nothing to quote is said, not scored."""
    with pytest.raises(ValueError, match="no sentences"):
        first(document, 100)


def test_a_short_document_is_its_own_brief() -> None:
    """A document shorter than the limit is taken whole, and nothing is missing."""
    document = "The lighthouse was built in 1882 by the town.\n\nForty boats work from the harbour every day.\n"
    brief = first(document, 100)
    assert brief == document
    assert judged(document, brief, 100).score == 1
    assert Measure(read(document), 100).room == 17
