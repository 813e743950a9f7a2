"""Stores: implementations of :class:`loopkit.storage.Storage`, and :func:`open_store` that gives the one for a URL."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from loopkit.stores.sql.store import SqlStore

__all__ = ["DEFAULT_URL", "database_url", "open_store"]

DEFAULT_URL: Final = "sqlite:///loopkit.db"


def database_url(given: str | None = None) -> str:
    """Give the URL of the database: the one given, else ``LOOPKIT_DATABASE_URL``, else a file in this folder."""
    return given or os.environ.get("LOOPKIT_DATABASE_URL") or DEFAULT_URL


@asynccontextmanager
async def open_store(
    url: str | None = None, *, stalled_after: timedelta = timedelta(seconds=120)
) -> AsyncGenerator["SqlStore"]:
    """Open the store of a URL for as long as the block runs; its tables are made on first use.

    Args:
        url: ``sqlite:///FILE`` (relative to the working directory), ``postgresql://...``, ``libsql://...`` or
            ``http(s)://...``; without one ``LOOPKIT_DATABASE_URL``, else ``sqlite:///loopkit.db``.
        stalled_after: how long a runner may be silent before its run may be taken over.

    Raises:
        InvalidDatabase: the URL names nothing that can be used; the message says what to do.
        SchemaTooNew: a newer loopkit has changed the schema so that this one must not write to it.
        StorageUnavailable: the server gives no answer.
    """
    store = await anyio.to_thread.run_sync(_open, database_url(url), stalled_after)
    try:
        yield store
    finally:
        with anyio.CancelScope(shield=True):
            await store.aclose()


def _open(url: str, stalled_after: timedelta) -> "SqlStore":
    from loopkit.stores.sql.opening import opened  # SQLAlchemy is loaded by who opens a database, not by an import

    return opened(url, stalled_after)
