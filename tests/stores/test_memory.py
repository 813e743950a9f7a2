"""The store in memory passes every suite of a store."""

from collections.abc import AsyncIterator

import pytest

from loopkit.storage import Storage
from loopkit.stores.memory import MemoryStore
from loopkit.testing import (
    HandClock,
    IdempotencyKeysSuite,
    JournalsSuite,
    LabellingSuite,
    LedgerSuite,
    MaintenanceSuite,
    RunnerRegistrySuite,
    RunScoresSuite,
    RunStatisticsSuite,
    StorageSuite,
)


class TestMemoryStore(
    StorageSuite,
    MaintenanceSuite,
    RunnerRegistrySuite,
    RunStatisticsSuite,
    RunScoresSuite,
    IdempotencyKeysSuite,
    JournalsSuite,
    LedgerSuite,
    LabellingSuite,
):
    @pytest.fixture
    async def storage(self, clock: HandClock) -> AsyncIterator[Storage]:
        async with MemoryStore(now=clock) as store:
            yield store
