"""Fixtures of all tests: a fresh empty database of each kind, and how skips are treated.

A test that asks for ``postgres_url`` or ``libsql_url`` gets the marker of that name by itself. Programs of the
system are asked for with ``tests.tool_helpers.require_tool``; lengths that can grow are in ``tests.length_helpers``.
"""

import fcntl
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings

from tests.length_helpers import is_long
from tests.servers.libsql import Libsql, LibsqlError
from tests.servers.postgres import Databases, Postgres, find_binaries
from tests.servers.processes import Owner
from tests.tool_helpers import MISSING, is_ci, skip_or_fail

collect_ignore = ["frameworks"]  # needs environments of its own: `make frameworks`

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
SHARED = pytest.StashKey[Path]()
OWNER = pytest.StashKey[Owner]()
MEMORY = Path("/dev/shm")
LEAST_MEMORY = 6 << 30
"""Bytes that must be free there."""
_PREFIX = "loopkit-tests-"
_SERVER_MARKERS = {"postgres_server": "postgres", "libsql_server": "libsql"}

# This machine may be busy, so nothing here is timed; in CI the same examples are drawn every time.
settings.register_profile(
    "short", deadline=None, print_blob=True, derandomize=is_ci(), suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", settings.get_profile("short"), max_examples=2_000, derandomize=False)
settings.load_profile("long" if is_long() else "short")


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Databases:
    """A PostgreSQL server to make databases on: one for the whole test run, all workers together.

    ``LOOPKIT_TEST_POSTGRES`` may name one, by the URL of a user who may create databases.
    """
    if named := os.environ.get("LOOPKIT_TEST_POSTGRES"):
        return Databases(named)
    try:
        find_binaries()
    except RuntimeError as error:
        skip_or_fail(str(error))
    shared = pytestconfig.stash[SHARED]
    address = shared / "postgres"
    with (shared / "postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not address.exists():
            server = Postgres(owner=shared / "owner")
            try:
                server.start()
            except BaseException:
                server.close()
                raise
            server.leave()  # its guard ends it when the main process of this test run does
            address.write_text(f"{server.dsn()}\n{server.folder}")
        return Databases(address.read_text().splitlines()[0])


@pytest.fixture
def postgres_url(postgres_server: Databases) -> Iterator[str]:
    """The URL of an empty PostgreSQL database of this test's own."""
    url = postgres_server.create()
    yield url
    postgres_server.drop(url)


@pytest.fixture(scope="session")
def libsql_server() -> Iterator[Libsql]:
    """A real libSQL server of this worker's own. A test that harms it starts its own ``Libsql()`` instead."""
    with Libsql() as server:
        yield server


@pytest.fixture
def libsql_url(libsql_server: Libsql) -> str:
    """The URL of a libSQL server that holds nothing when the test begins."""
    try:
        libsql_server.empty()
    except (OSError, LibsqlError):  # the last test left it with a lock or worse
        libsql_server.wipe()
    return libsql_server.url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of an SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'loopkit.db'}"


def pytest_configure(config: pytest.Config) -> None:
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # started in a shell's background: children would ignore SIGINT
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith("LOOPKIT_") and not name.startswith("LOOPKIT_TEST")]:
        del os.environ[name]  # a developer's own settings must not change the tested code
    if (given := getattr(config, "workerinput", None)) is not None:
        config.stash[SHARED] = Path(given["loopkit_shared"])
    else:
        shared = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_memory_folder()))
        config.stash[SHARED] = shared
        config.stash[OWNER] = Owner(shared / "owner")
        if shared.is_relative_to(MEMORY):
            shared.chmod(0o755)  # the database server of root's tests runs as another user
            os.environ["TMPDIR"] = str(shared / "tmp")
            (shared / "tmp").mkdir(mode=0o1777)
            tempfile.tempdir = None


def _memory_folder() -> Path | None:
    """Return a folder in memory for all files of this test run, or None where there is none that is large enough.

    Nothing here outlives the machine, so no test needs the disk, whose syncs take most of the time of many.
    ``TMPDIR`` names another folder, in which pytest keeps the files of failed tests.
    """
    if os.environ.get("TMPDIR") or not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < LEAST_MEMORY:
        return None
    for left in MEMORY.glob(f"{_PREFIX}*"):
        if Owner.is_gone(left / "owner"):
            shutil.rmtree(left, ignore_errors=True)
    return MEMORY


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Pass the folder with the addresses of shared servers to each worker of pytest-xdist."""
    node.workerinput["loopkit_shared"] = str(node.config.stash[SHARED])  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    """Release the shared servers and wait until their guards have ended them."""
    if (owner := config.stash.get(OWNER, None)) is None:
        return
    shared = config.stash[SHARED]
    address = shared / "postgres"
    folder = Path(address.read_text().splitlines()[1]) if address.exists() else None
    owner.close()
    deadline = time.monotonic() + 15
    while folder is not None and folder.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    shutil.rmtree(shared, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by the servers that it uses."""
    for item in items:
        for fixture, marker in _SERVER_MARKERS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _without_skips_in_ci((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _without_skips_in_ci((yield))


def _without_skips_in_ci(report: Report) -> Report:
    """Turn a skip into a failure in CI, where it would hide an untested part; expected failures stay."""
    if is_ci() and report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped in CI: {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the tests that were skipped because a tool is missing, with what to install."""
    remedies: dict[str, set[str]] = {}
    for report in terminalreporter.getreports("skipped"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if found := re.search(rf"{MISSING} (\S+) \((.+?)\)", reason):
            remedies.setdefault(f"{found[1]}: {found[2]}", set()).add(report.nodeid)
    if remedies:
        terminalreporter.section("tests skipped because a tool is missing")
        for remedy, tests in sorted(remedies.items()):
            terminalreporter.line(remedy)
            for test in sorted(tests):
                terminalreporter.line(f"    {test}")
