"""The command `copy`: everything to another database, checked run by run before the old one is closed."""

from itertools import zip_longest
from typing import TYPE_CHECKING

import anyio
import click

from loopkit.core.run import RunStatus
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

    Ids, journals and artifacts stay as they are; both databases are compared run by run. Then the old one is marked
    as moved: no loopkit opens it any more. Stop workers, servers and submitters first; no run may be running.
    """
    from loopkit.stores import open_store

    async def opened() -> int:
        async with open_store(settings.database) as source, open_store(target) as copied_to:
            return await move(source, copied_to, without_password(target))

    count = anyio.run(opened)
    if settings.as_json:
        output.write_json({"copied": count})
    else:
        output.note(f"copied and compared: {count} runs; the old database is closed. From now on use")
        output.note(f"  --database {without_password(target)}")


async def move(source: "SqlStore", target: "SqlStore", name: str) -> int:
    """Copy, compare and close the source; give how many runs there were.

    Raises:
        Refused: the source has running runs or none, the target is not empty, or they differ; the source stays open.
    """
    await _check(source, target)
    count, after = 0, ""
    while page := await source.export_runs(after):
        await target.import_runs(page)
        count += len(page)
        after = page[-1]["run"]["id"]
    await _compare(source, target)
    await source.mark_moved(name)
    return count


async def _check(source: "Storage", target: "Storage") -> None:
    from loopkit.storage import RunQuery

    running = await source.list_runs(RunQuery(statuses=frozenset({RunStatus.RUNNING}), limit=1))
    if running.runs:
        run = running.runs[0]
        raise exits.Refused(f"run {run.id} is running; stop its runner first (SIGTERM gives it back to the queue)")
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
                    f"run {(original or one)['run']['id']} was changed while it was copied; the old database stays "
                    "in use. Stop what works on it, empty the other database and copy again"
                )
        if not originals:
            return
        after = originals[-1]["run"]["id"]
