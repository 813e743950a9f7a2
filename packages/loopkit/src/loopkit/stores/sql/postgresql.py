"""PostgreSQL by psycopg 3. No session state: nothing that a pooler between transactions could lose or hand to another.

Time limits are set inside each transaction. Behind a pooler, which shows itself by answering under another process id
than its own, statements are not prepared.
"""

from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event

from loopkit.core import plain
from loopkit.errors import InvalidDatabase

LIMITS: Final = (
    "SELECT set_config('lock_timeout', '10s', true), set_config('statement_timeout', '30s', true), "
    "set_config('idle_in_transaction_session_timeout', '10s', true)"
)
"""The first statement of every transaction that writes: a holder that stops in the middle is ended by the server."""

CHANNEL: Final = "loopkit_work"
NOTIFY: Final = f"SELECT pg_notify('{CHANNEL}', '')"
"""Tells other processes, at the commit, that there may be work."""

_CONNECTING: Final = {
    "target_session_attrs": "read-write",
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
    "application_name": "loopkit",
}


def engines(url: URL) -> tuple[Engine, Engine]:
    """Give the engines of a PostgreSQL database; nothing is connected yet.

    Raises:
        InvalidDatabase: the driver is not installed.
    """
    try:
        import psycopg  # noqa: F401 - an extra
    except ImportError as error:
        raise InvalidDatabase("PostgreSQL needs its driver: pip install 'loopkit[postgres]'") from error
    arguments = {name: value for name, value in _CONNECTING.items() if name not in url.query}
    url = url.set(drivername="postgresql+psycopg")
    writer = _engine(url, arguments, "READ COMMITTED")
    reader = _engine(url, arguments, "AUTOCOMMIT")

    @event.listens_for(writer, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(LIMITS)

    return writer, reader


def _engine(url: URL, arguments: dict[str, str], isolation: Any) -> Engine:
    engine = create_engine(
        url,
        connect_args=arguments,
        isolation_level=isolation,
        pool_size=8,
        max_overflow=24,
        pool_timeout=30,
        use_native_hstore=False,
    )

    @event.listens_for(engine, "connect")
    def _prepare_connection(connection: Any, record: Any) -> None:
        prepare_connection(connection)

    return engine


def prepare_connection(connection: Any) -> None:
    """Fit a psycopg connection to loopkit: JSON read by our rules, nothing prepared behind a pooler."""
    from psycopg.types.json import set_json_loads

    set_json_loads(_loads, connection)
    if is_pooled(connection):
        connection.prepare_threshold = None


def is_pooled(connection: Any) -> bool:
    """True when another process answers than the one that the connection was made with."""
    was = connection.autocommit
    connection.autocommit = True
    (pid,) = connection.execute("SELECT pg_backend_pid()").fetchone()
    connection.autocommit = was
    return bool(pid != connection.info.backend_pid)


def _loads(text: str | bytes) -> Any:
    return plain.loads(text if isinstance(text, str) else text.decode())
