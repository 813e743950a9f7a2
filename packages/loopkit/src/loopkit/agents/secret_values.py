"""Secrets of stages: the values of the environment variables that ``api_key_env`` names.

They are cut out of every text about an error before it is stored, logged or shown: a provider's client likes to quote
the key that it was given.
"""

import os
from typing import Final

__all__ = ["add_secret_variable", "without_secrets"]

MIN_SECRET_CHARS: Final = 4
"""Shorter values are placeholders such as ``x``, and cutting them out would destroy the text around them."""

_variables: Final[set[str]] = set()


def add_secret_variable(name: str) -> None:
    """Register an environment variable whose value is a secret, for the rest of the process."""
    _variables.add(name)


def without_secrets(text: str) -> str:
    """Return ``text`` with every registered secret replaced by ``[key]``."""
    values = {os.environ.get(name, "") for name in tuple(_variables)}
    for value in sorted(values, key=len, reverse=True):
        if len(value) >= MIN_SECRET_CHARS:
            text = text.replace(value, "[key]")
    return text
