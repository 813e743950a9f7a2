"""Tools for tests of stores and agents: a context for one stage, suites, clocks set by hand, Hypothesis strategies.

The suites need pytest, and :mod:`loopkit.testing.strategies` needs Hypothesis; both come with the extra ``testing``.
They are loaded when they are first used, so that ``import loopkit.testing`` needs no extra.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from loopkit.testing.sample_context import SampleContext, context

if TYPE_CHECKING:
    from loopkit.testing.hand_clock import CountedIds, HandClock, StoreClock, WaitingClock
    from loopkit.testing.label_suite import LabellingSuite
    from loopkit.testing.ledger_suite import LedgerSuite
    from loopkit.testing.optional_suites import (
        CancelRequestsSuite,
        CopyingSuite,
        IdempotencyKeysSuite,
        JournalsSuite,
        MaintenanceSuite,
        RunnerRegistrySuite,
        RunScoresSuite,
        RunStatisticsSuite,
        WakeupsSuite,
    )
    from loopkit.testing.suite import StorageSuite
    from loopkit.testing.sync_calls import Blocking

__all__ = [
    "Blocking",
    "CancelRequestsSuite",
    "CopyingSuite",
    "CountedIds",
    "HandClock",
    "IdempotencyKeysSuite",
    "JournalsSuite",
    "LabellingSuite",
    "LedgerSuite",
    "MaintenanceSuite",
    "RunScoresSuite",
    "RunStatisticsSuite",
    "RunnerRegistrySuite",
    "SampleContext",
    "StorageSuite",
    "StoreClock",
    "WaitingClock",
    "WakeupsSuite",
    "context",
]

_HOMES: Final = (
    "loopkit.testing.hand_clock",
    "loopkit.testing.sync_calls",
    "loopkit.testing.suite",
    "loopkit.testing.optional_suites",
    "loopkit.testing.ledger_suite",
    "loopkit.testing.label_suite",
)
"""Modules that define the other names; those that need no extra come first."""

if not TYPE_CHECKING:  # a type checker that saw this function would accept every misspelt name

    def __getattr__(name: str) -> object:
        """Return a public name, loaded from the first of its modules that has it."""
        for home in _HOMES if name in __all__ else ():
            module = import_module(home)
            if hasattr(module, name):
                value = globals()[name] = getattr(module, name)
                return value
        raise AttributeError(f"module 'loopkit.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
