"""List of runs: its rows, its status filters, and the URL of every other view of it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Any, Final
from urllib.parse import urlencode

import attrs

from loopkit.core.labels.label_text import MAX_TAGS, MAX_TITLE_CHARS
from loopkit.core.run import EndReason, Run, RunStatus, Stage
from loopkit.storage import Order, Overview, RunPage, RunQuery, Trajectory
from loopkit_web.dashboard.markup import charts, display_text
from loopkit_web.dashboard.markup.run_link import RunLink, run_link
from loopkit_web.dashboard.markup.text_allowance import TextAllowance
from loopkit_web.dashboard.views.runners_view import host_and_pid
from loopkit_web.dashboard.views.status import Status, StatusKind, status_kind, status_of
from loopkit_web.dashboard.views.usage_view import usage_text

__all__ = ["ATTENTION", "ORDERS", "RANGES", "REASONS", "Filters", "RunListView", "RunRow", "run_list_view"]

ATTENTION: Final = "attention"
"""Value of the status filter that selects stalled runs."""
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
REASONS: Final[Mapping[EndReason, str]] = {
    EndReason.SCORE_PASSED: "The score passed",
    EndReason.ATTEMPTS_SPENT: "Attempts used up",
    EndReason.PLATEAU: "Scores stopped rising",
    EndReason.REPEATED_OUTPUT: "Output repeated",
    EndReason.BUDGET_EXHAUSTED: "Budget spent",
    EndReason.STAGE_ERROR: "A stage failed",
    EndReason.RUNNER_LOST: "Runners lost",
    EndReason.CANCEL_REQUESTED: "Cancelled",
}
_PAGE_SIZE: Final = 50
_MAX_REASON: Final = 240
_MAX_CHARS: Final = 1_000
"""Characters of each text of a run that are read: its subject has at most 90."""
_MAX_ID_BYTES: Final = 200_000
"""Bytes that the ids of all runs may take in a page; runs beyond are shown without a link."""
_MAX_AGENTS: Final = 200
"""Most agents to filter by."""
_MAX_NAME: Final = 200
"""Characters of the name of an agent to filter by; none with a longer name is offered."""
_CHIPS: Final = (
    StatusKind.RUNNING,
    StatusKind.QUEUED,
    StatusKind.PASSED,
    StatusKind.FAILED,
    StatusKind.CANCELLED,
)
_STAGE_RESULTS: Final[Mapping[Stage | None, str]] = {
    Stage.PRODUCING: "output",
    Stage.EVALUATING: "evaluation",
    Stage.REVISING: "revision",
}


@attrs.frozen(kw_only=True)
class Filters:
    """Query of the list. Every parameter is text; an unknown value is ignored."""

    status: str | None = None
    """A status, or ``attention``."""
    agent: str | None = None
    range: str | None = None
    q: str | None = None
    order: str | None = None
    tag: tuple[str, ...] = ()
    """Tags that a run must have, all of them."""
    reason: str | None = None
    """Reason for which the runs ended."""
    cursor: str | None = None
    part: str | None = None
    """Set to fetch only the parts of the page that change while it is open."""

    def query(self, now: datetime) -> RunQuery:
        """Return the query for the store, without values that are not known."""
        known = {status.value for status in RunStatus}
        span = RANGES.get(self.range or "")
        return RunQuery(
            statuses=frozenset({RunStatus(self.status)} if self.status in known else ()),
            stalled=self.status == ATTENTION,
            agent=self.agent or None,
            created_since=now - span[1] if span else None,
            text=self.q.strip() if self.q else None,
            order=self.sort,
            tags=self.tags,
            reason=EndReason(self.reason) if self.reason in set(EndReason) else None,
            cursor=self.cursor,
            limit=_PAGE_SIZE,
            max_chars=_MAX_CHARS,
        )

    @property
    def sort(self) -> Order:
        return Order(self.order) if self.order in set(Order) else Order.CREATED

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags, trimmed and each once."""
        return tuple(dict.fromkeys(tag.strip() for tag in self.tag if tag.strip()))[:MAX_TAGS]

    def without_tag(self, tag: str) -> str:
        """Return the path of the list that is not filtered by one of the tags."""
        return self.path(tag=tuple(other for other in self.tags if other != tag))

    def path(self, **changes: Any) -> str:
        """Return the path of the list with these parameters changed, on its first page."""
        changed = attrs.asdict(attrs.evolve(self, **{"cursor": None, "part": None, "tag": self.tags, **changes}))
        query = urlencode({name: value for name, value in changed.items() if value}, doseq=True)
        return f"/agents?{query}" if query else "/agents"

    @property
    def is_filtered(self) -> bool:
        return bool(self.status or self.is_narrowed)

    @property
    def is_narrowed(self) -> bool:
        """True if more than the status is filtered, so that the counts of all runs say nothing about the list."""
        return bool(self.agent or self.range or self.q or self.tags or self.reason)


