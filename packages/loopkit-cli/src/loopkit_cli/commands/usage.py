"""The command ``usage``: the model calls of a run, with their tokens and prices."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from loopkit.core.ledger.calls import StoredCall
from loopkit.core.run import Run
from loopkit_cli import display_text, output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.run_ids import find_run, run_argument
from loopkit_cli.settings import Settings

if TYPE_CHECKING:
    from loopkit.storage import Storage

_HEADINGS = ("STAGE", "ATTEMPT", "JUDGE", "TRY", "MODEL", "IN", "OUT", "CACHED", "USD", "SECONDS", "STATE", "CREATED")


@command(
    "usage",
    examples="""
        loopkit-cli usage last
        loopkit-cli usage run_06anf0q3n1dbr2wk3gvsm9t8xe --json
    """,
)
@run_argument
@pass_settings
def usage(settings: Settings, run_id: str) -> None:
    """List the model calls of a run and what they cost.

    RUN is an id, the unique beginning of one, or last. A price that is not known is a dash. With --json the document is
    that of GET /api/workflow-usage.
    """
    from loopkit import wire

    run, calls = settings.in_store_for_reads(partial(_read, run_id))
    if settings.as_json:
        total = wire.usage(run.usage)
        output.write_json({"calls": [wire.document(wire.usage_call(call)) for call in calls], "total": total})
        return
    output.write_table(_HEADINGS, map(_call_row, calls))
    output.note(display_text.usage(run) or "no model call is booked")


async def _read(run_id: str, store: "Storage") -> tuple[Run, Sequence[StoredCall]]:
    from loopkit.storage import Ledger

    run = await find_run(store, run_id)
    return run, await store.list_calls(run.id) if isinstance(store, Ledger) else []


def _call_row(call: StoredCall) -> tuple[str, ...]:
    judge = call.judge or "-"
    return (
        call.stage.value,
        str(call.attempt),
        judge if call.sample is None else f"{judge} {call.sample}",
        str(call.try_number),
        call.model or "-",
        _count(call.input_tokens),
        _count(call.output_tokens),
        _count(call.cached_tokens),
        "-" if call.cost_nanos is None else display_text.usd(call.cost_nanos),
        "-" if call.seconds is None else f"{call.seconds:.1f}",
        call.state.value,
        display_text.moment(call.created_at),
    )


def _count(tokens: int | None) -> str:
    return "-" if tokens is None else str(tokens)
