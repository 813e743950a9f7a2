"""Errors of real databases are classified by what a caller can do about them."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from loopkit import NewRun, open_store
from loopkit.errors import DatabaseDamaged, StorageError, StorageUnavailable
from loopkit.stores.sql.databases import libsql_client
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.failures import Failure, classify, to_loopkit_error
from loopkit.stores.sql.databases.libsql import LibsqlDatabase
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.schema import migrations
from tests.servers.libsql import Libsql
from tests.stores.sql.conftest import Foreign


def met(action: Callable[[], object]) -> BaseException:
    """Return the error that an action raises."""
    with pytest.raises(
        (DBAPIError, sqlite3.Error, psycopg.Error, libsql_client.ConnectionLost, libsql_client.ErrorResponse)
    ) as caught:
        action()
    return caught.value


def run(database: Database, *statements: str) -> None:
    with database.writing() as connection:
        for statement in statements:
            connection.execute(text(statement))


def test_a_locked_file_is_passing(sqlite_database: Database, tmp_path: Path) -> None:
    """A write lock that is held for too long and an exhausted pool are passing failures."""
    impatient = sqlite3.connect(tmp_path / "loopkit.db", timeout=0, isolation_level=None)
    with sqlite_database.writing():
        assert classify(met(lambda: impatient.execute("BEGIN IMMEDIATE"))) is Failure.PASSING
    impatient.close()
    assert classify(PoolTimeout()) is Failure.PASSING


def test_a_full_disk_is_reported(sqlite_database: Database) -> None:
    """On a full disk nothing is written, and the caller's error says so."""
    with sqlite_database.writer.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        big = "INSERT INTO workflow_events (run_id, event_type, message) VALUES ('r', 'log', zeroblob(10000000))"
        error = met(lambda: connection.execute(text(big)))
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000000")
    assert classify(error) is Failure.FULL
    assert isinstance(to_loopkit_error(error), StorageUnavailable)
    assert "no room" in str(to_loopkit_error(error))


def test_a_damaged_file_is_reported(sqlite_database: Database, tmp_path: Path) -> None:
    """Unreadable pages are damage, and no further try is made."""
    Foreign(sqlite_database).add_runs(*({"id": str(number), "inputs": '"' + "x" * 2000 + '"'} for number in range(50)))
    sqlite_database.close()
    path = tmp_path / "loopkit.db"
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(b ^ 0xFF for b in content[4096:])
    path.write_bytes(content)
    connection = sqlite3.connect(path)
    error = met(lambda: connection.execute("SELECT * FROM workflow_runs").fetchall())
    connection.close()
    assert classify(error) is Failure.DAMAGED
    assert isinstance(to_loopkit_error(error), DatabaseDamaged)


def test_a_refused_row_is_not_passing(database: Database, foreign: Foreign) -> None:
    """A duplicate or an invalid statement fails in the same way every time."""
    foreign.add_runs({"id": "r"})
    assert classify(met(lambda: foreign.add_runs({"id": "r"}))) is Failure.OTHER
    assert classify(met(lambda: run(database, "SELECT * FROM nowhere"))) is Failure.OTHER
    assert classify(ValueError("x")) is Failure.OTHER


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    opened = open_database(postgres_url)
    migrations.migrate(opened)
    yield opened
    opened.close()


def test_limits_and_locks_of_postgresql_are_passing(postgres: Database) -> None:
    """A lock that is not free, a statement over its time limit and a read-only server are passing failures."""
    Foreign(postgres).add_runs({"id": "r"})
    lock = "SELECT 1 FROM workflow_runs FOR UPDATE"
    with postgres.writing() as connection:
        connection.execute(text(lock))
        waiting = met(lambda: run(postgres, "SET LOCAL lock_timeout = '1ms'", lock))
    assert classify(waiting) is Failure.PASSING
    assert classify(met(lambda: run(postgres, "SET LOCAL statement_timeout = '1ms'", "SELECT pg_sleep(9)"))) is (
        Failure.PASSING
    )
    assert classify(met(lambda: run(postgres, "SET TRANSACTION READ ONLY", "DELETE FROM workflow_runs"))) is (
        Failure.PASSING
    )


