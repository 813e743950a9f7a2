"""Checks of single settings. The error names the setting; whoever reads it from a file adds file and line."""

from collections.abc import Callable
from typing import Any

from loopkit.agents.error_text import kind_of
from loopkit.core import strict_json
from loopkit.errors import InvalidConfig

__all__ = ["integer", "number", "text"]

Check = Callable[[Any, Any, Any], None]
"""Validator of attrs: instance, attribute, value."""


def text(*, may_be_empty: bool = True) -> Check:
    """Return a check for text that can be stored."""

    def check(_: Any, attribute: Any, value: object) -> None:
        key = attribute.name
        if not isinstance(value, str):
            raise InvalidConfig(f"must be text, not {kind_of(value)}", key=key)
        if fault := strict_json.text_fault(value):
            raise InvalidConfig(fault, key=key)
        if not value and not may_be_empty:
            raise InvalidConfig("must not be empty", key=key)

    return check


def integer(least: int, most: int = 2**31 - 1) -> Check:
    """Return a check for a whole number in ``least..most``."""

    def check(_: Any, attribute: Any, value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidConfig(f"must be a whole number, not {kind_of(value)}", key=attribute.name)
        if not least <= value <= most:
            raise InvalidConfig(f"must be in {least}..{most}", key=attribute.name)

    return check


def number(least: float, most: float) -> Check:
    """Return a check for a number in ``least..most``."""

    def check(_: Any, attribute: Any, value: object) -> None:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InvalidConfig(f"must be a number, not {kind_of(value)}", key=attribute.name)
        if not least <= value <= most:
            raise InvalidConfig(f"must be in {least:g}..{most:g}", key=attribute.name)

    return check
