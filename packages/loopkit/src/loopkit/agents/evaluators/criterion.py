"""Criterion: one standard by which a prompt judge scores an output, apart from the others."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

from loopkit.agents.error_text import kind_of
from loopkit.agents.setting_checks import number, text
from loopkit.core.panel.panel_rules import CriterionRule
from loopkit.errors import InvalidConfig

__all__ = ["AnyCriterion", "Criterion", "as_criteria", "check_part_name", "check_weight"]

MAX_NAME_CHARS: Final = 100
MAX_WEIGHT: Final = 1e9


def check_part_name(name: object, *, key: str) -> None:
    """Check the name of a check, a judge or a criterion.

    Raises:
        InvalidConfig: it is not text of 1..100 printable characters; ``key`` names it.
    """
    if not isinstance(name, str):
        raise InvalidConfig(f"must be text, not {kind_of(name)}", key=key)
    if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable() or not name.strip():
        raise InvalidConfig(f"must be 1 to {MAX_NAME_CHARS} printable characters", key=key)


def check_weight(weight: object, *, may_be_zero: bool) -> None:
    """Check a weight.

    Raises:
        InvalidConfig: it is not a number, or out of its range.
    """
    if not isinstance(weight, int | float) or isinstance(weight, bool):
        raise InvalidConfig(f"must be a number, not {kind_of(weight)}", key="weight")
    if not 0 <= weight <= MAX_WEIGHT or (weight == 0 and not may_be_zero):
        least = "0 or more" if may_be_zero else "greater than 0"
        raise InvalidConfig(f"must be {least}, and at most {MAX_WEIGHT:g}", key="weight")


def _check_weight(_: object, __: Any, value: object) -> None:
    check_weight(value, may_be_zero=False)


def _check_answer(_: object, attribute: Any, value: object) -> None:
    if value not in ("scale", "yes-no"):
        raise InvalidConfig("must be `scale` or `yes-no`", key=attribute.name)


@attrs.frozen
class Criterion:
    """Standard that a prompt judge is asked for.

    Raises:
        InvalidConfig: a value is of the wrong type or out of its range; ``key`` names it.
    """

    ask: str = attrs.field(validator=text(may_be_empty=False))
    """Sentence that a judge answers, such as "Every claim is supported by the source"."""
    weight: float = attrs.field(default=1, kw_only=True, validator=_check_weight)
    """Part in the judge's score, greater than 0."""
    pass_mark: float | None = attrs.field(default=None, kw_only=True, validator=attrs.validators.optional(number(0, 1)))
    """Score, 0.0..1.0, below which the output does not pass, whatever its other scores are; None: none."""
    answer: Literal["scale", "yes-no"] = attrs.field(default="scale", kw_only=True, validator=_check_answer)
    """``scale``: a whole number from 0 to 5; ``yes-no``."""

    @property
    def is_yes_no(self) -> bool:
        """True when the answer is yes or no."""
        return self.answer == "yes-no"

    @property
    def rule(self) -> CriterionRule:
        """Part of the criterion that decides scores."""
        return CriterionRule(weight=self.weight, pass_mark=self.pass_mark)


AnyCriterion = Criterion | str | Mapping[str, Any]
"""Criterion, the sentence of one, or a mapping of its keys as in agents.yaml."""


def as_criteria(value: Mapping[str, AnyCriterion] | None) -> Mapping[str, Criterion] | None:
    """Return criteria by name; a text stands for a criterion that asks it, a mapping for one with its values.

    Raises:
        InvalidConfig: they are no mapping with at least one criterion, or a name cannot be used.
    """
    return None if value is None else _read_criteria(value)


def _read_criteria(value: Any) -> Mapping[str, Criterion]:
    if not isinstance(value, Mapping):
        raise InvalidConfig(f"must map names to criteria, not be {kind_of(value)}", key="criteria")
    if not value:
        raise InvalidConfig("must have at least one criterion", key="criteria")
    return {name: _as_criterion(name, item) for name, item in value.items()}


def _as_criterion(name: Any, value: Any) -> Criterion:
    key = f"criteria.{name}"
    check_part_name(name, key=key)
    if isinstance(value, Criterion):
        return value
    if isinstance(value, Mapping):
        return _criterion_of(value, key)
    if not isinstance(value, str):
        raise InvalidConfig(f"must be text, a mapping or a loopkit.Criterion, not {kind_of(value)}", key=key)
    try:
        return Criterion(value)
    except InvalidConfig as error:
        raise InvalidConfig(error.reason, key=key) from None


def _criterion_of(values: Mapping[Any, Any], key: str) -> Criterion:
    known = sorted(attribute.name for attribute in attrs.fields(Criterion))
    for name in values:
        if name not in known:
            raise InvalidConfig(f"unknown key; allowed here: {', '.join(known)}", key=f"{key}.{name}")
    if "ask" not in values:
        raise InvalidConfig("`ask` is missing", key=key)
    try:
        return Criterion(**values)
    except InvalidConfig as error:
        raise InvalidConfig(error.reason, key=f"{key}.{error.key}") from None
