"""What a stage gave, read strictly: an output or a judgement that every store can hold, or a clear error.

A score is never guessed, and nothing of a result is kept in part. Reading may run the user's code, since a mapping
may be of a class of theirs, so it is done where whatever a stage raises is caught.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from loopkit.agents.wording import clean, kind_of
from loopkit.core import plain
from loopkit.core.outcome import Evaluated, Evaluation, Produced
from loopkit.errors import BadOutput, BadScore

__all__ = ["evaluated", "produced"]


def produced(result: object) -> Produced:
    """Read what a stage made: text, kept exactly, or a mapping or list, kept as JSON.

    Raises:
        BadOutput: it is neither, or cannot be stored.
    """
    if isinstance(result, str):
        return Produced(_checked_text(result))
    if isinstance(result, Mapping | list):
        return Produced(_checked_json(result), is_json=True)
    _close(result)
    raise BadOutput(f"invalid output: {kind_of(result)}, neither text nor a mapping or list")


def evaluated(result: object) -> Evaluated:
    """Read a judgement: a mapping with a score in 0..1, or the score alone.

    Raises:
        BadScore: there is no such score, or the feedback is no text.
        BadOutput: what comes with it cannot be stored.
    """
    if not isinstance(result, Mapping):
        _close(result)
        return Evaluated(Evaluation(_score(result)))
    if "score" not in result:
        raise BadScore("invalid evaluation: it has no score")
    score = _score(result["score"])
    feedback = result.get("feedback")
    if not isinstance(feedback, str | None):
        raise BadScore(f"invalid evaluation: its feedback is {kind_of(feedback)}, not text")
    rest = {key: result[key] for key in result if key not in ("score", "feedback")}
    if rest:
        rest = plain.loads(_checked_json(rest))
    return Evaluated(Evaluation(score, _checked_text(feedback or ""), rest=rest))


def _score(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise BadScore(f"invalid score: {kind_of(value)}, not a number")
    if not 0 <= value <= 1:
        raise BadScore("invalid score: it is not in 0..1")
    return float(value) + 0.0  # which is no -0.0


def _checked_text(result: str) -> str:
    text = str.__str__(result)  # a subclass may tell something else of itself
    if fault := plain.text_fault(text):
        raise BadOutput(f"invalid output: {fault}")
    if len(text) > plain.MAX_OUTPUT_BYTES or len(text) * 4 > plain.MAX_OUTPUT_BYTES < len(text.encode()):
        raise BadOutput(f"invalid output: is larger than {plain.MAX_OUTPUT_BYTES} bytes")
    return text


def _checked_json(result: Any) -> str:
    faults = plain.faults(result)
    if faults:
        raise BadOutput(clean(f"invalid output: {faults[0]}".replace("(inputs): ", "")))
    return plain.dumps(result)


def _close(result: object) -> None:
    """Close a coroutine that will never be awaited, so that nothing warns of it much later."""
    if inspect.iscoroutine(result):
        result.close()
