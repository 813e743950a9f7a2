"""SQLite: one file on a local disk, shared by any number of processes of this machine.

Write transactions begin IMMEDIATE: a deferred transaction that upgrades to a write fails at once, whatever its busy
timeout. ``synchronous=FULL`` in WAL mode makes an acknowledged commit survive a loss of power. Memory mapping is off:
with it a failing disk kills the process instead of raising an error.
"""

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import attrs
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import QueuePool

from loopkit.errors import DatabaseDamaged, InvalidDatabase, NotFoundError
from loopkit.stores.sql.databases.sqlite_family import SqliteFamily
from loopkit.stores.sql.databases.sqlite_wal import LIMIT_BYTES

__all__ = ["BUSY_SECONDS", "OVERRIDE", "OpenedFile", "SqliteDatabase", "check_file_exists", "filesystem", "open_sqlite"]

BUSY_SECONDS: Final = 10.0
"""Seconds a statement waits for the write of another process."""

OVERRIDE: Final = "allow_network_filesystem"
"""URL parameter that accepts a file on a network filesystem."""

_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA journal_size_limit = {LIMIT_BYTES}",
    "PRAGMA mmap_size = 0",
)
_NETWORK_FILESYSTEMS: Final = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb2", "smb3", "smbfs", "ncpfs", "afs", "ceph", "lustre", "gpfs", "beegfs"),
        *(
            "fuse.sshfs",
            "fuse.s3fs",
            "fuse.glusterfs",
            "glusterfs",
            "fuse.rclone",
            "fuse.gcsfuse",
            "fuse.davfs",
            "davfs",
        ),
    }
)


