"""The move to another database: every run is copied, both databases are compared, the old one is closed.

From the beginning the old database takes no writes, not even of programs that have it open; the new one can be opened
by others when it is complete. A move that fails or is interrupted leaves the old database open as before.
"""

from datetime import timedelta
from itertools import zip_longest

import anyio
import anyio.to_thread

from loopkit.errors import ConflictError
from loopkit.storage import Copying, RunQuery, Storage
from loopkit.stores import open_store
from loopkit.stores.sql.opener import open_for_copy
from loopkit.stores.sql.operations import move_marks
from loopkit.stores.sql.operations.export import as_imported
from loopkit.stores.sql.store import SqlStore

__all__ = ["MoveMarks", "move", "move_database"]


class MoveMarks:
    """Marks in a store's database that keep others out during a move. Setting or removing one again changes nothing."""

    def __init__(self, store: SqlStore) -> None:
        self._database = store.transactions.database
        self._transactions = store.transactions

    async def begin_move(self, to: str) -> None:
        """Refuse writes of every program from now on; their error names ``to``."""
        await self._transactions.write(lambda connection: move_marks.begin_move(connection, self._database, to))

    async def undo_move(self, to: str) -> None:
        """Allow writes again if the last mark is that of ``begin_move(to)``."""
        await self._transactions.write(lambda connection: move_marks.undo_move(connection, self._database, to))

    async def end_move(self, to: str) -> None:
        """Close this database for good: opening it fails with an error that names ``to``."""
        await self._transactions.write(lambda connection: move_marks.end_move(connection, to))

    async def begin_import(self) -> None:
        """Keep others from opening this empty database until the copy in it is complete."""
        await self._transactions.write(move_marks.begin_import)

    async def undo_import(self) -> None:
        """Allow others to open this database again, if it is still empty."""
        await self._transactions.write(move_marks.undo_import)

    async def end_import(self) -> None:
        """Mark the finished copy as open for use."""
        await self._transactions.write(move_marks.end_import)


async def move_database(source: str, target: str, *, name: str, stalled_after: timedelta) -> int:
    """Move every run of the database ``source`` to the empty database ``target``; return the number of runs.

    Args:
        source: URL of the database to move.
        target: URL of the database to move to; it must hold no runs.
        name: the name of the target for the error that the old database gives from now on; without a password.
        stalled_after: time without a heartbeat after which a run of the source counts as stalled.

    Raises:
        ConflictError: as in :func:`move`.
        InvalidDatabase: a URL names nothing that can be used.
    """
    opened = await anyio.to_thread.run_sync(open_for_copy, source, stalled_after)
    async with opened as source_store, open_store(target) as target_store:
        return await move(source_store, target_store, name)


async def move(source: SqlStore, target: SqlStore, name: str) -> int:
    """Close the source, copy and compare, and open the target; return the number of runs.

    Raises:
        ConflictError: the source has no runs, the target has some, a run is running, another move is under way, or
            the databases differ afterwards; the source is open as before.
    """
    source_marks, target_marks = MoveMarks(source), MoveMarks(target)
    await _check(source, target)
    with anyio.CancelScope(shield=True):
        await target_marks.begin_import()
    try:
        with anyio.CancelScope(shield=True):
            await source_marks.begin_move(name)
        count = await _copy(source, target)
        await _compare(source, target)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await source_marks.undo_move(name)
            await target_marks.undo_import()
        raise
    with anyio.CancelScope(shield=True):
        await target_marks.end_import()
        await source_marks.end_move(name)
    return count


async def _check(source: Storage, target: Storage) -> None:
    if not (await source.list_runs(RunQuery(limit=1))).runs:
        raise ConflictError("there are no runs to copy")
    if (await target.list_runs(RunQuery(limit=1))).runs:
        raise ConflictError("the database to copy to holds runs already; it must be empty")


async def _copy(source: Copying, target: Copying) -> int:
    count, after = 0, ""
    while page := await source.export_runs(after):
        await target.import_runs(page)
        count += len(page)
        after = page[-1]["run"]["id"]
    return count


async def _compare(source: Copying, target: Copying) -> None:
    after = ""
    while True:
        originals, copies = await source.export_runs(after), await target.export_runs(after)
        for original, copied in zip_longest(originals, copies):
            if original is None or copied is None or as_imported(original) != copied:
                raise ConflictError(
                    f"run {(original or copied)['run']['id']} is not the same in both databases; the old one stays in "
                    "use. Stop what works on the new one, delete it (or drop its tables) and copy again"
                )
        if not originals:
            return
        after = originals[-1]["run"]["id"]
