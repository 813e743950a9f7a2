"""The command ``events``: the journal of a run."""

from functools import partial
from typing import TYPE_CHECKING

import click

from loopkit_cli import display_text, output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.run_ids import find_run, run_argument
from loopkit_cli.settings import Settings

if TYPE_CHECKING:
    from loopkit.storage import Storage


@command(
    "events",
    examples="""
        loopkit-cli events run_06anf0q3n1dbr2wk3gvsm9t8xe
        loopkit-cli events last --follow
    """,
)
@run_argument
@click.option("--follow", "following", is_flag=True, help="Wait for further events until the run has ended.")
@pass_settings
def events(settings: Settings, run_id: str, following: bool) -> None:
    """Show the journal of a run, oldest first.

    RUN is an id, the unique beginning of one, or last.
    """
    settings.in_store_for_reads(partial(_follow if following else _events, settings, run_id))


async def _events(settings: Settings, run_id: str, store: "Storage") -> None:
    from loopkit import wire
    from loopkit.journal_reader import read_events

    run = await find_run(store, run_id)
    journal_events = [event async for event in read_events(store, run.id)]
    if settings.as_json:
        output.write_json({"events": [wire.event(event) for event in journal_events]})
        return
    for event in journal_events:
        output.write_line(display_text.event(event))


async def _follow(settings: Settings, run_id: str, store: "Storage") -> None:
    from loopkit import wire
    from loopkit.journal_reader import follow

    run = await find_run(store, run_id)
    async for event in follow(store, run.id):
        if settings.as_json:
            output.write_json_line(wire.event(event))
        else:
            output.write_line(display_text.event(event))
