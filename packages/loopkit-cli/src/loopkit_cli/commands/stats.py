"""The command ``stats``: figures of the runs of each agent."""

from typing import TYPE_CHECKING, Final

from loopkit.core.run import RunStatus
from loopkit_cli import output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.settings import Settings

if TYPE_CHECKING:
    from loopkit.fleet import AgentFigures

_STATUSES: Final = (*RunStatus, "stalled")


@command(
    "stats",
    examples="""
        loopkit-cli stats
        loopkit-cli stats --json
    """,
)
@pass_settings
def stats(settings: Settings) -> None:
    """Show figures of the runs of each agent.

    They are runs by status, scores and attempts. Counts stop at 1000; scores and attempts are means of the newest 1000
    ended runs. With --json the document is that of GET /api/stats. Counters that do not stop are in the metrics of
    worker and serve.
    """
    from loopkit import wire
    from loopkit.fleet import read_stats

    figures = settings.in_store_for_reads(read_stats)
    if settings.as_json:
        output.write_json(wire.document(figures))
        return
    headings = ("AGENT", *(status.upper() for status in _STATUSES), "MEAN SCORE", "MEAN ATTEMPTS")
    output.write_table(headings, map(_row, figures.agents))


def _row(figures: "AgentFigures") -> tuple[str, ...]:
    counts = (_count(figures.counts.get(status, 0)) for status in _STATUSES)
    return figures.agent, *counts, _mean(figures.mean_score), _mean(figures.mean_attempts)


def _count(number: int) -> str:
    return f"{number}+" if number >= 1000 else str(number)


def _mean(number: float | None) -> str:
    return "-" if number is None else f"{number:.2f}"
