"""SQLite's write-ahead log stays small, and a warning is logged when a reader prevents it."""

import sqlite3
from pathlib import Path

import pytest

from loopkit.stores import open_store
from loopkit.stores.sql.databases import sqlite_wal
from loopkit.stores.sql.store import SqlStore
from loopkit.testing.steps import new_run


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_wal, "LIMIT_BYTES", 1_000_000)
    monkeypatch.setattr(sqlite_wal, "COMMITS", 4)


async def write(store: SqlStore, count: int) -> None:
    for _ in range(count):
        await store.submit([new_run(inputs={"topic": "x" * 100_000})])


async def test_a_long_reader_causes_a_warning_and_the_log_shrinks_afterwards(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While a transaction reads, the log grows, writes go on, and a few warnings say why."""
    log = tmp_path / "loopkit.db-wal"
    async with open_store(sqlite_url) as store:
        await write(store, 1)
        reader = sqlite3.connect(tmp_path / "loopkit.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM workflow_runs").fetchone()
        await write(store, 40)
        assert log.stat().st_size > 4_000_000
        assert 1 <= len(caplog.records) <= 10
        assert "keeps a read transaction open" in caplog.text
        reader.close()
        await write(store, 8)
        assert log.stat().st_size < 1_000_000
        assert await store.check() == []


async def test_a_log_that_is_emptied_in_time_causes_no_warning(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is written, the log stays below a bound, and there is no warning."""
    monkeypatch.setattr(sqlite_wal, "LIMIT_BYTES", 64_000_000)
    async with open_store(sqlite_url) as store:
        await write(store, 200)
        assert (tmp_path / "loopkit.db").stat().st_size > 10_000_000
        assert (tmp_path / "loopkit.db-wal").stat().st_size < 12_000_000
    assert caplog.records == []


def test_a_log_that_cannot_be_emptied_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Commits stay committed, and later ones try again."""
    connection = sqlite3.connect(tmp_path / "any.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE texts (text)")
    connection.execute("INSERT INTO texts VALUES (zeroblob(2000000))")
    gauge = sqlite_wal.LogGauge(connection, busy_seconds=0.0)
    connection.execute("BEGIN IMMEDIATE")  # in the middle of a transaction nothing can be copied
    for _ in range(4):
        gauge.count_commit()
    assert len(caplog.records) == 1
    connection.execute("COMMIT")
    for _ in range(4):
        gauge.count_commit()
    assert (tmp_path / "any.db-wal").stat().st_size == 0
    connection.close()
