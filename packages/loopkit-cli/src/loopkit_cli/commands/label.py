"""The command ``label``: the title and tags of a run."""

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from loopkit.core.labels.label_change import KEEP, LabelChange, label_change
from loopkit.core.run import Run
from loopkit.errors import UnusableOption
from loopkit_cli import output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.run_ids import find_run_to_change, run_argument
from loopkit_cli.settings import Settings

if TYPE_CHECKING:
    from loopkit.storage import Storage


@command(
    "label",
    examples="""
        loopkit-cli label last --title "Report of May"
        loopkit-cli label run_06anf0q3n1dbr2wk3gvsm9t8xe --tag weekly --untag draft
        loopkit-cli label last --no-title
    """,
)
@run_argument
@click.option("--title", metavar="T", help="New title, 1 to 200 characters.")
@click.option("--no-title", is_flag=True, help="Take the title away.")
@click.option("--tag", "added", metavar="T", multiple=True, help="Tag to add. May be repeated.")
@click.option("--untag", "removed", metavar="T", multiple=True, help="Tag to take away. May be repeated.")
@pass_settings
def label(settings: Settings, run_id: str, title: str | None, no_title: bool, **tags: Any) -> None:
    """Set title and tags of a run in any state.

    What is not named stays as it is. RUN is an id, the beginning of one with at least 8 characters after run_, or last.
    """
    if no_title and title is not None:
        raise click.UsageError("--title and --no-title exclude each other")
    change = label_change(title=None if no_title else KEEP if title is None else title, **tags)
    if both := sorted({*change.added} & {*change.removed}):
        raise click.UsageError(f"--tag and --untag exclude each other: {output.clean_line(both[0])}")
    run = settings.in_store(partial(_label, run_id, change))
    if settings.as_json:
        from loopkit import wire

        output.write_json(wire.run(run))
        return
    output.write_line(run.id)
    output.note(f"title  {'-' if run.title is None else output.clean_line(run.title)}")
    output.note(f"tags   {output.clean_line(', '.join(run.tags)) or '-'}")


async def _label(run_id: str, change: LabelChange, store: "Storage") -> Run:
    from loopkit.storage import Labelling

    run = await find_run_to_change(store, run_id)
    if not isinstance(store, Labelling):
        raise UnusableOption("the store cannot change titles and tags")
    return await store.label(run.id, change)
