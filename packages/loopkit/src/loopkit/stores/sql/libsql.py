"""libSQL and Turso over HTTP: a small dialect on top of ``turso-serverless``, and a client for whole transactions.

Everything goes over connections that are kept, with a time limit, since a statement's price is its round trip. A hot
verb is one request: a batch whose steps each run only if the one before did, from BEGIN IMMEDIATE to COMMIT. A commit
counts only from the server's answer; without one the outcome is unknown, and the error says so
(:class:`ConnectionLost`).
"""

import http.client
import json
import select
import threading
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.pool import NullPool

from loopkit.errors import InvalidDatabase

TIMEOUT_SECONDS: Final = 10.0

_SPOKEN: Final = (3, 45, 1)
"""The SQLite whose language every libSQL server speaks."""

try:
    import turso_serverless as driver
    from turso_serverless.protocol import ProtocolError, build_batch_step, decode_value
    from turso_serverless.session import Session
except ImportError:  # the extra is not installed; engines() says so
    driver, ProtocolError, Session = None, RuntimeError, object


class ConnectionLost(ProtocolError):  # type: ignore[misc] # the driver ships no types
    """No answer came, so nobody knows whether the request was carried out."""


class ServerAnswer(Exception):
    """The server answered with an error; a transaction it belongs to was rolled back."""

    def __init__(self, message: str, code: str | None = None) -> None:
        self.code = code
        """What the protocol calls it, e.g. ``SQLITE_BUSY``; None where the server named none."""
        super().__init__(message)


