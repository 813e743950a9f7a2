"""Policy of a run: how its attempts are made and when it ends before its attempts are used up.

A policy is resolved from the agent when a run is submitted and stored with the run, so that every runner, and every
resumption, decides alike. Its stored form is a JSON object with the keys ``drafts``, ``reviseFrom``, ``stop`` (with
``patience``, ``minDelta``, ``repeat``), ``budget`` (with ``usd``, ``tokens``, ``seconds``) and ``maxLosses``, of which
only those are present that were set.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import attrs

from loopkit.core.ledger.budget import BUDGET_KEYS, NO_BUDGET, Budget
from loopkit.errors import InvalidConfig

__all__ = [
    "DEFAULT_POLICY",
    "MAX_LOSSES",
    "Definition",
    "Policy",
    "ReviseFrom",
    "Stop",
    "policy_of",
    "read_policy",
    "read_revise_from",
]

MAX_LOSSES: Final = 3
"""Default for ``max_losses``: runners lost in a row, with no stage finished in between, before a run is given up."""

_MOST: Final = 2**31 - 1


class ReviseFrom(StrEnum):
    """Attempt whose output and evaluation a revision gets."""

    LAST = "last"
    BEST = "best"


def read_revise_from(value: object) -> ReviseFrom:
    """Return the member with the given value.

    Raises:
        InvalidConfig: there is none.
    """
    for member in ReviseFrom:
        if value == member.value:
            return member
    raise InvalidConfig("must be `last` or `best`", key="revise_from")


def _check_whole(least: int) -> Any:
    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidConfig("must be a whole number", key=attribute.name)
        if not least <= value <= _MOST:
            raise InvalidConfig(f"must be in {least}..{_MOST}", key=attribute.name)

    return check


def _check_min_delta(stop: "Stop", attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidConfig("must be a number", key=attribute.name)
    if not 0 <= value <= 1:
        raise InvalidConfig("must be in 0..1", key=attribute.name)
    if value and stop.patience is None:
        raise InvalidConfig("goes with `patience` only", key=attribute.name)


def _check_flag(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidConfig("must be true or false", key=attribute.name)


@attrs.frozen(kw_only=True)
class Stop:
    """Rules that end a run which gets no better.

    Raises:
        InvalidConfig: a value is of the wrong type or out of its range; ``key`` names it.
    """

    patience: int | None = attrs.field(default=None, validator=attrs.validators.optional(_check_whole(1)))
    """Revisions in a row without a better score after which the run ends; None: never."""
    min_delta: float = attrs.field(default=0.0, validator=_check_min_delta)
    """Difference of scores, 0.0..1.0, above which a score counts as better; only with ``patience``."""
    repeat: bool = attrs.field(default=False, validator=_check_flag)
    """True: a revision that equals an earlier output ends the run, and such a draft gets the earlier evaluation."""

    def document(self) -> dict[str, Any]:
        """Return the stored form: the keys that differ from their default."""
        set_values = {"patience": self.patience, "minDelta": self.min_delta or None, "repeat": self.repeat or None}
        return {key: value for key, value in set_values.items() if value is not None}


def _check_stop(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, Stop):
        raise InvalidConfig("must be a loopkit.Stop", key=attribute.name)


def _check_budget(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, Budget):
        raise InvalidConfig("must be a loopkit.Budget", key=attribute.name)


@attrs.frozen(kw_only=True)
class Policy:
    """Values by which a run makes its attempts and stops trying.

    Raises:
        InvalidConfig: a value is of the wrong type or out of its range; ``key`` names it.
    """

    drafts: int = attrs.field(default=1, validator=_check_whole(1))
    """Attempts 1..drafts are made by ``produce``, without an output or evaluation before them."""
    revise_from: ReviseFrom = attrs.field(default=ReviseFrom.LAST, converter=read_revise_from)
    stop: Stop = attrs.field(factory=Stop, validator=_check_stop)
    budget: Budget = attrs.field(default=NO_BUDGET, validator=_check_budget)
    """Limits of what the attempts may take together."""
    max_losses: int = attrs.field(default=MAX_LOSSES, validator=_check_whole(0))
    """Runners lost in a row, with no stage finished in between, before the run is given up; 0: never."""

    def document(self) -> dict[str, Any]:
        """Return the stored form: the keys that differ from their default."""
        document: dict[str, Any] = {}
        if self.drafts != 1:
            document["drafts"] = self.drafts
        if self.revise_from is not ReviseFrom.LAST:
            document["reviseFrom"] = self.revise_from.value
        if stop := self.stop.document():
            document["stop"] = stop
        if budget := self.budget.document():
            document["budget"] = budget
        if self.max_losses != MAX_LOSSES:
            document["maxLosses"] = self.max_losses
        return document


class Definition(str):
    """Digest of an agent's definition, with the policy that its runs get whose rows have none."""

    __slots__ = ("policy",)

    policy: Mapping[str, Any]
    """Stored form of the agent's policy."""

    def __new__(cls, digest: str, policy: Mapping[str, Any]) -> "Definition":
        """Return the digest with the stored form of a policy."""
        definition = super().__new__(cls, digest)
        definition.policy = policy
        return definition

    @staticmethod
    def policy_in(definition: str | None) -> Mapping[str, Any] | None:
        """Return the policy of a definition; None for a digest without one."""
        return definition.policy if isinstance(definition, Definition) and definition.policy else None


