"""Errors of real databases are sorted by what a caller can do about them."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from loopkit.errors import DatabaseDamaged, StorageUnavailable
from loopkit.stores.sql import libsql, migrations
from loopkit.stores.sql.dialects import Database, open_database
from loopkit.stores.sql.troubles import Trouble, explained, trouble
from tests.servers.libsql import Libsql
from tests.stores.sql.conftest import Foreign


def met(action: Callable[[], object]) -> BaseException:
    """The error that an action meets."""
    with pytest.raises(
        (DBAPIError, sqlite3.Error, psycopg.Error, libsql.ConnectionLost, libsql.ServerAnswer)
    ) as caught:
        action()
    return caught.value


def run(database: Database, *statements: str) -> None:
    with database.writing() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_a_locked_file_passes(sqlite_database: Database, tmp_path: Path) -> None:
    """A write lock that somebody holds too long is worth another try; so is a pool that is used up."""
    impatient = sqlite3.connect(tmp_path / "loopkit.db", timeout=0, isolation_level=None)
    with sqlite_database.writing():
        assert trouble(met(lambda: impatient.execute("BEGIN IMMEDIATE"))) is Trouble.PASSING
    impatient.close()
    assert trouble(PoolTimeout()) is Trouble.PASSING


def test_a_full_disk_is_told(sqlite_database: Database) -> None:
    """Where there is no room nothing was written, and the error that reaches the caller says so."""
    with sqlite_database.writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        big = "INSERT INTO workflow_events (run_id, event_type, message) VALUES ('r', 'log', zeroblob(10000000))"
        error = met(lambda: connection.execute(text(big)))
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000000")
    assert trouble(error) is Trouble.FULL
    assert isinstance(explained(error), StorageUnavailable)
    assert "no room" in str(explained(error))


def test_a_damaged_file_is_told(sqlite_database: Database, tmp_path: Path) -> None:
    """Pages that make no sense are damage, which no further try repairs."""
    Foreign(sqlite_database).add_runs(*({"id": str(number), "inputs": '"' + "x" * 2000 + '"'} for number in range(50)))
    sqlite_database.close()
    path = tmp_path / "loopkit.db"
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(b ^ 0xFF for b in content[4096:])
    path.write_bytes(content)
    connection = sqlite3.connect(path)
    error = met(lambda: connection.execute("SELECT * FROM workflow_runs").fetchall())
    connection.close()
    assert trouble(error) is Trouble.DAMAGED
    assert isinstance(explained(error), DatabaseDamaged)


def test_a_refused_row_is_no_passing_trouble(database: Database, foreign: Foreign) -> None:
    """A duplicate, or a statement that makes no sense, fails the same way every time."""
    foreign.add_runs({"id": "r"})
    assert trouble(met(lambda: foreign.add_runs({"id": "r"}))) is Trouble.OTHER
    assert trouble(met(lambda: run(database, "SELECT * FROM nowhere"))) is Trouble.OTHER
    assert trouble(ValueError("x")) is Trouble.OTHER


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    opened = open_database(postgres_url)
    migrations.migrate(opened)
    yield opened
    opened.close()


def test_limits_and_locks_of_postgresql_pass(postgres: Database) -> None:
    """A lock that is not free, a statement that takes too long, a server that only reads now: another try."""
    Foreign(postgres).add_runs({"id": "r"})
    lock = "SELECT 1 FROM workflow_runs FOR UPDATE"
    with postgres.writing() as connection:
        connection.execute(text(lock))
        waiting = met(lambda: run(postgres, "SET LOCAL lock_timeout = '1ms'", lock))
    assert trouble(waiting) is Trouble.PASSING
    assert trouble(met(lambda: run(postgres, "SET LOCAL statement_timeout = '1ms'", "SELECT pg_sleep(9)"))) is (
        Trouble.PASSING
    )
    assert trouble(met(lambda: run(postgres, "SET TRANSACTION READ ONLY", "DELETE FROM workflow_runs"))) is (
        Trouble.PASSING
    )


def test_two_who_lock_each_other_pass(postgres: Database) -> None:
    """Of a deadlock one is ended by the server, and its next try succeeds."""
    Foreign(postgres).add_runs({"id": "a"}, {"id": "b"})
    gate, seen = threading.Barrier(2), []

    def lock(first: str, second: str) -> None:
        try:
            with postgres.writing() as connection:
                connection.execute(text(f"SELECT 1 FROM workflow_runs WHERE id = '{first}' FOR UPDATE"))
                gate.wait()
                connection.execute(text(f"SELECT 1 FROM workflow_runs WHERE id = '{second}' FOR UPDATE"))
        except DBAPIError as error:
            seen.append(trouble(error))

    threads = [threading.Thread(target=lock, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [Trouble.PASSING]


def test_a_connection_that_the_server_ends_is_unknown(postgres: Database) -> None:
    """Nobody knows what became of a commit whose connection is gone."""
    with postgres.writer.connect() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        run(postgres, f"SELECT pg_terminate_backend({pid})")
        assert trouble(met(lambda: connection.execute(text("SELECT 1")))) is Trouble.UNKNOWN
    run(postgres, "SELECT 1")


def test_a_server_of_libsql_that_dies_is_unknown() -> None:
    """No answer of the server leaves the outcome open, in a batch and in a transaction; back again it answers."""
    with Libsql() as server:
        database = open_database(server.url)
        migrations.migrate(database)
        assert database.client is not None
        with database.writer.connect() as connection:
            connection.execute(text("SELECT 1"))
            server.kill()
            lost = met(lambda: connection.execute(text("SELECT 1")))
        assert trouble(lost) is Trouble.UNKNOWN
        assert isinstance(explained(lost), StorageUnavailable)
        client = database.client
        assert trouble(met(lambda: client.transaction([("SELECT 1", ())]))) is Trouble.UNKNOWN
        server.start()
        assert client.read([("SELECT 1", ())])[0].rows == [(1,)]
        database.close()


def test_a_lock_that_libsql_takes_away_passes(libsql_url: str) -> None:
    """A transaction that lost the write lock to another writer is worth another try."""
    stale = libsql.ServerAnswer("Transaction timed out", "TRANSACTION_TIMEOUT")
    assert trouble(stale) is Trouble.PASSING
    assert trouble(libsql.ServerAnswer("x", "SQLITE_CORRUPT")) is Trouble.DAMAGED
    assert trouble(libsql.ServerAnswer("x", "HTTP_503")) is Trouble.UNKNOWN
    database = open_database(libsql_url)
    migrations.migrate(database)
    assert database.client is not None
    with pytest.raises(libsql.ServerAnswer) as caught:
        database.client.transaction([("SELEKT", ())])
    assert trouble(caught.value) is Trouble.OTHER
    database.close()
