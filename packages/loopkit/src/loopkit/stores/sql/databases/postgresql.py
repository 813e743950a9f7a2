"""PostgreSQL through psycopg 3, without session state: a pooler may give each transaction another session.

Time limits are therefore set inside each transaction. Behind a pooler, which is recognised by a backend process id
other than that of the connection, statements are not prepared.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import attrs
from sqlalchemy import URL, Connection, Engine, Insert, Table, create_engine, event
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine.interfaces import IsolationLevel
from sqlalchemy.exc import DBAPIError

from loopkit.core import strict_json
from loopkit.errors import InvalidDatabase
from loopkit.stores.sql.databases.database import Database, quoted, run_verbatim
from loopkit.stores.sql.databases.failures import MOVED_STATE, is_missing_right

if TYPE_CHECKING:
    import psycopg

__all__ = ["CHANNEL", "LIMITS", "NOTIFY", "PostgresqlDatabase", "is_pooled", "open_postgresql", "prepare_connection"]

LIMITS: Final = (
    "SELECT set_config('lock_timeout', '10s', true), set_config('statement_timeout', '30s', true), "
    "set_config('idle_in_transaction_session_timeout', '10s', true)"
)
"""First statement of every transaction that writes: the server ends a transaction whose client stops in the middle."""

CHANNEL: Final = "loopkit_work"
NOTIFY: Final = f"SELECT pg_notify('{CHANNEL}', '')"
"""Statement that notifies other processes, at the commit, that there may be work."""

_SCHEMA_LOCK: Final = 7021_4417_5530
"""Key of the advisory lock around a migration; any number that no other program uses."""

_CONNECT_ARGUMENTS: Final = {
    "target_session_attrs": "read-write",
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "application_name": "loopkit",
}

_SESSION: Final = (
    "SELECT pg_backend_pid(), set_config('tcp_keepalives_idle', '10', false), "
    "set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false), "
    "set_config('tcp_user_timeout', '25000', false), set_config('DateStyle', 'ISO', false), "
    "set_config('extra_float_digits', '1', false)"
)
"""First statement of every connection.

The server then notices within 25 s that the client's machine is gone and drops its locks, also where no other time
limit runs: between a statement and the Sync after it. By default TCP takes about two hours. Times and numbers come in
full, whatever the database or the role is set to. A pooler keeps the settings on its own connections to the server,
where they do no harm.
"""


@attrs.define(eq=False)
class PostgresqlDatabase(Database):
    """A database on a PostgreSQL server."""

    def freeze(self, connection: Connection) -> Connection:
        return connection.execution_options(isolation_level="REPEATABLE READ")

    def time_parameter(self, moment: datetime) -> datetime:
        return moment

    def upsert(self, table: Table, values: Mapping[str, object], *, key: str, update: Mapping[str, object]) -> Insert:
        insert = postgresql.insert(table).values(values)
        return insert.on_conflict_do_update(index_elements=[table.c[key]], set_=update)

    def notify(self, connection: Connection) -> None:
        connection.exec_driver_sql(NOTIFY)

    def lock_schema(self, connection: Connection) -> None:
        connection.exec_driver_sql(
            "SELECT set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true)"
        )
        _allow_long_silence(connection)
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")

    def raise_sequences(self, connection: Connection, tables: Sequence[Table]) -> None:
        for table in tables:
            connection.exec_driver_sql(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), highest) "
                f"FROM (SELECT max(id) AS highest FROM {table.name}) AS ids WHERE highest IS NOT NULL"
            )

    def prepare_checks(self, connection: Connection) -> None:
        # Compiling the conditions takes PostgreSQL longer than evaluating them for a hundred thousand runs.
        connection.exec_driver_sql("SELECT set_config('jit', 'off', true)")
        _allow_long_silence(connection)

    def find_damage(self, connection: Connection, limit: int) -> list[str]:
        """Return nothing: the server checks its files itself."""
        return []

    def close_to_writers(self, connection: Connection, tables: Sequence[Table], message: str) -> None:
        with _rights_required():
            run_verbatim(
                connection,
                "CREATE OR REPLACE FUNCTION loopkit_moved() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION USING MESSAGE = TG_ARGV[0], ERRCODE = '{MOVED_STATE}'; END $$",
            )
            for table in tables:
                run_verbatim(
                    connection,
                    f"CREATE TRIGGER loopkit_moved_{table.name}_insert BEFORE INSERT OR UPDATE OR DELETE "
                    f"ON {table.name} FOR EACH ROW EXECUTE FUNCTION loopkit_moved({quoted(message)})",
                )

    def open_to_writers(self, connection: Connection, tables: Sequence[Table]) -> None:
        with _rights_required():
            run_verbatim(connection, "DROP FUNCTION IF EXISTS loopkit_moved() CASCADE")


def _allow_long_silence(connection: Connection) -> None:
    """Allow the server long silences for the statements that follow, until the connection returns to its pool."""
    from loopkit.stores.sql.databases.postgresql_connection import LONG_SILENCE_SECONDS, LimitedConnection

    driver_connection = connection.connection.driver_connection
    assert isinstance(driver_connection, LimitedConnection)
    driver_connection.silence_seconds = LONG_SILENCE_SECONDS


@contextmanager
def _rights_required() -> Iterator[None]:
    """Raise InvalidDatabase when the user lacks the rights for the statements of the block."""
    try:
        yield
    except DBAPIError as error:
        if not is_missing_right(error):
            raise
        reason = str(error.orig).splitlines()[0]
        raise InvalidDatabase(
            f"this user may not close the old database to writers ({reason}); run the copy as the owner of its tables"
        ) from error


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Return False for the second error of a lost connection.

    psycopg logs it as a warning, which Python prints where no logging is set up. The first error is raised, and loopkit
    handles it or reports it in a sentence.
    """
    return not record.msg.startswith("error ignored terminating") if isinstance(record.msg, str) else True


