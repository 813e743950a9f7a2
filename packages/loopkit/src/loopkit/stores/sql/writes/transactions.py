"""Transactions of plain functions: reads and the rarer writes, run in worker threads and retried."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from sqlalchemy import Connection

from loopkit.core.ids import Ids
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.writes.lanes import WriterDriver
from loopkit.stores.sql.writes.writer import retry

__all__ = ["Transactions"]

T = TypeVar("T")


class Transactions:
    """Runs functions of a connection in one database, without blocking the caller's event loop.

    A function that fails for a passing reason runs again, so one that writes must change nothing the second time.
    """

    def __init__(self, database: Database, driver: WriterDriver, ids: Ids) -> None:
        self.database = database
        """The database that the functions read and write."""
        self._driver = driver
        self._ids = ids

    async def read(self, function: Callable[[Connection], T]) -> T:
        """Return the result of a function whose statements each read what is committed."""
        return await self._run(self.database.reading, function)

    async def read_snapshot(self, function: Callable[[Connection], T]) -> T:
        """Return the result of a function whose statements all read the same state."""
        return await self._run(self.database.snapshot, function)

    async def write(self, function: Callable[[Connection], T]) -> T:
        """Return the result of a function in a transaction that is committed at its end."""
        return await self._run(self.database.writing, function)

    async def _run(
        self, connect: Callable[[], AbstractContextManager[Connection]], function: Callable[[Connection], T]
    ) -> T:
        def run() -> T:
            with connect() as connection:
                return function(connection)

        return await self._driver.call(lambda: retry(run, self._ids, self._driver))
