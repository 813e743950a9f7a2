"""The commands ``cancel`` and ``retry``."""

import shlex
from functools import partial
from typing import TYPE_CHECKING

from loopkit.core.run import Run, RunStatus
from loopkit_cli import output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.run_ids import find_run_to_change, run_argument
from loopkit_cli.settings import Settings

if TYPE_CHECKING:
    from loopkit.storage import Storage


@command("cancel", examples="loopkit-cli cancel run_06anf0q3n1dbr2wk3gvsm9t8xe")
@run_argument
@pass_settings
def cancel(settings: Settings, run_id: str) -> None:
    """Cancel a run.

    A run that no runner works ends at once, another one at the latest when its current stage ends. Finished artifacts
    stay. RUN is an id, the beginning of one with at least 8 characters after run_, or last.
    """
    run = settings.in_store(partial(_cancel, run_id))
    _write_run(settings, run, run.id)
    if run.status is RunStatus.RUNNING:
        output.note("Cancel requested; the runner of the run will end it. To watch it:")
        output.note(f"  loopkit-cli events {shlex.quote(run.id)} --follow{settings.repeated}")
    else:
        output.note(run.headline)


@command("retry", examples="loopkit-cli retry run_06anf0q3n1dbr2wk3gvsm9t8xe")
@run_argument
@pass_settings
def retry(settings: Settings, run_id: str) -> None:
    """Queue a new run like an ended one.

    It has the same agent, inputs and limits, and a new id, which is printed. RUN is an id, the beginning of one with at
    least 8 characters after run_, or last.
    """
    run = settings.in_store(partial(_retry, run_id))
    _write_run(settings, run, run.id)


async def _cancel(run_id: str, store: "Storage") -> Run:
    return await store.request_cancel((await find_run_to_change(store, run_id)).id)


async def _retry(run_id: str, store: "Storage") -> Run:
    return await store.retry((await find_run_to_change(store, run_id)).id)


def _write_run(settings: Settings, run: Run, text: str) -> None:
    if settings.as_json:
        from loopkit import wire

        output.write_json(wire.run(run))
    else:
        output.write_line(text)
