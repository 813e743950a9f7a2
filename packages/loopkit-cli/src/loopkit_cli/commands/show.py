"""The command ``show``: one run."""

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from loopkit.core.journal import EventType, RunEvent
from loopkit.core.run import Run
from loopkit_cli import display_text, output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.run_ids import find_run, run_argument
from loopkit_cli.settings import Settings

if TYPE_CHECKING:
    from loopkit.storage import Storage


@command(
    "show",
    examples="""
        loopkit-cli show last
        loopkit-cli show run_06anf0q3n1dbr2wk3gvsm9t8xe --json
    """,
)
@run_argument
@pass_settings
def show(settings: Settings, run_id: str) -> None:
    """Show one run: its status, score and inputs.

    Of a run whose stage failed the traceback is shown as well. RUN is an id, the unique beginning of one, or last.
    """
    from loopkit import wire
    from loopkit.core import strict_json

    run, failure = settings.in_store_for_reads(partial(_read, run_id))
    if settings.as_json:
        output.write_json(wire.run(run))
        return
    for name, value in display_text.facts(run, datetime.now(UTC)):
        output.write_line(f"{name:<11} {value}")
    for name, value in strict_json.mapping(run.inputs).items():
        text = value if isinstance(value, str) else strict_json.dumps(value)
        output.write_line(
            f"{'input':<11} {name} = {output.shorten(output.clean_line(text), display_text.MAX_FEEDBACK)}"
        )
    for line in display_text.traceback_lines(failure):
        output.write_line(line)


async def _read(run_id: str, store: "Storage") -> tuple[Run, RunEvent | None]:
    """Read a run and the event of the error that ended it, if one did."""
    from loopkit.journal_reader import read_events

    run = await find_run(store, run_id)
    failure = None
    if run.error_message is not None:
        async for event in read_events(store, run.id):
            failure = event if event.event_type is EventType.ERROR else failure
    return run, failure
