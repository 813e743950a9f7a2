"""The store in SQL keeps every promise of a store, on each database."""

from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import delete

from loopkit.storage import Storage
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.schema import migrations, tables
from loopkit.stores.sql.store import SqlStore
from loopkit.testing import (
    CancelRequestsSuite,
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
from tests.servers.libsql import Libsql


class Cases(
    StorageSuite,
    MaintenanceSuite,
    RunnerRegistrySuite,
    RunStatisticsSuite,
    RunScoresSuite,
    IdempotencyKeysSuite,
    JournalsSuite,
    LedgerSuite,
    LabellingSuite,
    CancelRequestsSuite,
):
    """Every case, over a database that a subclass opens."""

    __test__ = False

    @pytest.fixture
    async def storage(self, database: Database, clock: HandClock) -> AsyncIterator[Storage]:
        async with SqlStore(database, now=clock) as store:
            yield store


class OnServer(Cases):
    """On a server that all cases share; making tables anew for each would take longer than the case."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        """What differs between event loops is the same code on every database."""
        return "asyncio"

    @pytest.fixture
    def database(self, server_url: str) -> Iterator[Database]:
        opened = open_database(server_url)
        migrations.migrate(opened)
        with opened.writing() as connection:
            for table in tables.metadata.sorted_tables:
                if table is not tables.schema:
                    connection.execute(delete(table))
        yield opened
        opened.close()


class TestOnSqlite(Cases):
    __test__ = True

    @pytest.fixture
    def database(self, sqlite_database: Database) -> Database:
        return sqlite_database


class TestOnPostgresql(OnServer):
    __test__ = True

    @pytest.fixture
    def server_url(self, shared_postgres: str) -> str:
        return shared_postgres


class TestOnLibsql(OnServer):
    __test__ = True

    @pytest.fixture
    def server_url(self, libsql_server: Libsql) -> str:
        return libsql_server.url
