"""The example `brief` as an agent, on real documents of this repository."""

import pytest

import loopkit
from tests.examples.example_helpers import EXAMPLES, work

ROOT = EXAMPLES.parent
DRAFTS = 2
DEMO = ROOT / "docs/explanation/why.md"


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_of_the_docs_get_briefs(path: object) -> None:
    """Each page gets a brief that keeps the limit; no revision is worse than the best before it."""
    worked = work("brief", {"document": path.read_text(encoding="utf-8"), "limit": 100})  # type: ignore[attr-defined]
    assert worked.run.end_reason in ("score_passed", "attempts_spent", "plateau", "repeated_output")
    scores = worked.scores
    assert all(score >= max(scores[:number]) for number, score in enumerate(scores) if number >= DRAFTS)
    assert all(0 < len(output.split()) <= 100 for output in worked.outputs)


def test_the_demo_passes_after_a_revision() -> None:
    """As `make demo` shows, neither draft is good enough, and a revision of the better one is."""
    worked = work("brief", {"document": DEMO.read_text(encoding="utf-8")})
    assert worked.run.status == "passed"
    assert worked.run.current_attempt in (3, 4)


def test_a_document_without_sentences_fails_the_run() -> None:
    """The run fails with a sentence about the document, and no score."""
    worked = work("brief", {"document": "# Only a heading"})
    assert worked.run.status == "failed"
    assert worked.run.final_score is None
    assert "the document has no sentences" in str(worked.run.error_message)


@pytest.mark.parametrize("limit", [0, 19, 501, 10.5, "120", None])
def test_a_limit_out_of_bounds_is_refused(limit: object) -> None:
    """The schema keeps the limit within its bounds."""
    with pytest.raises(loopkit.InvalidInputs) as caught:
        work("brief", {"document": "Some text that is long enough.", "limit": limit})
    assert {fault.pointer for fault in caught.value.faults} == {"/limit"}
