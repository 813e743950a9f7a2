"""The list of runs: its rows, its chips, and the address of every other view of it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from loopkit.core.run import Run, RunStatus
from loopkit.storage import Order, Overview, RunPage, RunQuery, Trajectory
from loopkit_web.rendering import charts, words
from loopkit_web.views.fleet import holder
from loopkit_web.views.status import Status, status_of

__all__ = ["ORDERS", "RANGES", "Filters", "ListView", "Row", "list_view"]

RANGES: Final[Mapping[str, tuple[str, timedelta]]] = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(days=1)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
}
ORDERS: Final[Mapping[Order, str]] = {
    Order.CREATED: "Newest first",
    Order.CREATED_ASC: "Oldest first",
    Order.COMPLETED: "Ended last",
    Order.SCORE: "Highest score",
    Order.DURATION: "Longest",
}
_CHIPS: Final = ("running", "queued", "passed", "failed", "cancelled")


@attrs.frozen(kw_only=True)
class Filters:
    """What the address of the list says; every parameter in it is text."""

    status: str | None = None
    """A status, or ``attention``."""
    agent: str | None = None
    range: str | None = None
    q: str | None = None
    order: str | None = None
    cursor: str | None = None
    part: str | None = None
    """``rows``: what changes while the page is open, and nothing around it."""

    def query(self, now: datetime) -> RunQuery:
        """Give what the store is asked; what nobody knows is left out."""
        known = {status.value for status in RunStatus}
        span = RANGES.get(self.range or "")
        return RunQuery(
            statuses=frozenset({RunStatus(self.status)} if self.status in known else ()),
            stalled=self.status == "attention",
            agent=self.agent or None,
            created_since=now - span[1] if span else None,
            text=self.q.strip() if self.q else None,
            order=self.sort,
            cursor=self.cursor,
            limit=50,
        )

    @property
    def sort(self) -> Order:
        return Order(self.order) if self.order in set(Order) else Order.CREATED

    def address(self, **changes: str | None) -> str:
        """Give the path of the list with these parameters changed, back on its first page."""
        changed = attrs.asdict(attrs.evolve(self, **{"cursor": None, "part": None, **changes}))
        query = urlencode({name: value for name, value in changed.items() if value})
        return f"/agents?{query}" if query else "/agents"

    @property
    def are_any(self) -> bool:
        return bool(self.status or self.agent or self.range or self.q)


@attrs.frozen(kw_only=True)
class Row:
    """One run in the list."""

    run: Run
    status: Status
    second: str
    """The line below the status, without its time."""
    since: datetime | None
    """What the second line's time counts from."""
    subject: str
    spark: charts.Spark
    host: str
    process: str
    duration: timedelta | None
    """Of an ended run."""
    updated: datetime


@attrs.frozen(kw_only=True)
class Chip:
    """One status to filter by."""

    name: str | None
    words: str
    kind: str | None
    count: int
    is_current: bool
    path: str


@attrs.frozen(kw_only=True)
class ListView:
    """The whole list."""

    filters: Filters
    chips: tuple[Chip, ...]
    rows: tuple[Row, ...]
    next_path: str | None
    total: int
    """Of all runs, 1,000 of each status at most."""
    agents: tuple[str, ...]
    is_live: bool
    """Something on it is at work or waits."""

    @property
    def days(self) -> Iterator[tuple[date | None, list[Row]]]:
        """The rows by the day they were made, where the list is in that order."""
        by_day = self.filters.sort in (Order.CREATED, Order.CREATED_ASC)
        group: list[Row] = []
        current: date | None = None
        for row in self.rows:
            day = row.run.created_at.astimezone(UTC).date() if by_day else None
            if group and day != current:
                yield current, group
                group = []
            current = day
            group.append(row)
        if group:
            yield current, group


def list_view(
    filters: Filters,
    page: RunPage,
    trajectories: Mapping[str, Trajectory],
    overview: Overview,
    agents: Sequence[str],
    served: frozenset[str] | None,
) -> ListView:
    """Put together what the list shows.

    Args:
        agents: the names of the configured agents; those that have runs are added.
        served: the agents that a living runner serves; None where that is not known.
    """
    counts = overview.counts
    rows = tuple(_row(run, trajectories.get(run.id), served) for run in page.runs)
    names = dict.fromkeys([*agents, *(one.agent for one in overview.agents)])
    total = sum(count for status, count in counts.items() if status != "stalled")
    return ListView(
        filters=filters,
        chips=tuple(_chips(filters, counts, total)),
        rows=rows,
        next_path=filters.address(cursor=page.next_cursor) if page.next_cursor else None,
        total=total,
        agents=tuple(names),
        is_live=any(not row.run.ended for row in rows),
    )


def _chips(filters: Filters, counts: Mapping[str, int], total: int) -> Iterator[Chip]:
    yield _chip(filters, None, "All", None, total)
    if counts.get("stalled", 0) or filters.status == "attention":
        yield _chip(filters, "attention", "Needs attention", "stalled", counts.get("stalled", 0))
    for name in _CHIPS:
        yield _chip(filters, name, name.title(), name, counts.get(name, 0))


def _chip(filters: Filters, name: str | None, text: str, kind: str | None, count: int) -> Chip:
    is_current = (filters.status or None) == name
    return Chip(name=name, words=text, kind=kind, count=count, is_current=is_current, path=filters.address(status=name))


def _row(run: Run, trajectory: Trajectory | None, served: frozenset[str] | None) -> Row:
    second, since = _second_line(run, served)
    host, process = holder(run)
    ended = run.started_at and run.completed_at
    return Row(
        run=run,
        status=status_of(run),
        second=second,
        since=since,
        subject=words.subject(run.inputs),
        spark=charts.spark(run, dict(trajectory.scores) if trajectory else {}),
        host=host,
        process=process,
        duration=run.completed_at - run.started_at if ended else None,  # type: ignore[operator]
        updated=run.completed_at or run.last_seen_at,
    )


def _second_line(run: Run, served: frozenset[str] | None) -> tuple[str, datetime | None]:
    """Give the context of a status in a few words, and the time it counts from."""
    status = status_of(run).kind
    if status == "stalled":
        return "No heartbeat", run.last_seen_at
    if status == "cancelling":
        return f"After this {_STAGES.get(run.current_stage or '', 'stage')}", None
    if status == "running":
        return (run.current_stage or "working").capitalize(), None
    if status == "queued":
        return "No runner for it" if served is not None and run.agent_name not in served else "Waiting its turn", None
    if status == "passed":
        return f"On attempt {run.best_attempt or run.current_attempt}", None
    if status == "cancelled":
        return f"In attempt {run.current_attempt}" if run.started_at else "Before it began", None
    if run.error_message:
        return words.shorten(run.error_message, 26), None
    return ("The only attempt used" if run.max_attempts == 1 else f"All {run.max_attempts} attempts used"), None


_STAGES: Final[Mapping[Any, str]] = {"producing": "output", "evaluating": "evaluation", "revising": "revision"}
