"""Stage of an agent as a value: what is called, the timeout of each try, and how often it is retried."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

import attrs

from loopkit.agents.context import StageBody, StageContext, StagePlace
from loopkit.agents.error_text import kind_of
from loopkit.agents.setting_checks import integer
from loopkit.agents.stages.python import FunctionStage
from loopkit.errors import InvalidConfig

__all__ = ["Seconds", "StageLike", "StageSpec", "as_spec", "body_for_agent", "grace_of"]

MAX_SECONDS: Final = 1e9

Seconds = float | timedelta
"""Duration: seconds, or a timedelta."""


def as_body(value: Any) -> StageBody:
    """Return the work of a stage: a body as it is, or a plain callable wrapped.

    Raises:
        InvalidConfig: it is neither, or cannot be called with one positional argument.
    """
    if callable(value) and all(hasattr(value, name) for name in ("kind", "target", "definition", "problem")):
        body: StageBody = value
        return body
    if callable(value):
        return FunctionStage(value)
    raise InvalidConfig(
        "must be a callable of one argument, the stage context, or what loopkit.stage, loopkit.command or "
        f"loopkit.prompt returned, not {kind_of(value)}"
    )


def grace_of(body: StageBody) -> timedelta:
    """Return the time that a try which was told to stop may take by the settings of its body; 0 where it has none."""
    own: timedelta = getattr(body, "grace", timedelta(0))
    return own


def body_for_agent(body: StageBody, place: StagePlace) -> StageBody:
    """Return a body as that of an agent's stage; one to which the agent makes no difference stays as it is.

    Raises:
        InvalidConfig: a setting does not go with that stage.
    """
    for_agent: Callable[[StagePlace], StageBody] | None = getattr(body, "for_agent", None)
    return body if for_agent is None else for_agent(place)


def as_timeout(value: Seconds | None) -> timedelta | None:
    """Return a timeout as a timedelta.

    Raises:
        InvalidConfig: it is not greater than 0, or not a duration.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | timedelta):
        raise InvalidConfig(f"must be a number of seconds, not {kind_of(value)}", key="timeout")
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if not 0 < seconds <= MAX_SECONDS:
        raise InvalidConfig(f"must be greater than 0 s and at most {MAX_SECONDS:g} s", key="timeout")
    return timedelta(seconds=seconds)


@attrs.frozen
class StageSpec:
    """One stage of an agent: what is called, the timeout of each try, and how often it is retried."""

    body: StageBody = attrs.field(converter=as_body)
    """Stage body that is called; a plain callable, sync or async, is accepted too."""
    timeout: timedelta | None = attrs.field(default=None, kw_only=True, converter=as_timeout)
    """Longest time of one try; None: no limit."""
    retries: int = attrs.field(kw_only=True, validator=integer(0))
    """Tries after the first; default 0, for prompts 2."""
    grace: timedelta = attrs.field(init=False, eq=False, repr=False)
    """Time that a try which was told to stop may take by its own settings; a program has it to clean up."""

    @retries.default
    def _default_retries(self) -> int:
        return getattr(self.body, "default_retries", 0)

    @grace.default
    def _default_grace(self) -> timedelta:
        return grace_of(self.body)

    @property
    def kind(self) -> str:
        """``python``, ``command`` or ``prompt``."""
        return self.body.kind

    @property
    def target(self) -> str:
        """Name of what is called, for people."""
        return self.body.target

    def problem(self) -> str | None:
        """Return why the stage cannot be called here, or None."""
        return self.body.problem()

    async def prepare(self) -> None:
        """Load what loopkit itself needs to call the stage, before its time is counted; leave faults for the call."""
        prepare: Callable[[], Awaitable[None]] | None = getattr(self.body, "prepare", None)
        if prepare is not None:
            await prepare()

    def for_agent(self, place: StagePlace) -> "StageSpec":
        """Return the stage as the one of an agent.

        Raises:
            InvalidConfig: a setting does not go with that stage.
        """
        body = body_for_agent(self.body, place)
        return self if body is self.body else attrs.evolve(self, body=body)

    @property
    def settings(self) -> list[Any]:
        """Everything that decides what the stage does, as plain JSON."""
        seconds = None if self.timeout is None else self.timeout.total_seconds()
        return [self.kind, self.body.definition, seconds, self.retries]


StageLike = Callable[[StageContext], object] | StageSpec
"""Stage as an agent takes it: a sync or async callable of one argument, or a stage with options."""


def as_spec(value: StageLike, *, key: str | None = None) -> StageSpec:
    """Return a stage with options as it is, and a callable as a stage without options.

    Raises:
        InvalidConfig: it is neither, or cannot be called with one positional argument; ``key`` names the setting.
    """
    if isinstance(value, StageSpec):
        return value
    try:
        return StageSpec(value)
    except InvalidConfig as error:
        raise InvalidConfig(error.reason, key=key) from None
