"""Opening by URL: which database each form opens, and errors that say what to do about every other one."""

import ast
import builtins
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

import loopkit.stores.sql
from loopkit.errors import DatabaseDamaged, InvalidDatabase, StorageUnavailable
from loopkit.stores.sql.databases import libsql, sqlite, urls
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.libsql import LibsqlDatabase
from loopkit.stores.sql.databases.postgresql import PostgresqlDatabase
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.opener import open_database_migrated


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://u@h/d", PostgresqlDatabase),
        ("postgres://u@h/d", PostgresqlDatabase),
        ("postgresql+psycopg://u@h/d", PostgresqlDatabase),
        ("libsql://h", LibsqlDatabase),
        ("https://h/path", LibsqlDatabase),
        ("http://h:8080", LibsqlDatabase),
        ("postgresql://u:p%40ss@a:5433,b:5434/d?connect_timeout=5", PostgresqlDatabase),
        ("postgresql:///d?host=/run/postgresql", PostgresqlDatabase),
        ("postgresql://u@h/d?options=-csearch_path%3Dother", PostgresqlDatabase),
        (" postgresql://u:p w@h/d\n", PostgresqlDatabase),
    ],
)
def test_the_scheme_says_which_database(url: str, kind: type[Database]) -> None:
    """Every documented form of a URL is known, and opening alone connects to no server."""
    database = open_database(url)
    assert type(database) is kind
    database.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://runs.db", "sqlite:///runs.db"),
        ("sqlite://data/runs.db", "sqlite:///data/runs.db"),
        ("sqlite://", "in memory"),
        ("sqlite:///", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///file::memory:?cache=shared", "in memory"),
        ("sqlite:///what?.db", "a question mark in a file name is written %3F"),
        ("sqlite:///x.db?mode=ro", "no parameter mode"),
        ("sqlite:///run\ns.db", "control character"),
        ("postgresql://u@h", "names no database"),
        ("postgresql://u@h/", "names no database"),
        ("postgresql://u@h/d?search_path=other", r"\?options=-c%20search_path%3DVALUE"),
        ("postgresql://u@h/d?sslmod=require", "no connection parameter 'sslmod'"),
        ("libsql://h?autToken=x", "no parameter 'auttoken'"),
        ("loopkit.db", "cannot be read"),
    ],
)
def test_a_url_that_would_lose_runs_is_refused(
    url: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says how to write what is meant; no file is made, and no database in memory takes a run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PGDATABASE", raising=False)
    with pytest.raises(InvalidDatabase, match=message):
        open_database(url)
    assert list(tmp_path.iterdir()) == []


def test_white_space_around_a_url_is_no_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment variable that is filled from a file ends in a line end."""
    monkeypatch.chdir(tmp_path)
    open_database("sqlite:///runs.db\n").close()
    assert [path.name for path in tmp_path.iterdir()] == ["runs.db"]


def test_a_relative_path_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``sqlite:///name.db`` is a file in the working directory at the time of opening, and remains that file."""
    monkeypatch.chdir(tmp_path)
    database = open_database("sqlite:///name.db")
    monkeypatch.chdir("/")
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE t (a)"))
    database.close()
    assert (tmp_path / "name.db").stat().st_size > 0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://h/d", "use sqlite:///FILE, postgresql://"),
        ("not a url", "cannot be read"),
        ("libsql:///x", "needs a host"),
        ("sqlite:///{folder}/nowhere/x.db", "create it first"),
        ("sqlite:///{folder}", "is not a file"),
        ("sqlite:///{folder}/text.db", "not an SQLite database"),
        ("sqlite:///file:x?uri=true", "write a path"),
    ],
)
def test_an_unusable_url_is_refused(tmp_path: Path, url: str, said: str) -> None:
    """The error says what is wrong and what to do, and nothing is created or changed."""
    (tmp_path / "text.db").write_text("this is a letter, not a database" * 100)
    with pytest.raises(InvalidDatabase, match=said):
        open_database(url.format(folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["text.db"]


def test_the_display_url_has_no_secrets() -> None:
    """The URL in messages contains neither a password nor a token."""
    for url in ("postgresql://u:s3cret@h/d?x=1", "libsql://h?authToken=s3cret&tls=0", "mysql://u:s3cret@h/d"):
        assert "s3cret" not in urls.hide_secrets(make_url(url))
    with pytest.raises(InvalidDatabase) as caught:
        open_database("mysql://u:s3cret@h/d")
    assert "s3cret" not in str(caught.value)


def test_a_damaged_file_is_refused_and_kept(tmp_path: Path) -> None:
    """A file with destroyed pages raises an error of its own, and is never created again."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 100)
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * 3000 + content[3100:])
    with pytest.raises(DatabaseDamaged, match="restore"):
        open_database(f"sqlite:///{path}")


def test_a_read_only_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the operating system refuses writes to a file, the error names the file."""
    path = tmp_path / "x.db"
    path.touch()
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != path)
    with pytest.raises(InvalidDatabase, match=r"x\.db is read-only"):
        open_database(f"sqlite:///{path}")


MOUNTS = """\
22 1 0:21 / / rw,relatime - ext4 /dev/vda rw
23 22 0:22 / {folder} rw,relatime shared:1 - {kind} host:/export rw
"""


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_filesystem_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """SQLite on a network filesystem needs an explicit parameter in the URL (faults table, row 24)."""
    monkeypatch.setattr(sqlite, "_mounts", lambda: MOUNTS.format(folder=tmp_path, kind=kind))
    with pytest.raises(InvalidDatabase, match="network filesystem"):
        open_database(f"sqlite:///{tmp_path}/x.db")
    open_database(f"sqlite:///{tmp_path}/x.db?{sqlite.OVERRIDE}=1").close()


def test_the_deepest_mount_gives_the_filesystem(tmp_path: Path) -> None:
    """The deepest mount that holds a folder counts, even if its path contains a space."""
    folder = tmp_path / "a b" / "c"
    folder.mkdir(parents=True)
    mounts = MOUNTS.format(folder=str(folder.parent).replace(" ", "\\040"), kind="nfs")
    assert sqlite.filesystem(folder, mounts) == "nfs"
    assert sqlite.filesystem(tmp_path, mounts) == "ext4"
    assert sqlite.filesystem(folder, "") is None


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("postgresql://h/d", "psycopg", "extra postgres"), ("libsql://h", None, "extra turso")],
)
def test_a_missing_driver_is_an_error_that_names_its_extra(
    url: str, module: str | None, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its extra a database is refused, and the error names the extra that brings the driver."""
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == module:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(libsql, "driver", None)
    with pytest.raises(InvalidDatabase, match=extra):
        open_database(url)


def test_sqlite_is_set_for_durability(sqlite_database: Database) -> None:
    """Every connection syncs each commit, waits for locks and maps no memory; readers cannot write."""
    wanted = {
        "page_size": 8192,
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
        "mmap_size": 0,
    }
    for engine in (sqlite_database.writer, sqlite_database.reader):
        with engine.connect() as connection:
            for name, value in wanted.items():
                assert connection.exec_driver_sql(f"PRAGMA {name}").scalar() == value
    with sqlite_database.reading() as connection, pytest.raises(OperationalError, match="readonly"):
        connection.execute(text("DELETE FROM workflow_runs"))


@pytest.mark.parametrize("url", ["sqlite_url", "libsql_url"], indirect=True)
def test_a_write_transaction_holds_the_lock_from_its_beginning(database: Database) -> None:
    """No other program writes between a writer's first read and its write (SQLite, libSQL)."""
    entered = threading.Event()

    def write() -> None:
        with database.writing() as second:
            entered.set()
            second.execute(text("DELETE FROM workflow_runs"))

    other = threading.Thread(target=write)
    with database.writing() as connection:
        connection.execute(text("SELECT count(*) FROM workflow_runs")).scalar()
        other.start()
        assert not entered.wait(0.3)
    other.join()
    assert entered.is_set()


def test_a_snapshot_sees_one_state(database: Database) -> None:
    """A snapshot does not contain what is committed after it began."""
    insert = text(
        "INSERT INTO workflow_runs (id, agent_name, cycle_id, status, max_attempts, pass_threshold, inputs) "
        "VALUES ('r', 'a', 'c', 'queued', 1, 0.5, '{}')"
    )
    count = text("SELECT count(*) FROM workflow_runs")
    with database.snapshot() as connection:
        assert connection.execute(count).scalar() == 0
        if not isinstance(database, LibsqlDatabase):  # there a reader's transaction keeps writers out
            with database.writing() as other:
                other.execute(insert)
            assert connection.execute(count).scalar() == 0


def test_nothing_is_used_after_a_fork(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every use in a forked child raises an error and leaves the parent's connections alone (faults table, row 35)."""
    child = os.fork()
    if child == 0:
        for use in (sqlite_database.writing, sqlite_database.reading, sqlite_database.snapshot):
            try:
                with use():
                    os._exit(1)
            except StorageUnavailable:
                pass
        sqlite_database.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with sqlite_database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM workflow_runs")).scalar() == 0


def test_postgresql_limits_each_transaction(postgres_url: str) -> None:
    """The server ends a writer that stops in the middle; the limits belong to the transaction, not to the session."""
    database = open_database_migrated(postgres_url)
    for _ in range(2):
        with database.writing() as connection:
            limits = [connection.exec_driver_sql(f"SHOW {name}_timeout").scalar() for name in ("lock", "statement")]
            idle = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar()
            assert (limits, idle) == (["10s", "30s"], "10s")
    with database.reading() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "0"
        assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "off"
    database.close()


def test_statements_are_prepared_only_without_a_pooler(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a pooler, where statements run in another backend process, no statement is prepared."""
    from psycopg import ConnectionInfo

    database = open_database(postgres_url)
    with database.reading() as connection:
        assert connection.connection.driver_connection.prepare_threshold is not None  # type: ignore[union-attr]
    database.close()
    monkeypatch.setattr(ConnectionInfo, "backend_pid", -1)
    database = open_database(postgres_url)
    with database.reading() as connection:
        assert connection.connection.driver_connection.prepare_threshold is None  # type: ignore[union-attr]
    database.close()


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("{server}/nowhere?host={socket}", InvalidDatabase),
        ("postgresql://127.0.0.1:1/d?connect_timeout=2", StorageUnavailable),
        ("http://127.0.0.1:1", StorageUnavailable),
    ],
)
def test_a_wrong_url_differs_from_an_unavailable_server(postgres_url: str, url: str, error: type[Exception]) -> None:
    """A database that does not exist is a wrong URL; a server that does not respond may do so later."""
    named = make_url(postgres_url)
    host = named.query.get("host", named.host)
    given = url.format(server=f"postgresql://{named.username}@", socket=host)
    with pytest.raises(error):
        open_database_migrated(given)


async def test_a_store_is_open_inside_its_block(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``open_store`` takes its argument, else the URL in the environment, and closes the store after the block."""
    monkeypatch.setenv("LOOPKIT_DATABASE_URL", sqlite_url)
    async with loopkit.stores.open_store() as store:
        assert await store.check() == []
    assert loopkit.stores.database_url() == sqlite_url
    assert loopkit.stores.database_url("sqlite:///x.db") == "sqlite:///x.db"
    monkeypatch.delenv("LOOPKIT_DATABASE_URL")
    assert loopkit.stores.database_url() == "sqlite:///loopkit.db"


def test_stores_load_no_database(tmp_path: Path) -> None:
    """Importing the stores does not load SQLAlchemy; opening a store does."""
    program = "import loopkit.stores, sys; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_libsql_server_is_named_with_its_token() -> None:
    """The client gets host, path and token of every documented form."""
    forms = {
        "libsql://h": ("https://h", None),
        "libsql://h:80/p?tls=0&authToken=t": ("http://h:80/p", "t"),
        "https://u:t@h/p": ("https://h/p", "t"),
        "sqlite+libsql://h?secure=false": ("http://h", None),
    }
    for url, (address, token) in forms.items():
        client = libsql.client_of(make_url(url))
        assert (client.url, client._token) == (address, token)


SQL = Path(loopkit.stores.sql.__file__).parent
MAY_ASK = {"executors.py", "wakeups/sources.py"}
KINDS = {"SqliteFamily", "SqliteDatabase", "PostgresqlDatabase", "LibsqlDatabase"}


def asks_which_database(node: ast.AST) -> bool:
    """Return True for the name of a kind of database, the name or driver of a dialect, and a comparison with one."""
    match node:
        case ast.Name(id=name) | ast.alias(name=name):
            return name in KINDS
        case ast.Attribute(attr="name" | "driver", value=ast.Attribute(attr="dialect") | ast.Name(id="dialect")):
            return True
        case ast.Compare(left=left, comparators=others):
            values = {other.value for other in (left, *others) if isinstance(other, ast.Constant)}
            return not values.isdisjoint({"sqlite", "postgresql", "libsql"})
    return False


def test_nothing_else_asks_which_database_it_is() -> None:
    """Outside ``databases`` only the choice of an executor and of a source of wake-ups depends on the kind."""
    places = {path.relative_to(SQL).as_posix(): path for path in SQL.rglob("*.py")}
    asking = {
        place
        for place, path in places.items()
        if any(asks_which_database(node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert {place for place in asking if not place.startswith("databases/")} == MAY_ASK


def test_a_connection_returned_after_the_end_is_closed(database: Database) -> None:
    """A thread may still read when its store is closed, or begin to: nothing that it opened stays open."""
    with database.reading() as before:
        database.close()
        with database.reading() as after:
            driver_connections = [one.connection.driver_connection for one in (before, after)]
    for connection in driver_connections:
        with pytest.raises(Exception, match="closed"):
            connection.cursor().execute("SELECT 1")  # type: ignore[union-attr]
