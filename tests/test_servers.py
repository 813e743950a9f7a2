"""The servers that other tests use are real, empty at the start of each test, and gone afterwards."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.servers.libsql import Libsql
from tests.servers.postgres import Postgres


@pytest.mark.parametrize("turn", [1, 2])
def test_postgres_database_is_empty(postgres_url: str, turn: int) -> None:
    """Each test has a database that no other test has touched."""
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_class WHERE relname = 'leftover'").fetchone() == (0,)
        connection.execute("CREATE TABLE leftover (id int)")


@pytest.mark.parametrize("turn", [1, 2])
def test_libsql_database_is_empty(libsql_server: Libsql, libsql_url: str, turn: int) -> None:
    """Each test finds the server without a table."""
    assert libsql_server.url == libsql_url
    assert libsql_server.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'leftover'") == [[("0",)]]
    libsql_server.execute("CREATE TABLE leftover (id INTEGER PRIMARY KEY)")


def test_a_private_cluster_keeps_its_data_over_a_crash() -> None:
    """With fsync on, what was committed is there after an immediate stop and after SIGKILL."""
    with Postgres(fsync=True, tcp=True) as server:
        url = server.databases.create()
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept (id int)")
        server.restart("immediate")
        server.kill()
        server.start()
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
    assert not server.folder.exists()


def test_a_private_libsql_server_keeps_its_data_over_a_restart() -> None:
    """The data of a server stay until it is wiped or closed."""
    with Libsql() as server:
        server.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY)")
        server.restart()
        assert server.execute("SELECT count(*) FROM kept") == [[("0",)]]
        server.wipe()
        assert server.execute("SELECT count(*) FROM sqlite_schema") == [[("0",)]]
    assert not server.folder.exists()


@pytest.mark.parametrize("kind", ["tests.servers.postgres:Postgres", "tests.servers.libsql:Libsql"])
def test_a_server_does_not_outlive_its_owner(kind: str) -> None:
    """When the process that started a server is killed, the server ends and its folder goes."""
    module, _, name = kind.partition(":")
    program = f"""
import os, signal
from {module} import {name}
server = {name}()
server.start()
print(server.pid, server.folder, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    root = Path(__file__).parent.parent
    started = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    pid, folder = started.stdout.split()
    deadline = time.monotonic() + 20
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(folder).exists()
    with pytest.raises(ProcessLookupError):
        os.killpg(int(pid), 0)
