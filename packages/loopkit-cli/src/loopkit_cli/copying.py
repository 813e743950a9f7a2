"""The command `copy`: everything to another database, checked run by run before the old one is closed."""

from itertools import zip_longest
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import click

from loopkit_cli import exits, output
from loopkit_cli.options import Settings, command, pass_settings, without_password

if TYPE_CHECKING:
    from loopkit.storage import Copying, Storage
    from loopkit.stores.sql.store import SqlStore


@command(
    "copy",
    examples="""
        loopkit-cli copy --to postgresql://loopkit@db.example/loopkit
        loopkit-cli copy --database sqlite:///old.db --to sqlite:///new.db --json
    """,
)
@click.option("--to", "target", metavar="URL", required=True, help="The database to copy to; it must hold no runs.")
@pass_settings
def copy(settings: Settings, target: str) -> None:
    """Move every run to another database.

    Ids, journals and artifacts stay as they are; both databases are compared run by run. Stop workers, servers and
    submitters first; no run may be running. From the beginning the old one takes no writes any more, not even of
    programs that have it open, and afterwards no loopkit opens it; the new one opens when it is whole. If the copy
    fails or is interrupted, the old one is open again; if it was killed, delete the new one and copy again.
    """
    from loopkit.stores import open_store
    from loopkit.stores.sql.opening import opened_to_copy

    async def opened() -> int:
        source_store = await anyio.to_thread.run_sync(opened_to_copy, settings.database, settings.stalled_after)
        async with source_store as source, open_store(target) as copied_to:
            return await move(source, copied_to, without_password(target))

    count = anyio.run(opened)
    if settings.as_json:
        output.write_json({"copied": count})
    else:
        output.note(f"copied and compared: {count} runs; the old database is closed. From now on use")
        output.note(f"  --database {without_password(target)}")


async def move(source: "SqlStore", target: "SqlStore", name: str) -> int:
    """Close the source, copy and compare, and open the target; give how many runs there were.

    Raises:
        Refused: the source has no runs, the target has some, or they differ; the source is open as before.
        ConflictError: a run is running, or another copy is under way; the source is open as before.
    """
    await _check(source, target)
    with anyio.CancelScope(shield=True):
        await target.begin_import()
    try:
        with anyio.CancelScope(shield=True):
            await source.begin_move(name)
        count = await _copy(source, target)
        await _compare(source, target)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await source.undo_move(name)
            await target.undo_import()
        raise
    with anyio.CancelScope(shield=True):
        await target.end_import()
        await source.end_move(name)
    return count


async def _copy(source: "Copying", target: "Copying") -> int:
    count, after = 0, ""
    while page := await source.export_runs(after):
        await target.import_runs(page)
        count += len(page)
        after = page[-1]["run"]["id"]
    return count


async def _check(source: "Storage", target: "Storage") -> None:
    from loopkit.storage import RunQuery

    if not (await source.list_runs(RunQuery(limit=1))).runs:
        raise exits.Refused("there are no runs to copy")
    if (await target.list_runs(RunQuery(limit=1))).runs:
        raise exits.Refused("the database to copy to holds runs already; it must be empty")


async def _compare(source: "Copying", target: "Copying") -> None:
    after = ""
    while True:
        originals, copies = await source.export_runs(after), await target.export_runs(after)
        for original, one in zip_longest(originals, copies):
            if original != one:
                raise exits.Refused(
                    f"run {(original or one)['run']['id']} is not the same in both databases; the old one stays in "
                    "use. Stop what works on the new one, delete it (or drop its tables) and copy again"
                )
        if not originals:
            return
        after = originals[-1]["run"]["id"]
