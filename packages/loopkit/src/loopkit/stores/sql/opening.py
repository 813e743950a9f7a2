"""Opening a store: the database that a URL names, its schema brought up to date."""

import sqlite3
from datetime import timedelta
from typing import Final

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from loopkit.errors import InvalidDatabase, LoopkitError
from loopkit.stores.sql import migrations
from loopkit.stores.sql.dialects import Database, open_database
from loopkit.stores.sql.store import SqlStore
from loopkit.stores.sql.troubles import explained
from loopkit.stores.sql.waking import waking

_WRONG: Final = ("does not exist", "authentication failed", "no password", "translate host name", "http status 4")
"""What drivers say, before there is a code, of an address or user that no patience makes right."""


def opened(url: str, stalled_after: timedelta) -> SqlStore:
    """Open a store; blocks while another process migrates.

    Raises:
        InvalidDatabase: the URL names nothing that can be used; the message says what to do.
        SchemaTooNew: a newer loopkit has changed the schema so that this one must not write to it.
        StorageUnavailable: the server gives no answer.
        DatabaseDamaged: the file is damaged.
    """
    database = current(url)
    return SqlStore(database, stalled_after=stalled_after, waking=waking(database))


def opened_to_copy(url: str, stalled_after: timedelta) -> SqlStore:
    """Open a store to copy it, also one that a copy which was broken off has closed; errors as in :func:`opened`."""
    database = open_database(url)
    try:
        moving = migrations.is_moving(database)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise _said(database, error) from error
    finally:
        database.close()
    if not moving:
        return opened(url, stalled_after)
    return SqlStore(open_database(url), stalled_after=stalled_after)


def current(url: str) -> Database:
    """Open a database with its schema up to date; errors as in :func:`opened`."""
    database = open_database(url)
    try:
        migrations.migrate(database)
    except BaseException as error:
        database.close()
        if isinstance(error, SQLAlchemyError | sqlite3.Error):
            raise _said(database, error) from error
        raise
    return database


def _said(database: Database, error: Exception) -> LoopkitError:
    original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = " ".join(str(original).split())
    if any(sign in said.lower() for sign in _WRONG):
        return InvalidDatabase(f"{database.shown} cannot be opened: {said}")
    return explained(error)
