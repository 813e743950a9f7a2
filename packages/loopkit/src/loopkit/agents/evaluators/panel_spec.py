"""Panel of an agent: checks, which are code and come first, and judges, which are asked when every check holds."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import PurePath
from typing import Any, ClassVar, Final, Literal, Protocol, TypeVar

import attrs

from loopkit.agents.context import StagePlace, StageRole
from loopkit.agents.error_text import kind_of
from loopkit.agents.evaluators.check_body import CheckBody
from loopkit.agents.evaluators.criterion import Criterion, as_criteria, check_part_name, check_weight
from loopkit.agents.prompt.prompt_stage import MAX_SAMPLES, PromptStage
from loopkit.agents.setting_checks import integer, number
from loopkit.agents.stage_spec import StageLike, StageSpec, as_spec
from loopkit.agents.stages.command import CommandStage
from loopkit.agents.stages.python import FunctionStage
from loopkit.core import strict_json
from loopkit.core.panel.panel_rules import Combine, JudgeRule, PanelRules
from loopkit.errors import InvalidConfig

__all__ = ["Check", "Judge", "LoneJudge", "Panel", "lone_judge", "made_by"]

P = TypeVar("P", "Check", "Judge")

_NAME_CHARS: Final = 90
"""Most characters of a default name, so that a number may follow."""


def _as_check_spec(value: StageLike) -> StageSpec:
    spec = as_spec(value)
    if isinstance(spec.body, PromptStage):
        raise InvalidConfig("must be python or a command; a prompt is a judge")
    if isinstance(spec.body, CommandStage) and spec.body.stdout is not None:
        raise InvalidConfig("does not go with a check: its exit status is the answer", key="stdout")
    return spec if isinstance(spec.body, CheckBody) else attrs.evolve(spec, body=CheckBody(spec.body))


def _check_name(_: object, attribute: Any, value: object) -> None:
    if value is not None:
        check_part_name(value, key=attribute.name)


def _check_weight(_: object, __: Any, value: object) -> None:
    check_weight(value, may_be_zero=True)


@attrs.frozen
class Check:
    """Check of an output by code: it holds, or it does not and says why.

    Raises:
        InvalidConfig: a value cannot be used; ``key`` names it.
    """

    stage: StageSpec = attrs.field(converter=_as_check_spec)
    """Callable that returns a boolean, ``(ok, feedback)`` or ``{"ok", "feedback"}``, or a command: exit status 0 holds,
    1 does not."""
    name: str | None = attrs.field(default=None, kw_only=True, validator=_check_name)
    """Name, unique in its panel; None: that of the callable or program."""


@attrs.frozen
class Judge:
    """Judge of an output: a callable, a command or a prompt that gives a score.

    Raises:
        InvalidConfig: a value cannot be used; ``key`` names it.
    """

    stage: StageSpec = attrs.field(converter=as_spec)
    name: str | None = attrs.field(default=None, kw_only=True, validator=_check_name)
    """Name, unique in its panel; None: that of the callable, program or prompt file."""
    weight: float = attrs.field(default=1, kw_only=True, validator=_check_weight)
    """Part in the score; 0: a shadow, whose scores are stored and never counted."""
    samples: int = attrs.field(default=1, kw_only=True, validator=integer(1, MAX_SAMPLES))
    """Times that it is asked; its score is the mean."""
    criteria: Mapping[str, Criterion] | None = attrs.field(default=None, kw_only=True, converter=as_criteria)
    """Criteria that a prompt judge is asked for, each by itself."""

    def __attrs_post_init__(self) -> None:
        body = self.stage.body
        if not isinstance(body, PromptStage):
            if self.criteria is not None:
                raise InvalidConfig("goes with a prompt only", key="criteria")
            return
        if body.close is not None:
            raise InvalidConfig("belongs to the panel, not to one of its judges", key="close")
        if self.criteria is None:
            object.__setattr__(self, "criteria", body.criteria)
        if self.samples == 1 and body.samples is not None:
            object.__setattr__(self, "samples", body.samples)
        own = attrs.evolve(body, criteria=self.criteria, samples=None)
        object.__setattr__(self, "stage", attrs.evolve(self.stage, body=own))

    @property
    def rule(self) -> JudgeRule:
        """Part of the judge that decides scores."""
        criteria = {name: criterion.rule for name, criterion in (self.criteria or {}).items()}
        return JudgeRule(name=self.name or "", weight=self.weight, criteria=criteria)


def _as_checks(values: Sequence[StageLike | Check]) -> tuple[Check, ...]:
    return tuple(_made_parts("checks", values, Check, Judge))


def _as_judges(values: Sequence[StageLike | Judge]) -> tuple[Judge, ...]:
    return tuple(_made_parts("judges", values, Judge, Check))


def _made_parts(key: str, values: Any, kind: type[P], other: type) -> list[P]:
    """Return checks or judges, made of stages where they are not made yet; errors name the place."""
    if not isinstance(values, list | tuple):
        raise InvalidConfig(f"must be a list, not {kind_of(values)}", key=key)
    parts = []
    for index, value in enumerate(values):
        try:
            if isinstance(value, other):
                raise InvalidConfig(f"must not be {kind_of(value)}")
            parts.append(value if isinstance(value, kind) else kind(value))
        except InvalidConfig as error:
            raise InvalidConfig(error.reason, key=".".join(filter(None, (key, str(index), error.key)))) from None
    return parts


def _check_combine(_: object, attribute: Any, value: object) -> None:
    if value not in list(Combine):
        raise InvalidConfig(f"must be one of {', '.join(Combine)}", key=attribute.name)


class Part(Protocol):
    """Check or judge, as far as both are alike."""

    @property
    def stage(self) -> StageSpec: ...
    @property
    def name(self) -> str | None: ...


@attrs.frozen(kw_only=True, eq=False)
class Panel:
    """Checks and judges that evaluate an output together.

    The checks come first, one after the other. When all hold, the judges are asked at the same time.

    Raises:
        InvalidConfig: a value cannot be used, or there is neither a check nor a judge; ``key`` names it.
    """

    checks: Sequence[Check] = attrs.field(default=(), converter=_as_checks)
    judges: Sequence[Judge] = attrs.field(default=(), converter=_as_judges)
    combine: Literal["mean", "median", "min"] = attrs.field(default="mean", validator=_check_combine)
    """Way in which the scores of the counted judges become one: ``mean`` by weight, ``median`` or ``min``."""
    close: float | None = attrs.field(default=None, validator=attrs.validators.optional(number(0, 1)))
    """Distance of a judge's first score from the pass threshold up to which its further samples are asked; None: all
    samples are asked always."""
    quorum: int | None = attrs.field(default=None, validator=attrs.validators.optional(integer(1)))
    """Counted judges that must answer; None: all."""
    is_lone: ClassVar[bool] = False
    """True for a prompt that stands alone as the evaluator."""
    timeout: ClassVar[timedelta | None] = None
    """None: only its checks and judges have timeouts."""
    retries: ClassVar[int] = 0

    def __attrs_post_init__(self) -> None:
        if not self.checks and not self.judges:
            raise InvalidConfig("needs at least one check or judge", key="checks")
        checks, judges = _named(self.checks, self.judges)
        object.__setattr__(self, "checks", checks)
        object.__setattr__(self, "judges", judges)
        counted = len(self.rules.counted)
        if self.quorum is not None and self.quorum > counted:
            raise InvalidConfig(f"must be at most the number of judges with a weight ({counted})", key="quorum")

    @property
    def kind(self) -> str:
        """``panel``, or for a lone prompt ``prompt``."""
        return self.judges[0].stage.kind if self.is_lone else "panel"

    @property
    def target(self) -> str:
        """Names of the checks and judges, for people."""
        return self.judges[0].stage.target if self.is_lone else ", ".join(str(part.name) for _, part in self.parts)

    @property
    def parts(self) -> Iterator[tuple[str, Part]]:
        """Checks and judges with their place, such as ``judges.0``."""
        yield from ((f"checks.{index}", check) for index, check in enumerate(self.checks))
        yield from ((f"judges.{index}", judge) for index, judge in enumerate(self.judges))

    @property
    def grace(self) -> timedelta:
        """Longest time that a check or judge may take once it was told to stop."""
        return max(part.stage.grace for _, part in self.parts)

    @cached_property
    def rules(self) -> PanelRules:
        """Part of the panel that decides scores."""
        return PanelRules(
            checks=[str(check.name) for check in self.checks],
            judges=[judge.rule for judge in self.judges],
            combine=Combine(self.combine),
            quorum=self.quorum,
            is_lone=self.is_lone,
        )

    def problem(self) -> str | None:
        """Return why a check or judge cannot be called here, or None."""
        problems = ((part.name, part.stage.problem()) for _, part in self.parts)
        return next((self._named_problem(name, problem) for name, problem in problems if problem), None)

    def _named_problem(self, name: str | None, problem: str) -> str:
        return problem if self.is_lone else f"{name}: {problem}"

    async def prepare(self) -> None:
        """Load what loopkit itself needs to call the judges, before their time is counted."""
        for _, part in self.parts:
            await part.stage.prepare()

    def for_agent(self, place: StagePlace) -> "Panel":
        """Return the panel of an agent.

        Raises:
            InvalidConfig: a setting does not go with a check or judge.
        """
        checks = [
            attrs.evolve(check, stage=check.stage.for_agent(self._place(place, f"checks.{index}", StageRole.CHECK)))
            for index, check in enumerate(self.checks)
        ]
        judges = [
            attrs.evolve(judge, stage=judge.stage.for_agent(self._place(place, f"judges.{index}", StageRole.JUDGE)))
            for index, judge in enumerate(self.judges)
        ]
        return attrs.evolve(self, checks=checks, judges=judges)

    def _place(self, place: StagePlace, part: str, role: "StageRole") -> StagePlace:
        return place if self.is_lone else attrs.evolve(place, key=f"{place.key}.{part}", role=role)

    @property
    def settings(self) -> list[Any]:
        """Everything that decides what the panel does, as plain JSON."""
        options = {"combine": self.combine, "close": self.close, "quorum": self.quorum}
        judges = [
            [judge.name, judge.weight, judge.samples, _marks(judge), *judge.stage.settings] for judge in self.judges
        ]
        return [self.kind, [[check.name, *check.stage.settings] for check in self.checks], judges, options]


@attrs.frozen(kw_only=True, eq=False)
class LoneJudge(Panel):
    """Prompt that stands alone as the evaluator and has criteria or samples: it counts as one judge."""

    is_lone: ClassVar[bool] = True


def lone_judge(spec: StageSpec) -> "StageSpec | LoneJudge":
    """Return a prompt with criteria or samples as the one judge that it counts as, and any other stage as it is."""
    body = spec.body
    if not isinstance(body, PromptStage) or (body.criteria is None and body.samples is None):
        return spec
    judge = Judge(attrs.evolve(spec, body=attrs.evolve(body, close=None)))
    return LoneJudge(judges=[judge], close=body.close)


def made_by(stage: StageSpec) -> str:
    """Return the digest of what decides the verdicts of a check or judge: a stored one counts while it is the same."""
    return hashlib.sha256(strict_json.dumps([stage.kind, stage.body.definition]).encode()).hexdigest()


def _marks(judge: Judge) -> list[Any]:
    return [[name, criterion.weight, criterion.pass_mark] for name, criterion in (judge.criteria or {}).items()]


def _named(checks: Sequence[Check], judges: Sequence[Judge]) -> tuple[Sequence[Check], Sequence[Judge]]:
    """Return checks and judges that all have a name of their own.

    Raises:
        InvalidConfig: two have been given one name.
    """
    parts: list[tuple[str, Check | Judge]] = [
        *((f"checks.{index}", check) for index, check in enumerate(checks)),
        *((f"judges.{index}", judge) for index, judge in enumerate(judges)),
    ]
    names: set[str] = set()
    for place, part in parts:
        if part.name in names:
            raise InvalidConfig(f"is the name of another check or judge: {part.name}", key=f"{place}.name")
        names |= {part.name} if part.name is not None else set()
    return tuple(_with_name(check, names) for check in checks), tuple(_with_name(judge, names) for judge in judges)


def _with_name(part: P, names: set[str]) -> P:
    """Return a check or judge with its name, or with a default one that is not among ``names``, and is added there."""
    if part.name is not None:
        return part
    first = _default_name(part.stage)
    name, number_after = first, 1
    while name in names:
        number_after += 1
        name = f"{first}-{number_after}"
    names.add(name)
    return attrs.evolve(part, name=name)


def _default_name(stage: StageSpec) -> str:
    """Return the name of a callable, a program, or a prompt's file without suffix."""
    body: Any = stage.body.body if isinstance(stage.body, CheckBody) else stage.body
    match body:
        case PromptStage():
            name = PurePath(body.prompt or body.messages or "").stem
        case CommandStage():
            name = PurePath(body.command[0]).name
        case FunctionStage():
            name = body.name
        case _:
            name = re.split("[.:]", body.target)[-1]
    printable = "".join(char for char in name if char.isprintable()).strip()
    return printable[:_NAME_CHARS] or stage.kind
