"""PostgreSQL that goes away in every way: restarted, its backends ended, its answers lost, behind a pooler."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.chaos.fleet_helpers import fleet
from tests.chaos.proxy_helpers import LosingProxy
from tests.chaos.verdict_helpers import judge
from tests.length_helpers import count
from tests.servers.postgres import Postgres
from tests.tool_helpers import require_tool

pytestmark = pytest.mark.chaos

RESTARTS = count("restarts", 4, long=300)
TERMINATIONS = count("terminations", 15, long=500)
LOST_ANSWERS = count("lost_answers", 10, long=1_000)

TERMINATE_ONE = """
SELECT state FROM (
    SELECT pid, state FROM pg_stat_activity WHERE datname = %s ORDER BY state = 'active' DESC, random() LIMIT 1
) one WHERE pg_terminate_backend(pid)
"""
"""Backends of a database, one in a transaction first."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server for this module alone, since its tests stop and break it."""
    with Postgres(tcp=True) as made:
        yield made


@pytest.fixture
def url(server: Postgres) -> Iterator[str]:
    made = server.databases.create()
    yield made
    server.databases.drop(made)


def test_immediate_restarts_and_kills(server: Postgres, url: str, tmp_path: Path) -> None:
    """A server that crashes again and again, while workers are killed, costs time and nothing else."""
    with fleet(url, tmp_path, 3) as made:
        acknowledged = made.submit(60)
        while made.struck["restart under work"] < RESTARTS:
            time.sleep(made.chance.uniform(0.2, 0.8))
            made.struck["restart under work" if made.busy_workers() else "restart"] += 1
            server.restart("immediate")
            made.kill_one()
            made.keep_busy(acknowledged)
            made.grow()
            made.wait_until_ready()
        made.finish()
        assert judge(made, acknowledged)["passed"] > len(acknowledged) / 2


def test_backends_that_are_terminated(server: Postgres, url: str, tmp_path: Path) -> None:
    """Workers whose connections are cut at any moment come back by themselves."""
    with fleet(url, tmp_path, 2) as made, psycopg.connect(server.databases.admin_url, autocommit=True) as admin:
        acknowledged = made.submit(80)
        while made.struck["termination"] < TERMINATIONS:
            time.sleep(made.chance.uniform(0.0, 0.1))
            for (state,) in admin.execute(TERMINATE_ONE, [make_url(url).database]).fetchall():
                made.struck["termination" if state == "active" else "termination of an idle one"] += 1
            made.keep_busy(acknowledged)
        assert all(worker.status is None for worker in made.workers)
        made.finish()
        assert judge(made, acknowledged)["passed"] > len(acknowledged) * 0.9


def test_commits_whose_answer_is_lost(server: Postgres, url: str, tmp_path: Path) -> None:
    """A commit that stands and was never answered is found, and nothing is written twice."""
    proxy = LosingProxy("127.0.0.1", server.port, part=0.05)
    through = make_url(url).set(host="127.0.0.1", port=proxy.port, query={})
    with fleet(through.render_as_string(hide_password=False), tmp_path, 2) as made:
        acknowledged = made.submit(60)
        while proxy.lost < LOST_ANSWERS:
            time.sleep(0.05)
            made.keep_busy(acknowledged)
        proxy.is_losing = False
        made.struck["lost answer"] = proxy.lost
        made.finish()
        assert judge(made, acknowledged)["passed"] > len(acknowledged) * 0.9
    proxy.close()


@pytest.fixture
def pooled(server: Postgres, url: str) -> Iterator[str]:
    """The database behind a pooler that gives each transaction whichever connection is free."""
    program = require_tool("pgbouncer", "to test behind a transaction pooler")
    folder = Path(tempfile.mkdtemp(prefix="loopkit-pooler-"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\npool_mode = transaction\nauth_type = trust\n"
        f"auth_file = {folder}/users\ndefault_pool_size = 3\nignore_startup_parameters = extra_float_digits,options\n"
    )
    folder.chmod(0o755)
    user = "nobody" if os.geteuid() == 0 else None
    with (folder / "log").open("w") as log:
        pooler = subprocess.Popen([program, folder / "pgbouncer.ini"], stdout=log, stderr=log, user=user)
    try:
        behind = make_url(url).set(host="127.0.0.1", port=port, query={}).render_as_string(hide_password=False)
        _wait_for(behind)
        yield behind
    finally:
        pooler.terminate()
        pooler.wait()
        shutil.rmtree(folder)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the pooler does not answer"
            time.sleep(0.05)
        else:
            return


def test_behind_a_transaction_pooler(pooled: str, tmp_path: Path) -> None:
    """No session is relied on: where each transaction has another connection, all is the same."""
    with fleet(pooled, tmp_path, 2) as made:
        acknowledged = made.submit(60)
        made.kill_one()
        made.finish()
        ended = judge(made, acknowledged)
    assert ended["passed"] == len(acknowledged)