def test_a_deadlock_is_passing(postgres: Database) -> None:
    """The server ends one transaction of a deadlock, and its next try succeeds."""
    Foreign(postgres).add_runs({"id": "a"}, {"id": "b"})
    gate, seen = threading.Barrier(2), []

    def lock(first: str, second: str) -> None:
        try:
            with postgres.writing() as connection:
                connection.execute(text(f"SELECT 1 FROM workflow_runs WHERE id = '{first}' FOR UPDATE"))
                gate.wait()
                connection.execute(text(f"SELECT 1 FROM workflow_runs WHERE id = '{second}' FOR UPDATE"))
        except DBAPIError as error:
            seen.append(classify(error))

    threads = [threading.Thread(target=lock, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [Failure.PASSING]


def test_a_connection_that_the_server_ends_is_unknown(postgres: Database) -> None:
    """The outcome of a commit is unknown when its connection is lost."""
    with postgres.writer.connect() as connection:
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        run(postgres, f"SELECT pg_terminate_backend({pid})")
        assert classify(met(lambda: connection.execute(text("SELECT 1")))) is Failure.UNKNOWN
    run(postgres, "SELECT 1")


def test_a_libsql_server_that_dies_leaves_the_outcome_unknown() -> None:
    """Without a response of the server the outcome is unknown, in a batch and in a transaction; a restart mends it."""
    with Libsql() as server:
        database = open_database(server.url)
        migrations.migrate(database)
        assert isinstance(database, LibsqlDatabase)
        with database.writer.connect() as connection:
            connection.execute(text("SELECT 1"))
            server.kill()
            lost = met(lambda: connection.execute(text("SELECT 1")))
        assert classify(lost) is Failure.UNKNOWN
        assert isinstance(to_loopkit_error(lost), StorageUnavailable)
        client = database.client
        assert classify(met(lambda: client.transaction([("SELECT 1", ())]))) is Failure.UNKNOWN
        server.start()
        assert client.read([("SELECT 1", ())])[0].rows == [(1,)]
        database.close()


def test_a_lost_lock_of_libsql_is_passing(libsql_url: str) -> None:
    """A transaction that lost the write lock to another writer is a passing failure."""
    stale = libsql_client.ErrorResponse("Transaction timed out", "TRANSACTION_TIMEOUT")
    assert classify(stale) is Failure.PASSING
    assert classify(libsql_client.ErrorResponse("x", "SQLITE_CORRUPT")) is Failure.DAMAGED
    assert classify(libsql_client.ErrorResponse("x", "HTTP_503")) is Failure.UNKNOWN
    database = open_database(libsql_url)
    migrations.migrate(database)
    assert isinstance(database, LibsqlDatabase)
    with pytest.raises(libsql_client.ErrorResponse) as caught:
        database.client.transaction([("SELEKT", ())])
    assert classify(caught.value) is Failure.OTHER
    database.close()


@pytest.mark.postgres
def test_a_database_that_can_only_be_read_is_named_so(tmp_path: Path, postgres_url: str) -> None:
    """A file without write permission, and a server that is a standby: nobody needs to look at the network."""
    path = tmp_path / "a.db"
    sqlite3.connect(path).executescript("CREATE TABLE t (a)").connection.close()
    file = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    refused = met(lambda: file.execute("INSERT INTO t VALUES (1)"))
    file.close()
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("SET default_transaction_read_only = on")
        also_refused = met(lambda: server.execute("CREATE TABLE t (a int)"))
    for error in (refused, also_refused):
        assert "can only be read" in str(to_loopkit_error(error))


async def test_a_missing_right_is_said_without_the_statement(postgres_url: str) -> None:
    """Of a user who may read nothing, or only read, the error names the table, and the server did respond."""
    limited = f"{postgres_url}{'&' if '?' in postgres_url else '?'}options=-crole%3D"
    async with open_store(postgres_url) as store:
        [run] = await store.submit([NewRun(agent_name="writer", inputs={})])
        await store.request_cancel(run.id)
    with pytest.raises(StorageError) as unread:
        async with open_store(f"{limited}pg_read_all_settings"):
            pass
    async with open_store(f"{limited}pg_read_all_data") as store:
        with pytest.raises(StorageError) as pruned:
            await store.prune(timedelta(0))
        with pytest.raises(StorageError) as submitted:
            await store.submit([NewRun(agent_name="writer", inputs={})])
    for caught in (unread, pruned, submitted):
        said = str(caught.value)
        assert "the database refused a" in said
        assert "permission denied for table" in said
        assert not [
            word for word in ("SELECT", "INSERT", "[SQL", "parameters", "sqlalche.me", "respond") if word in said
        ]
