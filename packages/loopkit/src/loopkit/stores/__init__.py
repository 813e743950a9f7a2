"""Stores: implementations of :class:`loopkit.storage.Storage`, and the functions that open the store of a URL."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from loopkit.core.lease import STALLED_AFTER

if TYPE_CHECKING:
    from loopkit.stores.sql.store import SqlStore

__all__ = ["DEFAULT_URL", "check_url", "connect", "database_url", "open_store"]

DEFAULT_URL: Final = "sqlite:///loopkit.db"
"""URL of the database when none is configured: a file in the working directory."""


def database_url(url: str | None = None) -> str:
    """Return the URL of the database: ``url`` if given, else ``LOOPKIT_DATABASE_URL``, else a file in this folder."""
    return url or os.environ.get("LOOPKIT_DATABASE_URL") or DEFAULT_URL


def check_url(url: str) -> None:
    """Check that a URL names a kind of database that loopkit supports; the database is not looked at.

    Raises:
        InvalidDatabase: it does not; the message says what to write.
    """
    from loopkit.stores.sql.databases.urls import parse_url  # imported late: SQLAlchemy is slow to load

    parse_url(url)


def connect(url: str, *, stalled_after: timedelta = STALLED_AFTER) -> "SqlStore":
    """Open the store of a URL and return it; the caller closes it with ``await store.aclose()``.

    Blocks until the database responds and its schema is up to date, so asynchronous code calls it in a thread or uses
    :func:`open_store`. The store can be used from any number of event loops.

    Args:
        url: as for :func:`open_store`, but required.
        stalled_after: as for :func:`open_store`.

    Raises:
        InvalidDatabase: the URL is not that of a usable database; the message says what to do.
        SchemaTooNew: a newer loopkit has changed the schema so that this version must not write to it.
        StorageUnavailable: the server does not respond.
        DatabaseDamaged: the file of an SQLite database is damaged.
    """
    from loopkit.stores.sql.opener import open_sql_store  # imported late: SQLAlchemy is slow to load

    return open_sql_store(url, stalled_after)


@asynccontextmanager
async def open_store(url: str | None = None, *, stalled_after: timedelta = STALLED_AFTER) -> AsyncGenerator["SqlStore"]:
    """Open the store of a URL for the duration of the block; its tables are created on first use.

    Args:
        url: ``sqlite:///FILE`` (relative to the working directory), ``postgresql://...``, ``libsql://...`` or
            ``http(s)://...``; None: ``LOOPKIT_DATABASE_URL``, else ``sqlite:///loopkit.db``.
        stalled_after: time without a heartbeat after which a run may be taken over.

    Raises:
        InvalidDatabase: the URL is not that of a usable database; the message says what to do.
        SchemaTooNew: a newer loopkit has changed the schema so that this version must not write to it.
        StorageUnavailable: the server does not respond.
        DatabaseDamaged: the file of an SQLite database is damaged.
    """
    store = await anyio.to_thread.run_sync(lambda: connect(database_url(url), stalled_after=stalled_after))
    try:
        yield store
    finally:
        with anyio.CancelScope(shield=True):
            await store.aclose()
