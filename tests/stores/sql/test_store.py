"""The store in SQL keeps every promise of a store, on each database."""

from collections.abc import AsyncIterator

import pytest

from loopkit.storage import Storage
from loopkit.stores.sql.dialects import Database
from loopkit.stores.sql.store import SqlStore
from loopkit.testing import FleetSuite, HandClock, MaintenanceSuite, StorageSuite


class TestSqlStore(StorageSuite, MaintenanceSuite, FleetSuite):
    @pytest.fixture
    async def storage(self, database: Database, clock: HandClock) -> AsyncIterator[Storage]:
        async with SqlStore(database, now=clock) as store:
            yield store