DEFAULT_POLICY: Final = Policy()
"""Policy of a run that sets nothing."""

_NAMES: Final = {"drafts": "drafts", "reviseFrom": "revise_from", "maxLosses": "max_losses"}
_BUDGET_NAMES: Final = {key: key for key in BUDGET_KEYS}
_STOP_NAMES: Final = {"patience": "patience", "minDelta": "min_delta", "repeat": "repeat"}
_PARTS: Final = (("stop", Stop, _STOP_NAMES), ("budget", Budget, _BUDGET_NAMES))
"""Keys that hold objects, with their classes and the names of their stored keys."""


def read_policy(document: object) -> Policy:
    """Read a stored policy; None, which another program or an older loopkit left, is the default.

    Raises:
        InvalidConfig: a key is not known, or a value cannot be used; ``key`` names it as it is stored.
    """
    if document is None or document == {}:
        return DEFAULT_POLICY
    values = _mapping(document)
    parts: dict[str, Any] = {
        key: _read(cls, _mapping(values.pop(key), key), names, f"{key}.")
        for key, cls, names in _PARTS
        if values.get(key) is not None
    }
    policy: Policy = _read(Policy, values, _NAMES)
    return attrs.evolve(policy, **parts) if parts else policy


def policy_of(document: object) -> Policy:
    """Return a stored policy, or the default where it cannot be read; such a run is ended by its first holder."""
    if not document:  # most runs set nothing, and a boundary asks several times
        return DEFAULT_POLICY
    try:
        return read_policy(document)
    except InvalidConfig:
        return DEFAULT_POLICY


def _read(cls: Any, values: Mapping[str, Any], names: Mapping[str, str], prefix: str = "") -> Any:
    """Make a value of ``cls`` from stored keys; errors name the stored key."""
    for key, value in values.items():
        if value is None:
            raise InvalidConfig("must not be null", key=f"{prefix}{key}")
        if key not in names:
            raise InvalidConfig("is not a key that this version of loopkit knows", key=f"{prefix}{key}")
    try:
        return cls(**{names[key]: value for key, value in values.items()})
    except InvalidConfig as error:
        stored = {name: key for key, name in names.items()}.get(error.key or "", error.key)
        raise InvalidConfig(error.reason, key=f"{prefix}{stored}") from error


def _mapping(value: object, key: str | None = None) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidConfig("must be an object", key=key)
    return dict(value)
