"""The command ``submit``: queue runs."""

from typing import Any, Final

import click

from loopkit_cli import output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.new_run_options import NewRunOptions, new_run_options
from loopkit_cli.settings import Settings
from loopkit_cli.usable_agents import complete_agent

MAX_KEY_CHARS: Final = 255
"""Longest key, as over HTTP."""


@command(
    "submit",
    examples="""
        loopkit-cli submit hello --input name=World
        loopkit-cli submit brief --batch documents.jsonl --max-attempts 5
        loopkit-cli submit brief --input document=@report.md --title "Report of May" --tag weekly
        generate-inputs | loopkit-cli submit brief --batch - --json
    """,
)
@click.argument("agent_name", metavar="AGENT", shell_complete=complete_agent)
@new_run_options
@click.option("--batch", metavar="FILE", help="Queue one run for each line: a JSON object with its inputs; - is stdin.")
@click.option(
    "--idempotency-key",
    "key",
    metavar="K",
    help="Queue the run once: the same request with the same key prints the same run.",
)
@pass_settings
def submit(settings: Settings, agent_name: str, batch: str | None, key: str | None, **options: Any) -> None:
    """Queue runs of AGENT for workers.

    Their ids are printed, one a line. Either all lines of a batch are queued or none; blank lines are skipped, and
    --input is added to every line and wins over it.
    """
    wanted = NewRunOptions(**options)
    if batch is not None and wanted.source is not None:
        raise click.UsageError("--batch and --inputs both give the inputs: use one of them")
    _check_key(key, batch)
    agent = settings.agent(agent_name)
    new = [wanted.to_run(agent, key=key)] if batch is None else wanted.to_batch(agent, batch)
    runs = settings.in_store(lambda store: store.submit(new))
    if not runs:
        output.note(f"no run was queued: --batch {batch} has no lines with inputs")
    if settings.as_json:
        from loopkit import wire

        output.write_json({"runs": [wire.run(run) for run in runs]})
        return
    for run in runs:
        output.write_line(run.id)


def _check_key(key: str | None, batch: str | None) -> None:
    if key is None:
        return
    if batch is not None:
        raise click.UsageError("--idempotency-key is for one run: leave out --batch")
    if not (1 <= len(key) <= MAX_KEY_CHARS and key.isascii() and key.isprintable()):
        raise click.UsageError(f"--idempotency-key must be 1 to {MAX_KEY_CHARS} printable ASCII characters")
