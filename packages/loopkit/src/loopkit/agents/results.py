"""Results of stages, parsed strictly: an output or an evaluation that every store can hold, or a clear error.

A score is never guessed, and no result is kept in part. Parsing may run the user's code, because a mapping may be of
the user's own class, so it is done where everything that a stage raises is caught.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from loopkit.agents.error_text import clean_text, kind_of
from loopkit.agents.json_values import (
    close_unawaited,
    fields_of,
    finishing_hint,
    is_named_tuple,
    is_numpy_scalar,
    model_dump,
    plain_json,
    suggestion,
)
from loopkit.core import strict_json
from loopkit.core.outcome import Evaluated, Evaluation, Produced
from loopkit.errors import BadOutput, BadScore

__all__ = ["parse_evaluation", "parse_output"]

FEEDBACK_NAMES: Final = ("feedback", "reason", "explanation", "rationale")
"""Names under which evaluator libraries give the reason of a score, the one that is preferred first."""

SCORE_TOLERANCE: Final = 1e-9
"""Distance from 0 and 1 within which a score counts as 0 or 1: sums of floats seldom meet them exactly."""

_MAX_NAMES: Final = 5
"""Most keys of a mapping without a score that its error names."""

_USABLE: Final = "return a number in 0..1, (score, feedback), or a mapping or object with score and feedback"


def parse_output(result: object) -> Produced:
    """Parse an output: text, which is kept exactly, or a mapping, list or object, which is kept as JSON.

    Raises:
        BadOutput: the result is neither, or cannot be stored.
    """
    if isinstance(result, str):
        return Produced(_checked_text(result))
    if (dump := model_dump(result)) is not None:
        dumped = dump(mode="json")
        if isinstance(dumped, str):
            return Produced(_checked_text(dumped))
        return _json_output(dumped, result)
    if isinstance(result, Mapping | list | tuple) or fields_of(result) is not None:
        return _json_output(result, result)
    raise _unusable_output(result)


def _json_output(value: object, result: object) -> Produced:
    if not (isinstance(value, Mapping | list | tuple) or fields_of(value) is not None):
        raise _unusable_output(value)
    try:
        return Produced(_checked_json(value), is_json=True)
    except BadOutput as error:
        if fields_of(result) is None or not (hint := suggestion(result)):
            raise
        raise BadOutput(f"{error} (in {kind_of(result)}{hint})") from None


def _unusable_output(result: object) -> BadOutput:
    close_unawaited(result)
    return BadOutput(f"invalid output: {kind_of(result)}, not text, a mapping or a list{suggestion(result)}")


def parse_evaluation(result: object) -> Evaluated:
    """Parse an evaluation: a score in 0..1 alone, with its feedback, or as a field of a mapping or an object.

    Raises:
        BadScore: there is no score in 0..1, or the feedback is not text.
        BadOutput: another value of the mapping or object cannot be stored.
    """
    if type(result) is dict or isinstance(result, Mapping):  # a dict is known at once, an abstract type is not
        return _parse_mapping(result)
    if _is_number(result):
        return Evaluated(Evaluation(_score(result)))
    if isinstance(result, tuple) and not is_named_tuple(result):
        return _parse_pair(result)
    return _parse_object(result)


def _parse_mapping(result: Mapping[Any, Any]) -> Evaluated:
    if "score" not in result:
        raise BadScore(f"invalid evaluation: it has no score{_what_it_has(result)}")
    score = _score(result["score"])
    feedback = result.get("feedback")
    if not isinstance(feedback, str | None):
        raise BadScore(f"invalid evaluation: its feedback is {kind_of(feedback)}, not text")
    if feedback is None:
        feedback = _first_text(result)
    rest = {key: result[key] for key in result if key not in ("score", "feedback")}
    return _evaluated(score, feedback, rest)


def _what_it_has(result: Mapping[Any, Any]) -> str:
    """Return what a mapping without a score has, and what to return in its place, as the end of a sentence."""
    names = [clean_text(repr(name), max_chars=60) for name in islice(result, _MAX_NAMES)]
    for name, value in zip(names, result.values(), strict=False):
        if not _is_basic(value) and (hasattr(value, "score") or hasattr(value, "value")):
            return f"; its {name} is {kind_of(value)}: return that"
    return f" but {', '.join(names)}; {_USABLE}" if names else f"; {_USABLE}"


def _parse_pair(result: tuple[Any, ...]) -> Evaluated:
    if len(result) != 2 or not isinstance(result[1], str | None):
        raise BadScore(f"invalid score: a tuple, not a number; {_USABLE}")
    return _evaluated(_score(result[0]), result[1] or "", {})


def _parse_object(result: Any) -> Evaluated:
    """Parse an object of an evaluator library; of models and dataclasses all fields are kept."""
    names = [name for name in FEEDBACK_NAMES if not _is_basic(result) and hasattr(result, name)]
    if not _is_basic(result) and hasattr(result, "score"):
        source = "score"
    elif names and hasattr(result, "value"):
        source = "value"
    else:
        hint = finishing_hint(result) or f"; {_USABLE}"
        close_unawaited(result)
        raise BadScore(f"invalid score: {kind_of(result)}, not a number{hint}")
    score = _score(getattr(result, source))
    texts = {name: text for name in names if isinstance(text := getattr(result, name), str)}
    used = next(iter(texts), "feedback")
    rest = {name: value for name, value in _fields(result).items() if name not in (source, used, "score", "feedback")}
    return _evaluated(score, texts.get(used, ""), rest)


def _fields(result: object) -> Mapping[str, Any]:
    if (dump := model_dump(result)) is not None:
        dumped = dump(mode="json")
        return dumped if isinstance(dumped, Mapping) else {}
    return {} if is_named_tuple(result) else fields_of(result) or {}


def _first_text(result: Mapping[Any, Any]) -> str:
    return next((result[name] for name in FEEDBACK_NAMES if isinstance(result.get(name), str)), "")


def _evaluated(score: float, feedback: str, rest: Mapping[Any, Any]) -> Evaluated:
    if rest:
        rest = strict_json.loads_or_text(_checked_json(rest))
    return Evaluated(Evaluation(score, _checked_text(feedback), rest=rest))


def _is_basic(value: object) -> bool:
    """True for values of types that hold no score, whatever attributes they have."""
    return value is None or isinstance(value, str | bytes | bool | list | type)


def _is_number(value: object) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool)) or is_numpy_scalar(value)


def _score(value: Any) -> float:
    if type(value) is not float and is_numpy_scalar(value):
        value = value.item()
    if isinstance(value, bool):
        raise BadScore(f"invalid score: {value}, not a number; return 1.0 for True and 0.0 for False")
    if isinstance(value, str):
        raise BadScore(
            f"invalid score: the text {clean_text(repr(value), max_chars=60)}; return a number in 0..1 for it"
        )
    if not isinstance(value, int | float):
        raise BadScore(f"invalid score: {kind_of(value)}, not a number")
    if abs(value) <= SCORE_TOLERANCE:
        return 0.0
    if abs(value - 1) <= SCORE_TOLERANCE:
        return 1.0
    if not 0 <= value <= 1:
        raise BadScore(f"invalid score: {_short(value)} is not in 0..1{_scale_hint(value)}")
    return float(value)


def _short(value: float) -> str:
    return "a number" if abs(value) >= 1e6 else f"{value:.10g}"  # not a number is not greater, and is "nan"


def _scale_hint(value: float) -> str:
    if 1.1 <= value <= 100:  # barely above 1 is an error of rounding
        return f"; divide it by {10 if value <= 10 else 100} if that is its scale"
    return ""


def _checked_text(result: str) -> str:
    text = result if type(result) is str else str.__str__(result)  # a subclass may return another text
    if fault := strict_json.text_fault(text):
        raise BadOutput(f"invalid output: {fault}")
    if len(text) > strict_json.MAX_OUTPUT_BYTES or len(text) * 4 > strict_json.MAX_OUTPUT_BYTES < len(text.encode()):
        raise BadOutput(f"invalid output: is larger than {strict_json.MAX_OUTPUT_BYTES} bytes")
    return text


def _checked_json(result: Any) -> str:
    plain = plain_json(result)
    faults = strict_json.faults(plain)
    if faults:
        raise BadOutput(clean_text(f"invalid output: {faults[0]}".replace("(inputs): ", "")))
    return strict_json.dumps(plain)