@attrs.frozen(kw_only=True)
class RunRow:
    """One run in the list."""

    run: Run
    link: RunLink
    element_id: str
    """Id of the row in the page, the same as long as the run is."""
    status: Status
    detail: str
    """Text below the status, without its time."""
    detail_since: datetime | None
    """Start of the duration shown after the detail."""
    reason: str
    """Beginning of the error that ended the run; "" for a run that did not end so."""
    title: str
    """Title of the run; "" without one."""
    tags: tuple[tuple[str, str], ...]
    """Each tag, with the path of the list of the runs that have it."""
    subject: str
    spark: charts.Spark
    host: str
    pid: str
    duration: timedelta | None
    """Duration of an ended run."""
    updated_at: datetime

    @property
    def usage(self) -> str:
        """Tokens and money in a few words; "" for a run without model calls."""
        return usage_text(self.run)

    @property
    def usd(self) -> str:
        """Price of the priced calls; a dash when none is."""
        return "–" if self.run.cost_nanos is None else f"{display_text.usd(self.run.cost_nanos)} usd"

    @property
    def tokens(self) -> str:
        """Tokens of all calls."""
        return f"{self.run.spending.tokens:,} tokens"


@attrs.frozen(kw_only=True)
class Chip:
    """One status to filter by."""

    name: str | None
    """Value of the filter; None for all runs."""
    label: str
    kind: StatusKind | None
    """Symbol; None for all runs."""
    count: int | None
    """Number of these runs; None where it is not known, since other filters narrow the list."""
    is_current: bool
    path: str


@attrs.frozen(kw_only=True)
class RunListView:
    """Page of the list."""

    filters: Filters
    chips: tuple[Chip, ...]
    rows: tuple[RunRow, ...]
    next_path: str | None
    total: int
    """Number of all runs, with at most 1,000 of each status counted."""
    agents: tuple[str, ...]
    is_live: bool
    """True if a run on the page has not ended."""

    @property
    def has_usage(self) -> bool:
        """True if a run on the page has model calls."""
        return any(row.usage for row in self.rows)

    @property
    def days(self) -> Iterator[tuple[date | None, list[RunRow]]]:
        """Rows grouped by the day (UTC) of their creation; one group, without a day, in any other order."""
        by_day = self.filters.sort in (Order.CREATED, Order.CREATED_ASC)
        group: list[RunRow] = []
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


def run_list_view(
    filters: Filters,
    page: RunPage,
    trajectories: Mapping[str, Trajectory],
    overview: Overview,
    agents: Sequence[str],
    served: frozenset[str] | None,
) -> RunListView:
    """Return a page of the list.

    Args:
        agents: names of the configured agents; names of agents that have runs are added.
        served: names of the agents that a runner serves. None: this is not known.
    """
    counts = overview.counts
    allowance = TextAllowance(_MAX_ID_BYTES)
    links = [run_link(run.id, allowance) for run in page.runs]
    rows = tuple(
        _row(run, link, element_id, trajectories.get(run.id) if link.is_whole else None, served)
        for run, link, element_id in zip(page.runs, links, _element_ids(page.runs, links), strict=True)
    )
    names = dict.fromkeys([*agents, *(agent.agent for agent in overview.agents)])
    total = sum(count for status, count in counts.items() if status != StatusKind.STALLED)
    return RunListView(
        filters=filters,
        chips=tuple(_chips(filters, counts, total)),
        rows=rows,
        next_path=filters.path(cursor=page.next_cursor) if page.next_cursor else None,
        total=total,
        agents=tuple(islice((name for name in names if len(name) <= _MAX_NAME), _MAX_AGENTS)),
        is_live=any(not row.run.ended for row in rows),
    )


