"""For tests of stores and of agents: suites, clocks moved by hand, a store called plainly, hypothesis strategies.

Needs pytest (the suites) and hypothesis (:mod:`loopkit.testing.strategies`).
"""

from loopkit.testing.blocking import Blocking
from loopkit.testing.clock import CountedIds, HandClock, StoreClock, WaitingClock
from loopkit.testing.optional import CopyingSuite, FleetSuite, MaintenanceSuite, WakeupsSuite
from loopkit.testing.suite import StorageSuite

__all__ = [
    "Blocking",
    "CopyingSuite",
    "CountedIds",
    "FleetSuite",
    "HandClock",
    "MaintenanceSuite",
    "StorageSuite",
    "StoreClock",
    "WaitingClock",
    "WakeupsSuite",
]
