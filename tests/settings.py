"""How long the tests that can be made longer run: short by default, longer by environment variables.

``LOOPKIT_TEST_LONG=1`` takes every long count; ``LOOPKIT_TEST_<NAME>=N`` sets a single one, for example
``LOOPKIT_TEST_KILLS=2000``.
"""

from __future__ import annotations

import os


def is_long() -> bool:
    """Whether all long settings are asked for."""
    return os.environ.get("LOOPKIT_TEST_LONG", "") not in ("", "0")


def count(name: str, short: int, *, long: int) -> int:
    """How often to do something: ``LOOPKIT_TEST_<NAME>``, else by ``LOOPKIT_TEST_LONG``."""
    named = os.environ.get(f"LOOPKIT_TEST_{name.upper()}")
    if named:
        return int(named)
    return long if is_long() else short
