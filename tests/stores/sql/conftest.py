"""Open databases of each kind with their tables, and rows as another program would write them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert

from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.schema import migrations, tables
from tests.servers.postgres import Databases

KINDS = [
    pytest.param("sqlite_url", id="sqlite"),
    pytest.param("postgres_url", id="postgresql", marks=pytest.mark.postgres),
    pytest.param("libsql_url", id="libsql", marks=pytest.mark.libsql),
]

CLOCK: dict[str, Any] = {"now": None, "stalled_seconds": 120.0}
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, of each kind in turn."""
    given: str = request.getfixturevalue(request.param)
    return given


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A database of each kind in turn, with its tables."""
    opened = open_database(url)
    migrations.migrate(opened)
    yield opened
    opened.close()


class Foreign:
    """Another program, which writes to the tables by plain SQL."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def time(self, moment: datetime | None, *, spaced: bool = False) -> Any:
        """Return a time as a column takes it; ``spaced``: ``YYYY-MM-DD HH:MM:SS`` where times are text."""
        value = None if moment is None else self.database.time_parameter(moment)
        return value.replace("T", " ").split(".")[0] if spaced and isinstance(value, str) else value

    def add_runs(self, *given: dict[str, Any]) -> None:
        """Insert runs; each argument holds what differs from a new queued run."""
        plain = {
            "agent_name": "namer",
            "cycle_id": "2026-11-22-001",
            "status": "queued",
            "max_attempts": 3,
            "pass_threshold": 0.8,
            "inputs": "{}",
        }
        with self.database.writing() as connection:
            for one in given:
                values = {k: self.time(v) if isinstance(v, datetime) else v for k, v in (plain | one).items()}
                connection.execute(insert(tables.runs).values(values))

    def add(self, table: Any, *given: dict[str, Any]) -> None:
        """Insert rows into any table."""
        with self.database.writing() as connection:
            for one in given:
                values = {k: self.time(v) if isinstance(v, datetime) else v for k, v in one.items()}
                connection.execute(insert(table).values(values))


def at(foreign: Foreign, moment: datetime) -> dict[str, object]:
    """Return the clock parameters for a given time."""
    return CLOCK | {"now": foreign.time(moment)}


@pytest.fixture
def foreign(database: Database) -> Foreign:
    return Foreign(database)


@pytest.fixture(scope="module")
def shared_postgres(postgres_server: Databases) -> Iterator[str]:
    """The URL of a database that all tests of a module share; it need not be empty."""
    url = postgres_server.create()
    yield url
    postgres_server.drop(url)


@pytest.fixture
def sqlite_database(sqlite_url: str) -> Iterator[Database]:
    """A database on SQLite alone, for tests that do not depend on the kind."""
    opened = open_database(sqlite_url)
    migrations.migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def foreign_on_sqlite(sqlite_database: Database) -> Foreign:
    return Foreign(sqlite_database)
