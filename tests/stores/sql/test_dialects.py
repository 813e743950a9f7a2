"""URLs name databases, and whatever cannot be opened is refused by an error that says what to do."""

import builtins
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

import loopkit.stores
from loopkit.errors import DatabaseDamaged, InvalidDatabase, StorageUnavailable
from loopkit.stores.sql import dialects, libsql, sqlite
from loopkit.stores.sql.dialects import Database, Kind, open_database
from loopkit.stores.sql.opening import current


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("postgresql://u@h/d", Kind.POSTGRESQL),
        ("postgres://u@h/d", Kind.POSTGRESQL),
        ("postgresql+psycopg://u@h/d", Kind.POSTGRESQL),
        ("libsql://h", Kind.LIBSQL),
        ("https://h/path", Kind.LIBSQL),
        ("http://h:8080", Kind.LIBSQL),
        ("sqlite://", Kind.SQLITE),
    ],
)
def test_the_scheme_says_which_database(url: str, kind: Kind) -> None:
    """Every form of the documented URLs is known, and opening alone connects to no server."""
    database = open_database(url)
    assert database.kind is kind
    database.close()


def test_a_relative_path_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``sqlite:///name.db`` is a file of the folder one is in when the store is opened, and stays that file."""
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
        ("libsql:///x", "names a host"),
        ("sqlite:///{folder}/nowhere/x.db", "make it first"),
        ("sqlite:///{folder}", "is not a file"),
        ("sqlite:///{folder}/text.db", "not an SQLite database"),
        ("sqlite:///file:x?uri=true", "write a path"),
    ],
)
def test_what_names_nothing_is_refused(tmp_path: Path, url: str, said: str) -> None:
    """The error says what is wrong and what to do, and nothing is made or changed."""
    (tmp_path / "text.db").write_text("this is a letter, not a database" * 100)
    with pytest.raises(InvalidDatabase, match=said):
        open_database(url.format(folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["text.db"]


def test_a_secret_is_not_shown() -> None:
    """Neither a password nor a token stands in what people see of a URL."""
    for url in ("postgresql://u:s3cret@h/d?x=1", "libsql://h?authToken=s3cret&tls=0", "mysql://u:s3cret@h/d"):
        assert "s3cret" not in dialects.shown(make_url(url))
    with pytest.raises(InvalidDatabase) as caught:
        open_database("mysql://u:s3cret@h/d")
    assert "s3cret" not in str(caught.value)


def test_a_damaged_file_is_told_and_kept(tmp_path: Path) -> None:
    """A file whose pages are destroyed is an error of its own, and is never made anew."""
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 100)
    connection.close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * 3000 + content[3100:])
    with pytest.raises(DatabaseDamaged, match="restore"):
        open_database(f"sqlite:///{path}")


def test_what_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system says that a file cannot be written, the error names it."""
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
    """SQLite on a network filesystem needs a word of one's own in the URL (faults table, row 24)."""
    monkeypatch.setattr(sqlite, "_mounts", lambda: MOUNTS.format(folder=tmp_path, kind=kind))
    with pytest.raises(InvalidDatabase, match="network filesystem"):
        open_database(f"sqlite:///{tmp_path}/x.db")
    open_database(f"sqlite:///{tmp_path}/x.db?{sqlite.OVERRIDE}=1").close()


def test_filesystems_are_read_off_the_mounts(tmp_path: Path) -> None:
    """The deepest mount that holds a folder counts, also one with a blank in its path."""
    folder = tmp_path / "a b" / "c"
    folder.mkdir(parents=True)
    mounts = MOUNTS.format(folder=str(folder.parent).replace(" ", "\\040"), kind="nfs")
    assert sqlite.filesystem(folder, mounts) == "nfs"
    assert sqlite.filesystem(tmp_path, mounts) == "ext4"
    assert sqlite.filesystem(folder, "") is None


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("postgresql://h/d", "psycopg", r"loopkit\[postgres\]"), ("libsql://h", None, r"loopkit\[turso\]")],
)
def test_a_missing_driver_is_named(url: str, module: str | None, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its extra a database is refused by the command that installs it."""
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
    """Every connection syncs each commit, waits for locks and maps nothing into memory; readers cannot write."""
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
    """What a writer has read cannot have changed when it writes: nobody else writes in between (SQLite, libSQL)."""
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
    """What is committed after a snapshot began is not in it."""
    insert = text(
        "INSERT INTO workflow_runs (id, agent_name, cycle_id, status, max_attempts, pass_threshold, inputs) "
        "VALUES ('r', 'a', 'c', 'queued', 1, 0.5, '{}')"
    )
    count = text("SELECT count(*) FROM workflow_runs")
    with database.snapshot() as connection:
        assert connection.execute(count).scalar() == 0
        if database.kind is not Kind.LIBSQL:  # there a reader's transaction keeps writers out
            with database.writing() as other:
                other.execute(insert)
            assert connection.execute(count).scalar() == 0


def test_nothing_is_used_after_a_fork(sqlite_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked child gets an error from every use and touches nothing of its parent's (faults table, row 35)."""
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
    """A writer that stops in the middle is ended by the server; the limits are the transaction's, not the session's."""
    database = current(postgres_url)
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
    """Behind a pooler, where another process answers than the one connected to, nothing is prepared."""
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
def test_a_server_that_does_not_open_is_told(postgres_url: str, url: str, error: type[Exception]) -> None:
    """A database that is not there is a wrong URL; a server that does not answer may answer later."""
    named = make_url(postgres_url)
    host = named.query.get("host", named.host)
    given = url.format(server=f"postgresql://{named.username}@", socket=host)
    with pytest.raises(error):
        current(given)


async def test_a_store_is_open_inside_its_block(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``open_store`` takes the URL given, else the environment's, and closes the store at the end of the block."""
    monkeypatch.setenv("LOOPKIT_DATABASE_URL", sqlite_url)
    async with loopkit.stores.open_store() as store:
        assert await store.check() == []
    assert loopkit.stores.database_url() == sqlite_url
    assert loopkit.stores.database_url("sqlite://") == "sqlite://"
    monkeypatch.delenv("LOOPKIT_DATABASE_URL")
    assert loopkit.stores.database_url() == "sqlite:///loopkit.db"


def test_stores_load_no_database(tmp_path: Path) -> None:
    """Importing the stores loads no SQLAlchemy: it comes with the first store that is opened."""
    program = "import loopkit.stores, sys; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_libsql_server_is_named_with_its_token() -> None:
    """The host, the path and the token of every documented form arrive at the client."""
    forms = {
        "libsql://h": ("https://h", None),
        "libsql://h:80/p?tls=0&authToken=t": ("http://h:80/p", "t"),
        "https://u:t@h/p": ("https://h/p", "t"),
        "sqlite+libsql://h?secure=false": ("http://h", None),
    }
    for url, (address, token) in forms.items():
        client = libsql.client_of(make_url(url))
        assert (client.url, client._token) == (address, token)
