"""SQLite: one file on a disk of this machine, shared by any number of processes of it.

Write transactions begin IMMEDIATE, since a deferred one that upgrades fails at once however long it would wait.
``synchronous=FULL`` in WAL mode: a commit that was acknowledged survives a loss of power. There is no memory map,
through which a failing disk kills the process instead of giving an error.
"""

import os
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import QueuePool

from loopkit.errors import DatabaseDamaged, InvalidDatabase
from loopkit.stores.sql.wal import LIMIT_BYTES

BUSY_SECONDS: Final = 10.0
"""How long a statement waits for another process's write."""

OVERRIDE: Final = "allow_network_filesystem"
"""The URL's parameter that accepts a file on a network filesystem."""

_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA journal_size_limit = {LIMIT_BYTES}",
    "PRAGMA mmap_size = 0",
)
_NETWORK: Final = frozenset(
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


def engines(url: URL) -> tuple[Engine, Engine]:
    """Give the engines of an SQLite file that is there or can be made.

    Raises:
        InvalidDatabase: the file cannot be used; the message names it and says what to do.
        DatabaseDamaged: the file is damaged.
    """
    allowed = _is_yes(url.query.get(OVERRIDE))
    url = url.difference_update_query([OVERRIDE]).set(drivername="sqlite+pysqlite")
    if url.database in (None, "", ":memory:"):
        return _pair(f"file:/loopkit-{secrets.token_hex(8)}?vfs=memdb", uri=True)
    assert url.database is not None
    if url.database.startswith("file:"):
        raise InvalidDatabase(
            f"{url.database}: write a path instead of an SQLite URI, for example sqlite:///loopkit.db"
        )
    path = Path(url.database).absolute()
    _check_place(path, allowed=allowed)
    try:
        _prepare(path)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    return _pair(str(path), uri=False)


def _is_yes(value: object) -> bool:
    return value in ("1", "true", "yes")


def _check_place(path: Path, *, allowed: bool) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise InvalidDatabase(f"{path}: the folder {folder} is not there; make it first")
    if path.exists() and not path.is_file():
        raise InvalidDatabase(f"{path} is not a file")
    for needed in (path, folder):
        if needed.exists() and not os.access(needed, os.W_OK):
            raise InvalidDatabase(f"{path}: {needed} is read-only for this user; loopkit has to write to it")
    kind = filesystem(folder, _mounts())
    if kind in _NETWORK and not allowed:
        raise InvalidDatabase(
            f"{path} is on a network filesystem ({kind}), where SQLite can lose data; use a local disk or PostgreSQL, "
            f"or add ?{OVERRIDE}=1 to the URL if only one machine ever opens it"
        )


def _mounts() -> str:
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:  # only Linux has it
        return ""


def filesystem(folder: Path, mounts: str) -> str | None:
    """Give the type of the filesystem that holds a folder, by the text of ``/proc/self/mountinfo``."""
    place = folder.resolve()
    found: tuple[int, str | None] = (-1, None)
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split(" ")[4].replace("\\040", " "))
        if place.is_relative_to(point) and len(point.parts) >= found[0]:
            found = len(point.parts), after.split(" ")[0]
    return found[1]


def _prepare(path: Path) -> None:
    """Read the file, and put it into WAL mode; a new file is made.

    The change to WAL needs the file alone and does not wait for it as other statements do, so it is tried again.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            # A new file gets pages that hold several outputs of a few kilobytes; one that is there keeps its own.
            connection.execute("PRAGMA page_size = 8192")
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode == "wal":
                # A read-only file answers "wal" as well when it was in that mode before.
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


def _pair(filename: str, *, uri: bool) -> tuple[Engine, Engine]:
    return _engine(filename, uri=uri, pragmas=_PRAGMAS, begin="BEGIN IMMEDIATE"), _engine(
        filename, uri=uri, pragmas=(*_PRAGMAS, "PRAGMA query_only = ON"), begin=None
    )


def _engine(filename: str, *, uri: bool, pragmas: tuple[str, ...], begin: str | None) -> Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            filename,
            uri=uri,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )

    engine = create_engine(
        "sqlite+pysqlite://", creator=connect, poolclass=QueuePool, pool_size=8, max_overflow=24, pool_timeout=30
    )

    @event.listens_for(engine, "connect")
    def _prepare_connection(connection: DBAPIConnection, record: Any) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    if begin is not None:

        @event.listens_for(engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql(begin)

    return engine
