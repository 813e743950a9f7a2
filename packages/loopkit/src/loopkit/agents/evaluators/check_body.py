"""Work of a check: a callable or a program that says whether an output holds, and what is wrong where it does not."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Self

import attrs

from loopkit.agents.context import StageBody, StageContext, StagePlace
from loopkit.agents.error_text import kind_of
from loopkit.agents.stage_spec import body_for_agent, grace_of
from loopkit.agents.stages.command import CommandStage
from loopkit.core import strict_json
from loopkit.core.outcome import Evaluated, Evaluation
from loopkit.errors import BadScore

__all__ = ["CheckBody", "parse_check"]

_USABLE = "return True or False, (ok, feedback), or a mapping with ok and feedback"


@attrs.frozen
class CheckBody:
    """Work of a check; its result is parsed as that of a check, and counts as a score of 1 or 0."""

    body: StageBody

    @property
    def kind(self) -> str:
        return self.body.kind

    @property
    def target(self) -> str:
        return self.body.target

    @property
    def definition(self) -> str:
        return self.body.definition

    @property
    def grace(self) -> timedelta:
        """Time that a program which was told to stop may take."""
        return grace_of(self.body)

    def problem(self) -> str | None:
        return self.body.problem()

    def for_agent(self, place: StagePlace) -> Self:
        """Return the check of an agent."""
        return attrs.evolve(self, body=body_for_agent(self.body, place))

    async def __call__(self, context: StageContext) -> object:
        if isinstance(self.body, CommandStage):
            return await self.body.check(context)
        return await self.body(context)

    def parse_result(self, result: object) -> Evaluated:
        """Parse what the check returned.

        Raises:
            BadScore: it is no answer of a check.
        """
        return parse_check(result)


def parse_check(result: object) -> Evaluated:
    """Parse the answer of a check: a boolean, a boolean with feedback, or a mapping with both.

    Raises:
        BadScore: it is anything else, or the feedback cannot be stored.
    """
    ok: object
    feedback: Any = None
    match result:
        case bool():
            ok = result
        case (answer, words) if isinstance(result, tuple):
            ok, feedback = answer, words
        case Mapping() if "ok" in result and not set(result) - {"ok", "feedback"}:
            ok, feedback = result["ok"], result.get("feedback")
        case _:
            raise BadScore(f"invalid answer of a check: {kind_of(result)}; {_USABLE}")
    if not isinstance(ok, bool):
        raise BadScore(f"invalid answer of a check: its ok is {kind_of(ok)}, not a boolean; {_USABLE}")
    if not isinstance(feedback, str | None):
        raise BadScore(f"invalid answer of a check: its feedback is {kind_of(feedback)}, not text")
    if fault := strict_json.text_fault(feedback or ""):
        raise BadScore(f"invalid answer of a check: its feedback {fault}")
    return Evaluated(Evaluation(1.0 if ok else 0.0, feedback or ""))