def open_postgresql(url: URL, display_url: str) -> PostgresqlDatabase:
    """Create the engines of a PostgreSQL database; nothing is connected yet.

    Raises:
        InvalidDatabase: the driver is not installed, or the URL names no database or holds an unknown parameter.
    """
    try:
        import psycopg  # noqa: F401 - an extra
    except ImportError as error:
        raise InvalidDatabase("PostgreSQL needs its driver psycopg: install loopkit with the extra postgres") from error
    logging.getLogger("psycopg").addFilter(_is_worth_logging)
    _check_url(url, display_url)
    arguments = {name: value for name, value in _CONNECT_ARGUMENTS.items() if name not in url.query}
    arguments["client_encoding"] = "utf8"  # neither PGCLIENTENCODING nor the URL may say otherwise
    url = url.set(drivername="postgresql+psycopg")
    writer = _engine(url, arguments, "READ COMMITTED")
    reader = _engine(url, arguments, "AUTOCOMMIT")

    @event.listens_for(writer, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(LIMITS)

    return PostgresqlDatabase(display_url, writer, reader)


def _check_url(url: URL, display_url: str) -> None:
    """Refuse what the driver would refuse with each connection, or would answer with a database nobody named."""
    from psycopg.pq import Conninfo

    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    if unknown := sorted(set(url.query) - known):
        name = unknown[0]
        raise InvalidDatabase(
            f"{display_url}: PostgreSQL has no connection parameter {name!r}; a setting of the server, such as "
            f"search_path, is written ?options=-c%20{name}%3DVALUE"
        )
    elsewhere = {"dbname", "service"} & set(url.query) or os.environ.keys() & {"PGDATABASE", "PGSERVICE"}
    if not url.database and not elsewhere:
        raise InvalidDatabase(f"{display_url} names no database; write it after the host: postgresql://user@host/name")


def _engine(url: URL, arguments: dict[str, str], isolation: IsolationLevel) -> Engine:
    from loopkit.stores.sql.databases.postgresql_connection import SILENCE_SECONDS, LimitedConnection

    engine = create_engine(
        url,
        connect_args=arguments,
        isolation_level=isolation,
        pool_size=8,
        max_overflow=24,
        pool_timeout=30,
        use_native_hstore=False,
    )

    @event.listens_for(engine, "do_connect")
    def _connect(
        dialect: object, record: object, positional: tuple[str, ...], named: dict[str, Any]
    ) -> LimitedConnection:
        return LimitedConnection.connect(*positional, **named)

    @event.listens_for(engine, "connect")
    def _prepare_connection(connection: "psycopg.Connection", record: object) -> None:
        prepare_connection(connection)

    @event.listens_for(engine, "checkout")
    def _limit_silence(connection: LimitedConnection, record: object, proxy: object) -> None:
        connection.silence_seconds = SILENCE_SECONDS

    return engine


def prepare_connection(connection: "psycopg.Connection") -> None:
    """Make a psycopg connection read JSON by loopkit's rules and, behind a pooler, prepare no statements.

    Raises:
        InvalidDatabase: the database cannot hold every text.
    """
    from psycopg.types.json import set_json_loads

    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in ("UTF8", None):
        raise InvalidDatabase(
            f"the database {connection.info.dbname} has the encoding {encoding}, which cannot hold every text; "
            f"create one with ENCODING 'UTF8' TEMPLATE template0"
        )
    set_json_loads(_loads, connection)
    if is_pooled(connection):
        connection.prepare_threshold = None


def is_pooled(connection: "psycopg.Connection") -> bool:
    """Return True when statements run in another backend process than the one that the connection was made with.

    The same statement sets up the session, so it costs no round trip of its own.
    """
    autocommit = connection.autocommit
    connection.autocommit = True
    row = connection.execute(_SESSION).fetchone()
    connection.autocommit = autocommit
    return row is None or row[0] != connection.info.backend_pid


def _loads(text: str | bytes) -> Any:
    return strict_json.loads_or_text(text if isinstance(text, str) else text.decode())
