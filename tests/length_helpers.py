"""Lengths of tests that can be made longer: short by default, longer by environment variables.

``LOOPKIT_TEST_LONG=1`` takes every long count; ``LOOPKIT_TEST_<NAME>=N`` sets a single one, for example
``LOOPKIT_TEST_KILLS=2000``.
"""

import os


def is_long() -> bool:
    """Return whether all long settings are requested."""
    return os.environ.get("LOOPKIT_TEST_LONG", "") not in ("", "0")


def count(name: str, short: int, *, long: int) -> int:
    """Return the count of ``LOOPKIT_TEST_<NAME>``; without it ``long`` or ``short``, by ``LOOPKIT_TEST_LONG``."""
    named = os.environ.get(f"LOOPKIT_TEST_{name.upper()}")
    if named:
        return int(named)
    return long if is_long() else short
