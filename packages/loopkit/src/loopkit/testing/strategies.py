"""Hypothesis strategies for JSON values, runs and outcomes of stages."""

from typing import Any

from hypothesis import strategies as st

from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome, Produced
from loopkit.core.run import NewRun, Stage

__all__ = ["evaluations", "json_objects", "json_values", "new_runs", "not_json", "outcomes", "texts"]


def texts(*, max_size: int = 20) -> st.SearchStrategy[str]:
    """Build texts that every store accepts: without NUL and lone surrogates."""
    return st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=max_size)


def json_values() -> st.SearchStrategy[Any]:
    """Build JSON values."""
    scalars = (
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    )
    return st.recursive(
        scalars | texts(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts(), inner, max_size=4)
    )


def json_objects() -> st.SearchStrategy[dict[str, Any]]:
    """Build JSON objects, as inputs are."""
    return st.dictionaries(texts(), json_values(), max_size=4)


def not_json() -> st.SearchStrategy[Any]:
    """Build values with a part that cannot be stored as JSON."""
    wrong = st.sampled_from(
        [float("nan"), float("inf"), -float("inf"), "a\0b", "\ud800", b"bytes", 1 << 2000, object(), {1}]
    )
    return wrong | wrong.map(lambda value: {"key": [value]}) | st.sampled_from([{1: 1}, {"a\0": 1}, {"\udfff": []}])


def new_runs(agents: tuple[str, ...] = ("writer", "painter")) -> st.SearchStrategy[NewRun]:
    """Build runs to submit."""
    return st.builds(
        NewRun,
        agent_name=st.sampled_from(agents),
        inputs=json_objects(),
        max_attempts=st.integers(1, 4),
        pass_threshold=st.floats(0, 1),
    )


def evaluations() -> st.SearchStrategy[Evaluation]:
    """Build evaluations, some with other keys than score and feedback."""
    rest = st.dictionaries(texts().filter(lambda key: key not in {"score", "feedback"}), json_values(), max_size=2)
    return st.builds(Evaluation, st.floats(0, 1), texts(), rest=rest)


def outcomes(stage: Stage) -> st.SearchStrategy[Outcome]:
    """Build outcomes that a call of ``stage`` may have."""
    results: st.SearchStrategy[Outcome] = (
        st.builds(Evaluated, evaluations()) if stage is Stage.EVALUATING else st.builds(Produced, texts())
    )
    return results | st.builds(Errored, texts())
