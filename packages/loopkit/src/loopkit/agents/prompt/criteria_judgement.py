"""Judgement by criteria: one question for all of them, of which each gets a reason and an answer of its own.

Their names come from the agent. A criterion that is missing in the answer, one that was added, and one out of range are
errors of the judge, never a score.
"""

from collections.abc import Mapping
from typing import Any, Final

from loopkit.agents.error_text import kind_of
from loopkit.agents.evaluators.criterion import Criterion
from loopkit.agents.prompt.judgement import is_whole
from loopkit.agents.prompt.model_request import JsonShape
from loopkit.agents.prompt.structured_request import AskedJson
from loopkit.core.panel.panel_rules import weighted_mean

__all__ = ["asked_criteria", "criteria_instructions"]

LARGEST_ANSWER: Final = 5

_ANSWERS: Final = {"yes": 1.0, "no": 0.0}


def criteria_instructions(criteria: Mapping[str, Criterion]) -> str:
    """Return the instructions that stand before the prompt of a judge with criteria."""
    lines = [f"- {name}: {criterion.ask} ({_answer_in_words(criterion)})" for name, criterion in criteria.items()]
    return (
        "You judge the work that you are shown, by each of the criteria below and by nothing else. Judge each "
        "criterion by itself: one that fails does not lower another. For each first give the reason: what in the work "
        "meets it, and what exactly must be improved, in words that its author can act on. Then give the answer that "
        "follows from the reason: a whole number from 0 (not at all) to 5 (fully), or yes or no, as the criterion "
        "says.\n\nCriteria:\n" + "\n".join(lines)
    )


def asked_criteria(criteria: Mapping[str, Criterion], judged_text: str) -> AskedJson:
    """Return what a judge of ``judged_text`` is asked for."""
    return AskedJson(
        shape=JsonShape(name="verdict", description="Takes the judgement.", schema=_schema(criteria)),
        read=lambda verdict: _read_verdict(criteria, verdict),
        in_words=_in_words(criteria),
        judged_text=judged_text,
    )


def _answer_in_words(criterion: Criterion) -> str:
    return "yes or no" if criterion.is_yes_no else "a whole number from 0 to 5"


def _answer_key_in_words(criterion: Criterion) -> str:
    return '"answer", "yes" or "no"' if criterion.is_yes_no else '"score", a whole number from 0 to 5'


def _in_words(criteria: Mapping[str, Criterion]) -> str:
    lines = [
        f'- "{name}": an object with "reason", a text, and then {_answer_key_in_words(criterion)}'
        for name, criterion in criteria.items()
    ]
    return (
        "Answer with one JSON object and nothing else: no words around it, no code fence. It has one key, "
        '"criteria", whose value is an object with exactly these keys:\n' + "\n".join(lines)
    )


def _schema(criteria: Mapping[str, Criterion]) -> dict[str, Any]:
    return _object({"criteria": _object({name: _answer_schema(criterion) for name, criterion in criteria.items()})})


def _answer_schema(criterion: Criterion) -> dict[str, Any]:
    reason = {"type": "string", "description": "what meets the criterion and what must be improved"}
    if criterion.is_yes_no:
        return _object({"reason": reason, "answer": {"type": "string", "enum": list(_ANSWERS)}})
    score = {
        "type": "integer",
        "minimum": 0,
        "maximum": LARGEST_ANSWER,
        "description": "a whole number from 0 (not at all) to 5 (fully)",
    }
    return _object({"reason": reason, "score": score})


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _read_verdict(criteria: Mapping[str, Criterion], verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return a verdict as an evaluation with criteria.

    Raises:
        ValueError: it is none.
    """
    given = verdict.get("criteria")
    if not isinstance(given, Mapping):
        raise ValueError("has no `criteria`")
    if missing := [name for name in criteria if name not in given]:
        raise ValueError(f"does not have the criterion {missing[0]}")
    if added := [name for name in given if name not in criteria]:
        raise ValueError(f"has a criterion that was not asked for: {str(added[0])[:100]}")
    read = {name: _read_answer(name, criterion, given[name]) for name, criterion in criteria.items()}
    score = weighted_mean((read[name]["score"], criterion.weight) for name, criterion in criteria.items())
    return {"score": score, "feedback": "", "criteria": read}


def _read_answer(name: str, criterion: Criterion, answer: object) -> dict[str, Any]:
    if not isinstance(answer, Mapping):
        raise ValueError(f"has for {name} {kind_of(answer)}, not an object")
    reason = answer.get("reason")
    if not isinstance(reason, str):
        raise ValueError(f"has for {name} a reason that is {kind_of(reason)}, not text")
    if criterion.is_yes_no:
        said = answer.get("answer")
        if not isinstance(said, str) or said not in _ANSWERS:
            raise ValueError(f"has for {name} an answer that is not yes or no")
        return {"score": _ANSWERS[said], "feedback": reason}
    score = answer.get("score")
    if not is_whole(score) or not 0 <= score <= LARGEST_ANSWER:
        raise ValueError(f"has for {name} a score that is not a whole number in 0..{LARGEST_ANSWER}")
    return {"score": score / LARGEST_ANSWER, "feedback": reason}
