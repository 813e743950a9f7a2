"""libSQL and Turso over HTTP: an SQLAlchemy dialect on top of ``turso-serverless``, and a client for transactions.

The cost of a statement is its round trip, so all requests use kept connections, with a time limit. A hot verb is one
request: a batch from BEGIN IMMEDIATE to COMMIT in which each step runs only if the one before succeeded. A commit
counts only once the server has responded; without a response the outcome is unknown, and the error says so
(:class:`ConnectionLost`).
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import attrs
from sqlalchemy import URL, Connection, Engine, Float, create_engine, event, func, literal_column
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.elements import BindParameter, ColumnElement

from loopkit.errors import InvalidDatabase
from loopkit.stores.sql.databases.libsql_client import (
    Client,
    ConnectionLost,
    ErrorResponse,
    ProtocolError,
    Session,
    driver,
    exact_json,
)
from loopkit.stores.sql.databases.sqlite_family import SqliteFamily

__all__ = ["LibsqlDatabase", "LibsqlDialect", "client_of", "open_libsql"]

_SQLITE_VERSION: Final = (3, 45, 1)
"""SQLite version whose SQL every libSQL server understands."""


class _Session(Session):  # type: ignore[misc] # the driver ships no types
    """Session of the driver over :class:`Client`: its connections are kept, and no response is awaited forever."""

    def __init__(self, client: Client) -> None:
        super().__init__(client.url)
        self._client = client

    def _post(self, path: str, body: dict[str, object]) -> bytes:
        try:
            return _escaped(self._client.post(path, body, base=self._base_url))
        except ErrorResponse as error:
            self._reset_stream()
            raise ProtocolError(str(error)) from error
        except ConnectionLost:
            self._reset_stream()
            raise


def _escaped(content: bytes) -> bytes:
    """Escape in JSON the characters that the driver takes for line ends: it splits lines as ``str.splitlines`` does."""
    for character in "\x85\u2028\u2029":
        content = content.replace(character.encode(), f"\\u{ord(character):04x}".encode())
    return content


class _ExactFloat(Float[float]):
    """A number whose parameters are JSON text, which the database reads: the server is inexact with floats."""

    def bind_processor(self, dialect: Dialect) -> Callable[[object], str]:
        return exact_json

    def bind_expression(self, bindvalue: BindParameter[float]) -> ColumnElement[float]:
        return func.json_extract(bindvalue, literal_column("'$'"), type_=bindvalue.type)


class LibsqlDialect(SQLiteDialect):
    """SQLAlchemy's SQLite dialect over HTTP. An event of the engine begins transactions, never the driver."""

    driver = "libsql"
    supports_statement_cache = True
    default_paramstyle = "qmark"
    colspecs = {**SQLiteDialect.colspecs, Float: _ExactFloat}  # noqa: RUF012 - as the base class has it

    @classmethod
    def import_dbapi(cls) -> Any:  # a module in SQLAlchemy's eyes
        names = {name: getattr(driver, name) for name in driver.__all__}
        return SimpleNamespace(**names, sqlite_version_info=_SQLITE_VERSION)

    def _get_server_version_info(self, connection: object) -> tuple[int, ...]:
        return _SQLITE_VERSION

    def is_disconnect(self, e: Exception, connection: object, cursor: object) -> bool:
        return isinstance(e, self.loaded_dbapi.OperationalError) and "stream" in str(e).lower()


registry.register("sqlite.libsql", __name__, "LibsqlDialect")


_PARAMETERS: Final = frozenset({"authtoken", "tls", "secure"})


def client_of(url: URL) -> Client:
    """Create the client for a URL; its token is the parameter ``authToken`` or the password.

    Raises:
        InvalidDatabase: the driver is not installed, or the URL has no host.
    """
    if driver is None:
        raise InvalidDatabase(
            "libSQL and Turso need their driver turso-serverless: install loopkit with the extra turso"
        )
    if not url.host:
        raise InvalidDatabase("a libSQL URL needs a host, for example libsql://name.turso.io?authToken=...")
    query = {name.lower().replace("_", ""): value for name, value in url.query.items()}
    if unknown := sorted(set(query) - _PARAMETERS):
        raise InvalidDatabase(f"a libSQL URL has no parameter {unknown[0]!r}, only authToken, tls and secure")
    token = query.get("authtoken") or url.password
    in_clear = url.drivername == "http" or query.get("tls") in ("0", "false") or query.get("secure") == "false"
    host = url.host + (f":{url.port}" if url.port else "")
    path = f"/{url.database}" if url.database else ""
    return Client(f"{'http' if in_clear else 'https'}://{host}{path}", str(token) if token else None)


@attrs.define(eq=False)
class LibsqlDatabase(SqliteFamily):
    """A database on a libSQL server."""

    client: Client
    """Client that sends a whole transaction as one request."""

    def close(self) -> None:
        super().close()
        if self.is_own():
            self.client.close()

    def freeze(self, connection: Connection) -> Connection:
        """Return the connection as it is: a transaction that reads would keep every writer of the server out."""
        return connection

    def find_damage(self, connection: Connection, limit: int) -> list[str]:
        """Return nothing: the server checks its files itself."""
        return []


def open_libsql(url: URL, display_url: str) -> LibsqlDatabase:
    """Create the client and the engines of a libSQL server; nothing is connected yet.

    Raises:
        InvalidDatabase: the driver is not installed, or the URL has no host.
    """
    client = client_of(url)
    writer, reader = _engine(client), _engine(client)

    @event.listens_for(writer, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return LibsqlDatabase(display_url, writer, reader, client)


def _engine(client: Client) -> Engine:
    def connect() -> DBAPIConnection:
        connection: DBAPIConnection = driver.Connection(_Session(client), isolation_level=None)
        return connection

    # A connection is only a stream that the server drops after some seconds, so none is pooled.
    return create_engine("sqlite+libsql://", creator=connect, poolclass=NullPool)
