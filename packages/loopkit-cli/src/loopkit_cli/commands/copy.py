"""The command ``copy``: every run to another database, compared run by run before the old one is closed."""

import anyio
import click

from loopkit_cli import output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.options import without_password
from loopkit_cli.settings import Settings


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

    Ids, journals and artifacts are kept, and both databases are compared run by run. Stop workers, servers and
    submitters first: no run may be running. From the beginning the old database takes no writes, not even of programs
    that have it open, and afterwards loopkit refuses to open it; the new one can be used when it is complete. If the
    copy fails or is interrupted, the old database is open as before; if it was killed, delete the new one and copy
    again.
    """
    from loopkit.stores.sql.move import move_database

    settings.check_database_exists()
    name = without_password(target)

    async def move() -> int:
        return await move_database(settings.database, target, name=name, stalled_after=settings.stalled_after)

    count = anyio.run(move)
    if settings.as_json:
        output.write_json({"copied": count})
    else:
        output.note(f"copied and compared: {count} runs; the old database is closed. From now on use")
        output.note(f"  --database {name}")
