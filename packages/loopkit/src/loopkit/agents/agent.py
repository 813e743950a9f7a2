"""Agents: how their loop is worked. Made in Python or loaded from agents.yaml; the same values either way."""

import hashlib
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, Final

import attrs

from loopkit.agents.checks import integer, number, text
from loopkit.agents.context import StageBody, StageContext
from loopkit.agents.python import FunctionStage
from loopkit.agents.wording import kind_of
from loopkit.core import plain
from loopkit.core.inputs import InputsSchema
from loopkit.core.run import Stage
from loopkit.errors import Fault, InvalidConfig, InvalidInputs

__all__ = ["Agent", "StageBody", "StageContext", "StageSpec"]

MAX_NAME_CHARS: Final = 200

_SUFFIX: Final = re.compile(r"[A-Za-z0-9._-]{0,32}")
_EVALUATION_SUFFIX: Final = ".eval.json"


def _as_body(value: Any) -> StageBody:
    if callable(value) and hasattr(value, "problem"):
        body: StageBody = value
        return body
    if callable(value):
        return FunctionStage(value)
    raise InvalidConfig(f"a stage must be a callable or a StageSpec, not {kind_of(value)}")


def _check_timeout(_: object, attribute: Any, value: Any) -> None:
    if value is not None and not (isinstance(value, timedelta) and value > timedelta(0)):
        raise InvalidConfig("must be longer than 0 s", key=attribute.name)


@attrs.frozen
class StageSpec:
    """One stage of an agent: what does the work, how long one try may take, and how often it is tried again."""

    body: StageBody = attrs.field(converter=_as_body)
    """A plain callable, sync or async, is taken as well."""
    timeout: timedelta | None = attrs.field(default=None, kw_only=True, validator=_check_timeout)
    retries: int = attrs.field(default=0, kw_only=True, validator=integer(0))
    """Tries after the first."""

    @property
    def kind(self) -> str:
        """``python``, ``command`` or ``prompt``."""
        return self.body.kind

    @property
    def target(self) -> str:
        """What is called, as a person would name it."""
        return self.body.target

    def problem(self) -> str | None:
        """Say why the stage cannot be called here, or None."""
        return self.body.problem()


def _as_spec(value: Any) -> StageSpec:
    return value if isinstance(value, StageSpec) else StageSpec(value)


def _check_name(_: object, attribute: Any, value: Any) -> None:
    text(may_be_empty=False)(_, attribute, value)
    if len(value) > MAX_NAME_CHARS or not value.isprintable():
        raise InvalidConfig(f"must be at most {MAX_NAME_CHARS} printable characters", key=attribute.name)


def _check_suffix(_: object, attribute: Any, value: Any) -> None:
    text()(_, attribute, value)
    if not _SUFFIX.fullmatch(value) or value == _EVALUATION_SUFFIX:
        raise InvalidConfig("must be the end of a file name, such as .md", key=attribute.name)


@attrs.frozen(kw_only=True, eq=False)
class Agent:
    """A loop: produce, evaluate, revise until the score passes or the attempts are used up.

    Raises:
        InvalidConfig: a value cannot be used; ``key`` names it.
    """

    name: str = attrs.field(validator=_check_name)
    produce: StageSpec = attrs.field(converter=_as_spec)
    evaluate: StageSpec = attrs.field(converter=_as_spec)
    revise: StageSpec | None = attrs.field(default=None, converter=attrs.converters.optional(_as_spec))
    """None: ``produce`` is called again, with the stage ``revising``."""
    description: str = attrs.field(default="", validator=text())
    max_attempts: int = attrs.field(default=3, validator=integer(1))
    pass_threshold: float = attrs.field(default=0.8, validator=number(0, 1))
    _schema: InputsSchema = attrs.field(default=None, converter=InputsSchema, alias="inputs", repr=False)
    output_suffix: str = attrs.field(default=".md", validator=_check_suffix)

    @property
    def inputs(self) -> dict[str, Any]:
        """The JSON Schema of the inputs (draft 2020-12); without one any object fits."""
        return self._schema.document

    def stage(self, stage: Stage) -> StageSpec:
        """Give what is called for ``stage``."""
        if stage is Stage.EVALUATING:
            return self.evaluate
        return self.produce if stage is Stage.PRODUCING or self.revise is None else self.revise

    @property
    def stages(self) -> dict[str, StageSpec]:
        """The stages there are, by their name in agents.yaml."""
        named = {"produce": self.produce, "evaluate": self.evaluate, "revise": self.revise}
        return {name: spec for name, spec in named.items() if spec is not None}

    @cached_property
    def definition(self) -> str:
        """Digest of what decides how runs go: the same in every process, another when the agent is changed."""
        settings = {
            "inputs": self.inputs,
            "maxAttempts": self.max_attempts,
            "passThreshold": self.pass_threshold,
            "outputSuffix": self.output_suffix,
            "stages": {name: _definition(spec) for name, spec in self.stages.items()},
        }
        return hashlib.sha256(plain.dumps(settings).encode()).hexdigest()

    def checked_inputs(self, inputs: Any) -> dict[str, Any]:
        """Give a copy of ``inputs`` with the schema's top-level defaults filled in.

        Raises:
            InvalidInputs: they are no plain JSON object, or do not fit the schema; every fault is listed.
        """
        if not isinstance(inputs, Mapping):
            raise InvalidInputs([Fault("", f"must be an object, not {kind_of(inputs)}")])
        faults = plain.faults(inputs, max_bytes=plain.MAX_INPUTS_BYTES)
        if faults:
            raise InvalidInputs(faults)
        return self.fitted_inputs(inputs)

    def fitted_inputs(self, inputs: Any) -> dict[str, Any]:
        """Do the same for inputs that come from a store, and so are plain JSON.

        Raises:
            InvalidInputs: they are no object, or do not fit the schema.
        """
        if not isinstance(inputs, Mapping):
            raise InvalidInputs([Fault("", f"must be an object, not {kind_of(inputs)}")])
        filled = self._schema.filled(plain.copy(inputs))
        faults = self._schema.faults(filled)
        if faults:
            raise InvalidInputs(faults)
        return filled


def _definition(spec: StageSpec) -> list[Any]:
    seconds = None if spec.timeout is None else spec.timeout.total_seconds()
    return [spec.kind, spec.body.definition, seconds, spec.retries]
