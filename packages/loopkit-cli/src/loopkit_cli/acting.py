"""The commands that act on what is stored: cancel, retry, verify, prune, copy; and shell completion."""

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from loopkit.core.run import Run, RunStatus
from loopkit_cli import exits, output
from loopkit_cli.options import Age, Settings, command, pass_settings

if TYPE_CHECKING:
    from loopkit.storage import Storage


@command("cancel", examples="loopkit-cli cancel run_06anf0q3n1dbr2wk3gvsm9t8xe")
@click.argument("run_id", metavar="RUN")
@pass_settings
def cancel(settings: Settings, run_id: str) -> None:
    """Cancel a run.

    It ends at once when nobody works it, else when its stage has ended at the latest. What it made stays.
    """
    run = settings.in_store(lambda store: store.request_cancel(run_id))
    _tell_run(settings, run, run.id)
    if run.status is RunStatus.RUNNING:
        output.note("Cancel requested; its runner ends it. Watch it:")
        output.note(f"  loopkit-cli events {run.id} --follow{settings.repeated}")
    else:
        output.note(run.headline)


@command("retry", examples="loopkit-cli retry run_06anf0q3n1dbr2wk3gvsm9t8xe")
@click.argument("run_id", metavar="RUN")
@pass_settings
def retry(settings: Settings, run_id: str) -> None:
    """Queue a new run like an ended one.

    It has the same agent, inputs and limits, and an id of its own, which is printed.
    """
    run = settings.in_store(lambda store: store.retry(run_id))
    _tell_run(settings, run, run.id)


def _tell_run(settings: Settings, run: Run, text: str) -> None:
    if settings.as_json:
        from loopkit import wire

        output.write_json(wire.run(run))
    else:
        output.write_line(text)


@command("verify", examples="loopkit-cli verify --database postgresql://loopkit@db.example/loopkit")
@pass_settings
def verify(settings: Settings) -> int:
    """Check the invariants of the database.

    Each violation is a line; the exit status is 1 if there is one.
    """
    found = settings.in_store(lambda store: store.check())
    if settings.as_json:
        violations = [{"rule": one.rule, "runId": one.run_id, "detail": one.detail} for one in found]
        output.write_json({"violations": violations})
    else:
        for one in found:
            output.write_line(f"{one.rule}  {one.run_id or '-'}  {one.detail}")
        output.note(f"violations: {len(found)}")
    return exits.REFUSED if found else exits.DONE


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
    help="How long ago a run must have ended: a number with s, m, h, d or w, e.g. 30d.",
)
@pass_settings
def prune(settings: Settings, older_than: timedelta) -> None:
    """Delete old runs that have ended.

    Each goes for good and whole, with its events and artifacts. Their ids are printed.
    """
    deleted = settings.in_store(lambda store: _prune(store, older_than))
    if settings.as_json:
        output.write_json({"deleted": deleted})
        return
    for run_id in deleted:
        output.write_line(run_id)
    output.note(f"deleted: {len(deleted)}")


async def _prune(store: "Storage", older_than: timedelta) -> list[str]:
    from loopkit.storage import Maintenance

    assert isinstance(store, Maintenance), "every store of a database URL keeps itself small"
    deleted: list[str] = []
    while gone := await store.prune(older_than):
        deleted += gone
    return deleted


@command(
    "completion",
    examples="""
        loopkit-cli completion bash >> ~/.bashrc
        loopkit-cli completion zsh >> ~/.zshrc
        loopkit-cli completion fish > ~/.config/fish/completions/loopkit-cli.fish
    """,
)
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@pass_settings
def completion(_: Settings, shell: str) -> None:
    """Print the completion script of a shell.

    SHELL is bash, zsh or fish. It completes commands, options and the names of agents.
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root()
    complete = get_completion_class(shell)
    assert complete is not None
    assert root.info_name is not None
    click.echo(complete(root.command, {}, root.info_name, "_LOOPKIT_CLI_COMPLETE").source())