@attrs.frozen
class StepResult:
    """What one step of a batch gave."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    affected: int


Step = tuple[str, Sequence[Any] | Mapping[str, Any]]
"""A statement and its parameters, by position or by name."""


class Client:
    """Requests to one server over kept connections; any number of threads may use it at once."""

    def __init__(self, url: str, token: str | None = None, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], list[http.client.HTTPConnection]] = {}

    def transaction(self, steps: Sequence[Step]) -> list[StepResult]:
        """Run all steps in one write transaction, in one request: all of them or none.

        Raises:
            ServerAnswer: a step failed and everything was rolled back.
            ConnectionLost: no answer came; the outcome is unknown.
        """
        last = len(steps) + 1
        plan = [_step("BEGIN IMMEDIATE", (), None)]
        plan += [_step(text, values, _ok(number)) for number, (text, values) in enumerate(steps)]
        plan.append(_step("COMMIT", (), _ok(last - 1)))
        plan.append(_step("ROLLBACK", (), {"type": "and", "conds": [_ok(0), _not_ok(last)]}))
        results = self._batch(plan)
        if results[last] is None:
            raise ServerAnswer("the server did not commit and gave no reason")
        return [result for result in results[1:last] if result is not None]

    def read(self, steps: Sequence[Step]) -> list[StepResult]:
        """Run reading steps in one request, all of them on one state of the database.

        Raises:
            ServerAnswer: a step failed.
            ConnectionLost: no answer came.
        """
        plan = [_step("BEGIN", (), None)]
        plan += [_step(text, values, _ok(number)) for number, (text, values) in enumerate(steps)]
        plan.append(_step("ROLLBACK", (), _ok(0)))
        results = self._batch(plan)
        return [result for result in results[1:-1] if result is not None]

    def _batch(self, plan: list[dict[str, Any]]) -> list[StepResult | None]:
        requests = [{"type": "batch", "batch": {"steps": plan}}, {"type": "close"}]
        answer = json.loads(self.post("/v3/pipeline", {"baton": None, "requests": requests}))
        first = answer["results"][0]
        if first["type"] == "error":
            raise _answer(first["error"])
        result = first["response"]["result"]
        for error in result["step_errors"]:
            if error is not None:
                raise _answer(error)
        return [None if one is None else _step_result(one) for one in result["step_results"]]

    def post(self, path: str, body: Mapping[str, Any], *, base: str | None = None) -> bytes:
        """Send one request and give the body of its answer.

        Raises:
            ServerAnswer: the server answered with another status than 200.
            ConnectionLost: no answer came.
        """
        parts = urlsplit(base or self.url)
        data = json.dumps(body, allow_nan=False).encode()
        connection = self._take(parts.scheme, parts.netloc)
        try:
            connection.request("POST", parts.path + path, data, self._headers())
            answer = connection.getresponse()
            content = answer.read()
        except (http.client.HTTPException, OSError) as error:
            connection.close()
            raise ConnectionLost(f"no answer from {parts.netloc}: {str(error) or type(error).__name__}") from error
        self._put((parts.scheme, parts.netloc), connection)
        if answer.status != http.HTTPStatus.OK:
            raise ServerAnswer(f"HTTP status {answer.status}: {_reason(content)}", f"HTTP_{answer.status}")
        return content

    def close(self) -> None:
        """Let go of the connections that nobody uses now."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        return headers | {"Authorization": f"Bearer {self._token}"} if self._token else headers

    def _take(self, scheme: str, place: str) -> http.client.HTTPConnection:
        with self._lock:
            idle = self._idle.get((scheme, place), [])
            while idle:
                connection = idle.pop()
                if _is_open(connection):
                    return connection
                connection.close()
        if scheme == "https":
            return http.client.HTTPSConnection(place, timeout=self._timeout)
        return http.client.HTTPConnection(place, timeout=self._timeout)

    def _put(self, key: tuple[str, str], connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.setdefault(key, []).append(connection)


def _is_open(connection: http.client.HTTPConnection) -> bool:
    """True while the server has not closed an idle connection: then there is nothing to read on it."""
    return connection.sock is not None and not select.select([connection.sock], [], [], 0)[0]


def _step(text: str, values: Sequence[Any] | Mapping[str, Any], condition: dict[str, Any] | None) -> dict[str, Any]:
    named = isinstance(values, Mapping)
    step: dict[str, Any] = build_batch_step(
        text,
        args=None if named else list(values),
        named_args=[(f":{name}", value) for name, value in values.items()] if isinstance(values, Mapping) else None,
        condition=condition,
    )
    return step


def _ok(step: int) -> dict[str, Any]:
    return {"type": "ok", "step": step}


def _not_ok(step: int) -> dict[str, Any]:
    return {"type": "not", "cond": _ok(step)}


def _step_result(result: Mapping[str, Any]) -> StepResult:
    return StepResult(
        columns=tuple(column.get("name") or "" for column in result["cols"]),
        rows=[tuple(decode_value(value) for value in row) for row in result["rows"]],
        affected=result.get("affected_row_count") or 0,
    )


def _answer(error: Mapping[str, Any]) -> ServerAnswer:
    return ServerAnswer(str(error.get("message", "unknown error")), error.get("code"))


def _reason(content: bytes) -> str:
    try:
        document = json.loads(content)
        return str(document.get("error") or document.get("message"))
    except (ValueError, AttributeError):
        return content[:200].decode(errors="replace")


# --- SQLAlchemy ----------------------------------------------------------------------------------------------------


class _Session(Session):  # type: ignore[misc] # the driver ships no types
    """The driver's session over our client: connections are kept, and no answer is waited for without end."""

    def __init__(self, client: Client) -> None:
        super().__init__(client.url)
        self._client = client

    def _post(self, path: str, body: dict[str, Any]) -> bytes:
        try:
            return _escaped(self._client.post(path, body, base=self._base_url))
        except ServerAnswer as error:
            self._reset_stream()
            raise ProtocolError(str(error)) from error
        except ConnectionLost:
            self._reset_stream()
            raise


def _escaped(content: bytes) -> bytes:
    """Escape in JSON what the driver would take for the end of a line: it splits lines as Python splits text."""
    for character in "\x85\u2028\u2029":
        content = content.replace(character.encode(), f"\\u{ord(character):04x}".encode())
    return content


class LibsqlDialect(SQLiteDialect):
    """SQLAlchemy's SQLite over HTTP. Transactions are begun by the engine's own event, never by the driver."""

    driver = "libsql"
    supports_statement_cache = True
    default_paramstyle = "qmark"

    @classmethod
    def import_dbapi(cls) -> Any:
        names = {name: getattr(driver, name) for name in driver.__all__}
        return SimpleNamespace(**names, sqlite_version_info=_SPOKEN)

    def _get_server_version_info(self, connection: Any) -> tuple[int, ...]:
        return _SPOKEN

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        return isinstance(e, self.loaded_dbapi.OperationalError) and "stream" in str(e).lower()


registry.register("sqlite.libsql", __name__, "LibsqlDialect")


def client_of(url: URL) -> Client:
    """Give a client for a URL; a token stands in it as ``?authToken=`` or as its password.

    Raises:
        InvalidDatabase: the driver is not installed, or the URL names no host.
    """
    if driver is None:
        raise InvalidDatabase("libSQL and Turso need their driver: pip install 'loopkit[turso]'")
    if not url.host:
        raise InvalidDatabase("a libSQL URL names a host, for example libsql://name.turso.io?authToken=...")
    query = {name.lower().replace("_", ""): value for name, value in url.query.items()}
    token = query.get("authtoken") or url.password
    in_clear = url.drivername == "http" or query.get("tls") in ("0", "false") or query.get("secure") == "false"
    place = url.host + (f":{url.port}" if url.port else "")
    path = f"/{url.database}" if url.database else ""
    return Client(f"{'http' if in_clear else 'https'}://{place}{path}", str(token) if token else None)


def engines(client: Client) -> tuple[Engine, Engine]:
    """Give the engines of a libSQL server; nothing is connected yet."""
    writer, reader = _engine(client), _engine(client)

    @event.listens_for(writer, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return writer, reader


def _engine(client: Client) -> Engine:
    def connect() -> Any:
        return driver.Connection(_Session(client), isolation_level=None)

    # A connection is only a stream of the server's, which it forgets after some seconds; so none is pooled.
    return create_engine("sqlite+libsql://", creator=connect, poolclass=NullPool)
