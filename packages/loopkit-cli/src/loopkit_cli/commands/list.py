"""The command ``list``: the runs of a database, newest first."""

from datetime import UTC, datetime
from typing import Final

import click

from loopkit.core.run import EndReason, Run, RunStatus
from loopkit.stores.text_cuts import is_cut_id
from loopkit_cli import display_text, output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.settings import Settings
from loopkit_cli.usable_agents import complete_agent

MAX_TITLE: Final = 60
"""Most characters of a title in the table, and of an id that is not whole."""


@command(
    "list",
    examples="""
        loopkit-cli list
        loopkit-cli list --status running --agent brief
        loopkit-cli list --tag weekly --tag urgent
        loopkit-cli list --reason stage_error
        loopkit-cli list --limit 200 --json
    """,
)
@click.option(
    "--status",
    metavar="S",
    type=click.Choice(list(RunStatus), case_sensitive=False),
    help="Only runs in this status: queued, running, passed, failed or cancelled.",
)
@click.option(
    "--reason",
    metavar="R",
    type=click.Choice(list(EndReason), case_sensitive=False),
    help=f"Only runs that ended for this reason: {', '.join(EndReason)}.",
)
@click.option("--tag", "tags", metavar="T", multiple=True, help="Only runs with this tag. May be repeated: with all.")
@click.option("--agent", metavar="A", shell_complete=complete_agent, help="Only runs of this agent.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, 200),
    default=50,
    show_default=True,
    help="Most runs to list, at most 200.",
)
@click.option("--cursor", metavar="C", help="Continue after the previous page.")
@pass_settings
def list_(
    settings: Settings,
    status: RunStatus | None,
    reason: EndReason | None,
    tags: tuple[str, ...],
    agent: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List runs, newest first."""
    from loopkit import wire
    from loopkit.storage import RunQuery

    statuses = frozenset[RunStatus]() if status is None else frozenset({status})
    query = RunQuery(
        statuses=statuses,
        reason=reason,
        tags=tuple(tag.strip() for tag in tags if tag.strip()),
        agent=agent or None,
        limit=limit,
        cursor=cursor or None,
    )
    page = settings.in_store_for_reads(lambda store: store.list_runs(query))
    if settings.as_json:
        output.write_json({"runs": [wire.run(run) for run in page.runs], "nextCursor": page.next_cursor})
        return
    now = datetime.now(UTC)
    is_labelled = any(map(_labels, page.runs))
    headings = ("RUN", "AGENT", "STATUS", "CYCLE", "CREATED", "WORKED FOR", *(["TITLE"] if is_labelled else []))
    output.write_table(headings, ((*_row(run, now), *([_labels(run)] if is_labelled else [])) for run in page.runs))
    if page.next_cursor is not None:
        output.note(f"There are more runs: add --cursor {page.next_cursor} to the same command")


def _row(run: Run, now: datetime) -> tuple[str, ...]:
    created = display_text.moment(run.created_at)
    run_id = output.shorten(run.id, MAX_TITLE) if is_cut_id(run.id) else run.id
    return run_id, run.agent_name, run.headline, run.cycle_id, created, display_text.duration(run, now)


def _labels(run: Run) -> str:
    """Return the title and the tags of a run as one text: ``Report of May  #weekly``; empty without any."""
    tags = " ".join(f"#{tag}" for tag in run.tags)
    return "  ".join(text for text in (output.shorten(run.title or "", MAX_TITLE), tags) if text)
