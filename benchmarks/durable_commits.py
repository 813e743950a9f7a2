"""Bare durable commits: one row changed, on the disk when the call returns."""

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

UPDATE = "UPDATE bare SET value = value + 1 WHERE id = 1"


@contextmanager
def commits(url: str) -> Iterator[Callable[[], object]]:
    """Return a function that changes a row and commits, on a connection and a table of its own."""
    with (
        _on_sqlite(Path(f"{url.removeprefix('sqlite:///')}-bare"))
        if url.startswith("sqlite")
        else _on_postgresql(url) as commit
    ):
        yield commit


@contextmanager
def _on_sqlite(path: Path) -> Iterator[Callable[[], object]]:
    """Use a file beside the database, since a file has one write lock."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS bare (id INTEGER PRIMARY KEY, value INTEGER)")
    connection.execute("INSERT OR IGNORE INTO bare VALUES (1, 0)")
    yield partial(connection.execute, UPDATE)
    connection.close()


@contextmanager
def _on_postgresql(url: str) -> Iterator[Callable[[], object]]:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        with suppress(psycopg.errors.DuplicateTable, psycopg.errors.UniqueViolation):
            connection.execute("CREATE TABLE bare (id int PRIMARY KEY, value int)")
            connection.execute("INSERT INTO bare VALUES (1, 0)")
        connection.prepare_threshold = 0
        yield partial(connection.execute, UPDATE)


def rate(url: str, seconds: float = 0.5) -> float:
    """Return the bare durable commits per second of one connection at this moment."""
    with commits(url) as commit:
        commit()
        began, made = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            commit()
            made += 1
        return made / (time.perf_counter() - began)


def syncs(seconds: float = 0.5) -> float:
    """Return the durable writes of 8 kB per second of this disk."""
    with tempfile.TemporaryFile() as file:
        number, block = file.fileno(), os.urandom(8192)
        os.write(number, block * 8)
        began, made = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            os.pwrite(number, block, 8192 * (made % 8))
            os.fdatasync(number)
            made += 1
        return made / (time.perf_counter() - began)
