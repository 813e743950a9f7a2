"""The command ``runners``: who works runs, and what waits for them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from loopkit_cli import display_text, output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.settings import Settings

if TYPE_CHECKING:
    from loopkit.fleet import Backlog, RunnerEntry


@command(
    "runners",
    examples="""
        loopkit-cli runners
        loopkit-cli runners --json
    """,
)
@pass_settings
def runners(settings: Settings) -> None:
    """List the runners of the last day, and what waits for them.

    A runner is live, draining (claims no more), late or lost (no heartbeat), or gone (stopped). With --json the
    document is that of GET /api/runners.
    """
    from loopkit import wire
    from loopkit.fleet import read_runner_list

    listing = settings.in_store_for_reads(read_runner_list)
    if settings.as_json:
        output.write_json(wire.document(listing))
        return
    headings = ("RUNNER", "STATE", "BUSY", "RUNS", "VERSION", "STARTED", "SEEN", "AGENTS")
    output.write_table(headings, map(_runner_row, listing.runners))
    waiting = [_backlog_line(backlog) for backlog in listing.backlog if backlog.queued or backlog.stalled]
    output.note("\n".join(waiting) or "no run waits")


def _runner_row(runner: "RunnerEntry") -> tuple[str, ...]:
    return (
        runner.name,
        runner.state.value,
        f"{runner.busy}/{runner.slots}",
        str(len(runner.runs)),
        runner.version,
        display_text.moment(runner.started_at),
        display_text.moment(runner.seen_at),
        ", ".join(runner.agents),
    )


def _backlog_line(backlog: "Backlog") -> str:
    since = ""
    if backlog.oldest_queued_at is not None:
        since = f", the oldest for {display_text.span(datetime.now(UTC) - backlog.oldest_queued_at)}"
    stalled = f", {backlog.stalled} stalled" if backlog.stalled else ""
    return output.clean_line(f"{backlog.agent}: {backlog.queued} queued{since}{stalled}")
