"""Places to measure in: fresh SQLite files, and fresh databases of a PostgreSQL of our own that syncs its commits."""

import shutil
import sqlite3
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

import psycopg

from benchmarks import durable_commits
from tests.servers.postgres import Postgres


class Place(ABC):
    """Source of fresh databases of one kind."""

    name: str
    peers: tuple[str, ...]
    """Modules of :mod:`benchmarks.peers` that can use it."""

    @abstractmethod
    def fresh(self) -> str:
        """Return the URL of an empty database."""

    @abstractmethod
    def drop(self, url: str) -> None:
        """Delete a database."""

    @abstractmethod
    def size(self, url: str) -> int:
        """Return the size of a database in bytes, after its log is truncated."""

    @abstractmethod
    def settle(self, url: str) -> None:
        """Run the housekeeping of the database, as after many writes."""

    @abstractmethod
    def version(self) -> str:
        """Return the version of the database."""

    @abstractmethod
    def close(self) -> None:
        """Close and delete everything."""

    def bare(self) -> float:
        """Return the bare durable commits per second at this moment."""
        url = self.fresh()
        rate = durable_commits.rate(url)
        self.drop(url)
        return rate


class Sqlite(Place):
    name = "SQLite"
    peers = ("on_huey", "on_dbos")

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="loopkit-bench-"))
        self._made = 0

    def fresh(self) -> str:
        self._made += 1
        return f"sqlite:///{self._folder / f'{self._made}.db'}"

    def path(self, url: str) -> Path:
        return Path(url.removeprefix("sqlite:///"))

    def drop(self, url: str) -> None:
        for file in self._folder.glob(f"{self.path(url).name}*"):
            file.unlink()

    def size(self, url: str) -> int:
        connection = sqlite3.connect(self.path(url))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return self.path(url).stat().st_size

    def settle(self, url: str) -> None:
        connection = sqlite3.connect(self.path(url))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()

    def version(self) -> str:
        return sqlite3.sqlite_version

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class Postgresql(Place):
    name = "PostgreSQL"
    peers = ("on_pgqueuer", "on_procrastinate", "on_dbos")

    def __init__(self) -> None:
        self._server = Postgres(fsync=True, settings={"shared_buffers": "128MB", "checkpoint_timeout": "5min"})
        self._server.__enter__()

    def fresh(self) -> str:
        return self._server.databases.create()

    def drop(self, url: str) -> None:
        self._server.databases.drop(url)

    def size(self, url: str) -> int:
        with psycopg.connect(url, autocommit=True) as connection:
            return int(connection.execute("SELECT pg_database_size(current_database())").fetchone()[0])  # type: ignore[index]

    def settle(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")

    def version(self) -> str:
        with psycopg.connect(self._server.dsn()) as connection:
            return str(connection.execute("SHOW server_version").fetchone()[0]).split()[0]  # type: ignore[index]

    def close(self) -> None:
        self._server.close()