@attrs.frozen
class OpenedFile:
    """A file as it was when it was opened: a name may be given to another file later, or to none."""

    path: Path
    _identity: tuple[int, int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_identity", self._read_identity())

    def check(self) -> None:
        """Check that the name still belongs to the file; what is written to it would otherwise be lost.

        Raises:
            DatabaseDamaged: the file was deleted or replaced.
        """
        try:
            if self._read_identity() == self._identity:
                return
        except FileNotFoundError:
            pass
        raise DatabaseDamaged(
            f"{self.path} was deleted or replaced while it was open, so what was written just now may be lost; "
            "stop every program that uses it, put the right file there, and start them again"
        )

    def _read_identity(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_dev, status.st_ino


@attrs.define(eq=False)
class SqliteDatabase(SqliteFamily):
    """An SQLite file."""

    file: OpenedFile | None = None
    """None: the database is no file, as in a simulation."""

    def check_file(self) -> None:
        """Check that the file is where it was opened.

        Raises:
            DatabaseDamaged: it was deleted or replaced.
        """
        if self.file is not None:
            self.file.check()

    def guard(self) -> None:
        super().guard()
        self.check_file()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with super(SqliteDatabase, self).writing() as connection:  # noqa: UP008 - attrs makes the class anew
            yield connection
        self.check_file()

    def freeze(self, connection: Connection) -> Connection:
        connection.exec_driver_sql("BEGIN")
        return connection

    def find_damage(self, connection: Connection, limit: int) -> list[str]:
        lines = [
            line for (text,) in connection.exec_driver_sql(f"PRAGMA quick_check({limit})") for line in text.splitlines()
        ]
        return [line for line in lines if line != "ok" and not line.startswith("***")]  # *** is a heading


def open_sqlite(url: URL, display_url: str) -> SqliteDatabase:
    """Open an SQLite file; one that does not exist is created, in WAL mode.

    Raises:
        InvalidDatabase: the file cannot be used; the message names it and says what to do.
        DatabaseDamaged: the file is damaged.
    """
    allowed = _is_yes(url.query.get(OVERRIDE))
    path = _path(url).resolve()  # SQLite keeps its log beside the file, not beside a link to it
    _check_place(path, allowed=allowed)
    try:
        _prepare(path)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    writer, reader = _pair(str(path))
    return SqliteDatabase(display_url, writer, reader, file=OpenedFile(path))


def check_file_exists(url: URL, display_url: str) -> None:
    """Check that the file of a URL exists; one in a folder that does not exist passes, since it cannot be created.

    Raises:
        NotFoundError: there is no such file.
        InvalidDatabase: the URL names no file, or something in it would be ignored.
    """
    path = _path(url).resolve()
    if path.parent.is_dir() and not path.exists():
        raise NotFoundError(f"there is no database {display_url}: {path} does not exist; check its name")


def _path(url: URL) -> Path:
    """Return the path in a URL.

    Raises:
        InvalidDatabase: the URL names no file, or something in it would be ignored.
    """
    if url.host is not None:
        path = url.host + (f"/{url.database}" if url.database else "")
        raise InvalidDatabase(
            f"sqlite://{path}: SQLite has no hosts, and a path begins after a third slash: sqlite:///{path}, "
            f"or with an absolute path sqlite:////{path}"
        )
    if not url.database or ":memory:" in url.database:
        raise InvalidDatabase(
            "a database in memory ends with the process, and the runs in it are lost; name a file, for example "
            "sqlite:///loopkit.db (in Python, loopkit.MemoryStore() keeps runs in memory)"
        )
    if url.database.startswith("file:"):
        raise InvalidDatabase(
            f"{url.database}: write a path instead of an SQLite URI, for example sqlite:///loopkit.db"
        )
    if unknown := sorted(set(url.query) - {OVERRIDE}):
        raise InvalidDatabase(
            f"sqlite:///{url.database}: loopkit knows no parameter {', '.join(unknown)} of an SQLite URL, only "
            f"{OVERRIDE}=1; a question mark in a file name is written %3F"
        )
    return Path(url.database)


def _is_yes(value: object) -> bool:
    return value in ("1", "true", "yes")


def _check_place(path: Path, *, allowed: bool) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise InvalidDatabase(f"{path}: the folder {folder} does not exist; create it first")
    if path.exists() and not path.is_file():
        raise InvalidDatabase(f"{path} is not a file")
    for needed in (path, folder):
        if needed.exists() and not os.access(needed, os.W_OK):
            raise InvalidDatabase(f"{path}: {needed} is read-only for this user; loopkit has to write to it")
    type_name = filesystem(folder, _mounts())
    if type_name in _NETWORK_FILESYSTEMS and not allowed:
        raise InvalidDatabase(
            f"{path} is on a network filesystem ({type_name}), where SQLite can lose data; use a local disk or "
            f"PostgreSQL, or add ?{OVERRIDE}=1 to the URL if only one machine ever opens it"
        )


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return ""


def filesystem(folder: Path, mounts: str) -> str | None:
    """Return the type of the filesystem that holds a folder; ``mounts`` is the text of ``/proc/self/mountinfo``.

    None when no mount point holds it.
    """
    place = folder.resolve()
    depth, type_name = -1, None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split(" ")[4].replace("\\040", " "))
        if place.is_relative_to(point) and len(point.parts) >= depth:
            depth, type_name = len(point.parts), after.split(" ")[0]
    return type_name


def _prepare(path: Path) -> None:
    """Read the file and switch it to WAL mode; create it when it does not exist.

    The switch to WAL needs the file alone and ignores the busy timeout, so it is retried here.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            # Pages of a new file hold several outputs of a few kilobytes; an existing file keeps its page size.
            connection.execute("PRAGMA page_size = 8192")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode == "wal":
                # A read-only file returns "wal" too when it was in that mode before.
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
                return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            if time.monotonic() > deadline:
                raise
        finally:
            connection.close()
        if time.monotonic() > deadline:
            raise InvalidDatabase(f"{path}: its filesystem does not support SQLite's WAL mode; use a local disk")
        time.sleep(0.005 + secrets.randbelow(20) / 1000)


def _unusable(path: Path, error: sqlite3.Error) -> Exception:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return InvalidDatabase(f"{path} is not an SQLite database; name another file")
    if code == sqlite3.SQLITE_CORRUPT:
        return DatabaseDamaged(f"{path} is damaged ({error}); restore it from a backup")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return InvalidDatabase(f"{path} cannot be opened for writing ({error}); check its folder and permissions")
    return InvalidDatabase(f"{path} cannot be used: {error}")


def _pair(filename: str) -> tuple[Engine, Engine]:
    return _engine(filename, pragmas=_PRAGMAS, begin="BEGIN IMMEDIATE"), _engine(
        filename, pragmas=(*_PRAGMAS, "PRAGMA query_only = ON"), begin=None
    )


def _engine(filename: str, *, pragmas: tuple[str, ...], begin: str | None) -> Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            filename,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )

    engine = create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=QueuePool, pool_size=8, max_overflow=24, pool_timeout=30
    )

    @event.listens_for(engine, "connect")
    def _prepare_connection(connection: DBAPIConnection, record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    if begin is not None:

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql(begin)

    return engine
