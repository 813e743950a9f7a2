"""The opener of stores: from a URL to a store whose database has an up-to-date schema."""

import sqlite3
from datetime import timedelta
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from loopkit.errors import InvalidDatabase, LoopkitError
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.failures import driver_text, to_loopkit_error
from loopkit.stores.sql.databases.urls import check_file_exists, open_database
from loopkit.stores.sql.schema import migrations
from loopkit.stores.sql.store import SqlStore
from loopkit.stores.sql.wakeups.hub import Wakeups
from loopkit.stores.sql.wakeups.sources import source_of

__all__ = ["check_file_exists", "open_database_migrated", "open_for_copy", "open_for_reads", "open_sql_store"]

_WRONG_URL: Final = ("does not exist", "authentication failed", "no password", "translate host name", "http status 4")
"""Driver messages (no error code yet) for a wrong address or user: retrying cannot help."""


def open_sql_store(url: str, stalled_after: timedelta) -> SqlStore:
    """Open the store of a URL; this blocks while another process migrates the schema.

    Raises:
        InvalidDatabase: the URL names no usable database; the message says what to do.
        SchemaTooNew: a newer loopkit has changed the schema so that this one must not write to it.
        StorageUnavailable: the server does not answer.
        DatabaseDamaged: the file is damaged.
    """
    store = open_for_reads(url, stalled_after)
    store.prepare_writes()
    return store


def open_for_reads(url: str, stalled_after: timedelta) -> SqlStore:
    """Open the store of a URL as :func:`open_sql_store` does; what writes need is loaded by the first one.

    Raises:
        LoopkitError: as in :func:`open_sql_store`.
    """
    database = open_database_migrated(url)
    return SqlStore(database, stalled_after=stalled_after, wakeups=Wakeups(source_of(database)))


def open_for_copy(url: str, stalled_after: timedelta) -> SqlStore:
    """Open a store to copy from, also one that an interrupted copy has closed.

    Raises:
        LoopkitError: as in :func:`open_sql_store`.
    """
    database = open_database(url)
    try:
        moving = migrations.is_moving(database)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise _to_error(database, error) from error
    finally:
        database.close()
    if not moving:
        return open_sql_store(url, stalled_after)
    return SqlStore(open_database(url), stalled_after=stalled_after)


def open_database_migrated(url: str) -> Database:
    """Open a database and bring its schema up to date.

    Raises:
        LoopkitError: as in :func:`open_sql_store`.
    """
    database = open_database(url)
    try:
        migrations.migrate(database)
    except BaseException as error:
        database.close()
        if isinstance(error, SQLAlchemyError | sqlite3.Error):
            raise _to_error(database, error) from error
        raise
    return database


def _to_error(database: Database, error: Exception) -> LoopkitError:
    message = " ".join(driver_text(error).split())
    if any(sign in message.lower() for sign in _WRONG_URL):
        return InvalidDatabase(f"{database.display_url} cannot be opened: {message}")
    return to_loopkit_error(error)
