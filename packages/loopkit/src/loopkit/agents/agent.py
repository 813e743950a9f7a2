"""Agents and their stages, as values: the same whether made in Python or loaded from agents.yaml."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Final

import attrs

from loopkit.agents.context import StageBody, StageContext, StagePlace, StageRole
from loopkit.agents.error_text import kind_of
from loopkit.agents.evaluators.panel_spec import Panel, lone_judge
from loopkit.agents.run_title import RunTitle, TitleTemplate, check_run_title, make_title
from loopkit.agents.setting_checks import integer, number, text
from loopkit.agents.stage_spec import StageLike, StageSpec, as_spec
from loopkit.agents.stages.lifespan import ImportedLifespan, Lifespan
from loopkit.core import strict_json
from loopkit.core.inputs import InputsSchema
from loopkit.core.ledger.budget import Budget
from loopkit.core.panel.panel_rules import LOWEST_THRESHOLD
from loopkit.core.policy import MAX_LOSSES, Definition, Policy, Stop, read_revise_from
from loopkit.core.run import Stage
from loopkit.errors import Fault, InvalidConfig, InvalidInputs, UnusableOption

__all__ = ["Agent", "StageBody", "StageContext", "StageSpec", "agents_by_name"]

MAX_NAME_CHARS: Final = 200

_SUFFIX: Final = re.compile(r"[A-Za-z0-9._-]{0,32}")
_EVALUATION_SUFFIX: Final = ".eval.json"


def _as_produce(value: StageLike) -> StageSpec:
    return as_spec(value, key="produce")


def _as_evaluate(value: StageLike | Panel) -> StageSpec | Panel:
    return value if isinstance(value, Panel) else lone_judge(as_spec(value, key="evaluate"))


def _as_revise(value: StageLike | None) -> StageSpec | None:
    return None if value is None else as_spec(value, key="revise")


def _check_name(_: object, attribute: Any, value: Any) -> None:
    text(may_be_empty=False)(_, attribute, value)
    if len(value) > MAX_NAME_CHARS or not value.isprintable():
        raise InvalidConfig(f"must be at most {MAX_NAME_CHARS} printable characters", key=attribute.name)


def _check_suffix(_: object, attribute: Any, value: Any) -> None:
    text()(_, attribute, value)
    if not _SUFFIX.fullmatch(value) or value == _EVALUATION_SUFFIX:
        raise InvalidConfig("must be the end of a file name, such as .md", key=attribute.name)


def _check_lifespan(_: object, attribute: Any, value: object) -> None:
    if value is not None and not callable(value):
        raise InvalidConfig(f"must be a callable without arguments, not {kind_of(value)}", key=attribute.name)


def _check_drafts(agent: "Agent", attribute: Any, value: int) -> None:
    if value > agent.max_attempts:
        raise InvalidConfig(f"must be at most max_attempts ({agent.max_attempts})", key=attribute.name)


def _check_revise_from(_: object, __: Any, value: object) -> None:
    read_revise_from(value)


def _check_stop(_: object, attribute: Any, value: object) -> None:
    if not isinstance(value, Stop):
        raise InvalidConfig(f"must be a loopkit.Stop, not {kind_of(value)}", key=attribute.name)


def _check_budget(_: object, attribute: Any, value: object) -> None:
    if not isinstance(value, Budget):
        raise InvalidConfig(f"must be a loopkit.Budget, not {kind_of(value)}", key=attribute.name)


@attrs.frozen(kw_only=True, eq=False)
class Agent:
    """A loop that produces, evaluates and revises until the score passes or the attempts are used up.

    Raises:
        InvalidConfig: a value cannot be used; ``key`` names it.
    """

    name: str = attrs.field(validator=_check_name)
    produce: StageSpec = attrs.field(converter=_as_produce)
    evaluate: StageSpec | Panel = attrs.field(converter=_as_evaluate)
    revise: StageSpec | None = attrs.field(default=None, converter=_as_revise)
    """None: ``produce`` is called again, with the stage ``revising``."""
    description: str = attrs.field(default="", validator=text())
    max_attempts: int = attrs.field(default=3, validator=integer(1))
    pass_threshold: float = attrs.field(default=0.8, validator=number(0, 1))
    _schema: InputsSchema = attrs.field(default=None, converter=InputsSchema, alias="inputs", repr=False)
    output_suffix: str = attrs.field(default=".md", validator=_check_suffix)
    lifespan: Lifespan | None = attrs.field(default=None, validator=_check_lifespan, repr=False)
    """Lifespan of what the stages share, where the runner has none of its own; agents of a file carry the file's."""
    drafts: int = attrs.field(default=1, validator=[integer(1), _check_drafts])
    """Attempts 1..drafts are made by ``produce``; later ones by ``revise``."""
    revise_from: str = attrs.field(default="last", validator=_check_revise_from)
    """``last`` or ``best``: the attempt whose output and evaluation a revision gets."""
    stop: Stop = attrs.field(factory=Stop, validator=_check_stop)
    budget: Budget = attrs.field(factory=Budget, validator=_check_budget)
    """Limits of what the attempts of a run may take together; one that is reached ends it."""
    max_losses: int = attrs.field(default=MAX_LOSSES, validator=integer(0))
    """Runners lost in a row, with no stage finished in between, before the run is given up; 0: never."""
    title: RunTitle | None = attrs.field(default=None, validator=check_run_title, repr=False)
    """Title of the runs that get none when they are submitted: text, or a callable of the inputs.

    What is longer than 200 characters is cut; a callable that fails or returns no text gives no title. It is for people
    only and decides nothing about how a run goes, so it is no part of :attr:`definition`.
    """

    def __attrs_post_init__(self) -> None:
        for name, spec in self.stages.items():
            place = StagePlace(
                key=name,
                role=StageRole(name),
                inputs=self.inputs,
                drafts=self.drafts,
                output_suffix=self.output_suffix,
            )
            object.__setattr__(self, name, spec.for_agent(place))
        if isinstance(self.title, TitleTemplate):
            self.title.check_inputs(self.inputs)
        if fault := self.threshold_fault(self.pass_threshold):
            raise InvalidConfig(fault, key="pass_threshold")

    @property
    def inputs(self) -> dict[str, Any]:
        """JSON Schema of the inputs (draft 2020-12); without one any object is valid."""
        return self._schema.document

    def default_faults(self) -> list[Fault]:
        """Return why defaults in the schema of the inputs do not fit it: every run that takes one would fail."""
        return self._schema.default_faults()

    def threshold_fault(self, pass_threshold: float) -> str | None:
        """Return why a run of this agent cannot have that pass threshold, as a predicate; None: it can."""
        if isinstance(self.evaluate, Panel) and self.evaluate.rules.holds_scores and pass_threshold < LOWEST_THRESHOLD:
            return f"must be at least {LOWEST_THRESHOLD:g} for an agent with checks or a pass_mark"
        return None

    def stage(self, stage: Stage) -> StageSpec | Panel:
        """Return what is called for ``stage``."""
        if stage is Stage.EVALUATING:
            return self.evaluate
        return self.produce if stage is Stage.PRODUCING or self.revise is None else self.revise

    @property
    def stages(self) -> dict[str, StageSpec | Panel]:
        """Stages of the agent, by their name in agents.yaml."""
        specs = {"produce": self.produce, "evaluate": self.evaluate, "revise": self.revise}
        return {name: spec for name, spec in specs.items() if spec is not None}

    def problems(self) -> dict[str, str]:
        """Return the stages that cannot be called here, each with the reason; the others are imported by this."""
        return {name: problem for name, spec in self.stages.items() if (problem := spec.problem()) is not None}

    @property
    def lifespan_name(self) -> str | None:
        """Name of the lifespan in agents.yaml, ``module:callable``; None for an agent without one, or from Python."""
        return self.lifespan.reference if isinstance(self.lifespan, ImportedLifespan) else None

    def lifespan_problem(self) -> str | None:
        """Return why the lifespan of agents.yaml cannot be opened here, or None; this imports it."""
        return self.lifespan.problem() if isinstance(self.lifespan, ImportedLifespan) else None

    @cached_property
    def policy(self) -> Policy:
        """Policy of the agent's runs; each stores it when it is submitted."""
        return Policy(
            drafts=self.drafts,
            revise_from=read_revise_from(self.revise_from),
            stop=self.stop,
            budget=self.budget,
            max_losses=self.max_losses,
        )

    @cached_property
    def definition(self) -> Definition:
        """Digest of everything that decides how runs go: equal in every process, different once the agent changes."""
        settings: dict[str, Any] = {
            "inputs": self.inputs,
            "maxAttempts": self.max_attempts,
            "passThreshold": self.pass_threshold,
            "outputSuffix": self.output_suffix,
            "stages": {name: spec.settings for name, spec in self.stages.items()},
        }
        policy = self.policy.document()
        if policy:
            settings["policy"] = policy
        return Definition(hashlib.sha256(strict_json.dumps(settings).encode()).hexdigest(), policy)

    def run_title(self, inputs: Mapping[str, Any]) -> str | None:
        """Return the title of a run with these inputs; None: it has none."""
        return make_title(self.title, inputs)

    def checked_inputs(self, inputs: Any) -> dict[str, Any]:
        """Return a copy of ``inputs`` with the schema's top-level defaults filled in.

        Raises:
            InvalidInputs: they are not a plain JSON object, or do not fit the schema; every fault is listed.
        """
        if not isinstance(inputs, Mapping):
            raise InvalidInputs([Fault("", f"must be an object, not {kind_of(inputs)}")])
        faults = strict_json.faults(inputs, max_bytes=strict_json.MAX_INPUTS_BYTES)
        if faults:
            raise InvalidInputs(faults)
        return self.inputs_with_defaults(inputs)

    def inputs_with_defaults(self, inputs: Any) -> dict[str, Any]:
        """Return the same for inputs from a store, which are known to be plain JSON.

        Raises:
            InvalidInputs: they are not an object, or do not fit the schema.
        """
        if not isinstance(inputs, Mapping):
            raise InvalidInputs([Fault("", f"must be an object, not {kind_of(inputs)}")])
        filled = self._schema.filled(strict_json.copy(inputs))
        faults = self._schema.faults(filled)
        if faults:
            raise InvalidInputs(faults)
        return filled


def agents_by_name(agents: Iterable[Agent] | Mapping[str, Agent]) -> dict[str, Agent]:
    """Return the agents that a program gave, by name and in their order.

    Raises:
        UnusableOption: they are something else, or two of them have one name.
    """
    values = agents.values() if isinstance(agents, Mapping) else agents
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise UnusableOption(f"agents must be a list of agents or a mapping by name, not {kind_of(agents)}")
    named: dict[str, Agent] = {}
    for agent in values:
        if not isinstance(agent, Agent):
            raise UnusableOption(f"agents must be a list of agents or a mapping by name; {kind_of(agent)} is in it")
        if named.setdefault(agent.name, agent) is not agent:
            raise UnusableOption(f"two agents have the name {agent.name!r}; each needs its own")
    return named
