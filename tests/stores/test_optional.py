"""The databases conform to the optional protocols ``Copying`` and ``Wakeups``."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from loopkit.storage import Storage
from loopkit.stores.sql.opener import open_sql_store
from loopkit.testing import CopyingSuite, HandClock, WakeupsSuite

STALLED_AFTER = timedelta(seconds=120)


class CopyingCases(CopyingSuite):
    @pytest.fixture
    def clock(self) -> HandClock:
        """Return a clock that is not used: time is the database's own."""
        return HandClock()

    @pytest.fixture
    async def storage(self, url: str) -> AsyncIterator[Storage]:
        async with open_sql_store(url, STALLED_AFTER) as store:
            yield store

    @pytest.fixture
    async def empty(self, tmp_path: Path) -> AsyncIterator[Storage]:
        async with open_sql_store(f"sqlite:///{tmp_path / 'copy.db'}", STALLED_AFTER) as store:
            yield store


class OptionalCases(CopyingCases, WakeupsSuite):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"


class TestSqlite(CopyingCases, WakeupsSuite):
    @pytest.fixture
    def url(self, sqlite_url: str) -> str:
        return sqlite_url


class TestPostgres(OptionalCases):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url


class TestLibsql(OptionalCases):
    @pytest.fixture
    def url(self, libsql_url: str) -> str:
        return libsql_url