def _chips(filters: Filters, counts: Mapping[str, int], total: int) -> Iterator[Chip]:
    yield _chip(filters, None, "All", None, total)
    stalled = counts.get(StatusKind.STALLED, 0)
    if stalled or filters.status == ATTENTION:
        yield _chip(filters, ATTENTION, "Needs attention", StatusKind.STALLED, stalled)
    for kind in _CHIPS:
        yield _chip(filters, kind.value, kind.title(), kind, counts.get(kind, 0))


def _chip(filters: Filters, name: str | None, label: str, kind: StatusKind | None, count: int) -> Chip:
    return Chip(
        name=name,
        label=label,
        kind=kind,
        count=None if filters.is_narrowed else count,
        is_current=(filters.status or None) == name,
        path=filters.path(status=name),
    )


def _element_ids(runs: Sequence[Run], links: Sequence[RunLink]) -> Iterator[str]:
    """Yield an id for the row of each run; ids of runs may be cut, and then begin alike."""
    alike: Counter[str] = Counter()
    for run, link in zip(runs, links, strict=True):
        if link.is_whole:
            yield f"r-{run.id}"
            continue
        digest = sha256(f"{run.id}{run.created_at}".encode("utf-8", "replace")).hexdigest()[:16]
        alike[digest] += 1
        yield f"u-{digest}-{alike[digest]}"


def _row(
    run: Run, link: RunLink, element_id: str, trajectory: Trajectory | None, served: frozenset[str] | None
) -> RunRow:
    detail, detail_since = _detail(run, served)
    host, pid = host_and_pid(run)
    ended = run.started_at and run.completed_at
    return RunRow(
        run=run,
        link=link,
        element_id=element_id,
        status=status_of(run),
        detail=detail,
        detail_since=detail_since,
        reason=display_text.shorten(run.error_message or "", _MAX_REASON) if run.ended else "",
        title=display_text.shorten(run.title or "", MAX_TITLE_CHARS),
        tags=tuple((tag, Filters(tag=(tag,)).path()) for tag in run.tags),
        subject=display_text.subject(run.inputs),
        spark=charts.spark(run, dict(trajectory.scores) if trajectory else {}),
        host=host,
        pid=pid,
        duration=run.completed_at - run.started_at if ended else None,  # type: ignore[operator]
        updated_at=run.completed_at or run.last_seen_at,
    )


def _detail(run: Run, served: frozenset[str] | None) -> tuple[str, datetime | None]:
    """Return the context of a status in a few words, and the time that its duration counts from."""
    if status_kind(run) is StatusKind.STALLED:
        return "No heartbeat", run.last_seen_at
    return _detail_text(run, served), None


def _detail_text(run: Run, served: frozenset[str] | None) -> str:
    match status_kind(run):
        case StatusKind.CANCELLING:
            return f"After this {_STAGE_RESULTS.get(run.current_stage, 'stage')}"
        case StatusKind.RUNNING:
            return (run.current_stage or "working").capitalize()
        case StatusKind.QUEUED:
            return "No runner serves it" if served is not None and run.agent_name not in served else "Waiting"
        case StatusKind.PASSED:
            return f"On attempt {run.best_attempt or run.current_attempt}"
        case StatusKind.CANCELLED:
            return f"In attempt {run.current_attempt}" if run.started_at else "Before it started"
        case _ if run.error_message:
            return f"In attempt {run.current_attempt}"
        case _:
            return "The only attempt used" if run.max_attempts == 1 else f"All {run.max_attempts} attempts used"
