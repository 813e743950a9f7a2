"""The store in memory keeps every promise of a store."""

from collections.abc import AsyncIterator

import pytest

from loopkit.storage import Storage
from loopkit.stores.memory import MemoryStore
from loopkit.testing import FleetSuite, HandClock, MaintenanceSuite, StorageSuite


class TestMemoryStore(StorageSuite, MaintenanceSuite, FleetSuite):
    @pytest.fixture
    async def storage(self, clock: HandClock) -> AsyncIterator[Storage]:
        async with MemoryStore(now=clock) as store:
            yield store
