"""The command ``prune``: delete old runs that have ended."""

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from loopkit_cli import output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.settings import Settings
from loopkit_cli.value_types import Age

if TYPE_CHECKING:
    from loopkit.storage import Storage


@command(
    "prune",
    examples="""
        loopkit-cli prune --older-than 30d
        loopkit-cli prune --older-than 12h --json
    """,
)
@click.option(
    "--older-than",
    metavar="AGE",
    type=Age(),
    required=True,
    help="Least time since the end of a run: a number with s, m, h, d or w, e.g. 30d.",
)
@pass_settings
def prune(settings: Settings, older_than: timedelta) -> None:
    """Delete old runs that have ended.

    Each is deleted for good, with its events and artifacts. The ids are printed.
    """
    settings.check_database_exists()
    deleted = settings.in_store(lambda store: _prune(store, older_than))
    if settings.as_json:
        output.write_json({"deleted": deleted})
        return
    for run_id in deleted:
        output.write_line(run_id)
    output.note(f"deleted: {len(deleted)}")


async def _prune(store: "Storage", older_than: timedelta) -> list[str]:
    from loopkit.storage import Maintenance

    assert isinstance(store, Maintenance), "every store that a database URL names has prune"
    deleted: list[str] = []
    while ids := await store.prune(older_than):
        deleted += ids
    return deleted
