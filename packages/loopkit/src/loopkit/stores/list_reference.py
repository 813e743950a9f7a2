"""Lists and figures over runs as values: the readable reference of what the SQL queries return."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from loopkit.core.labels.words import Words
from loopkit.core.run import Run, RunStatus
from loopkit.storage import AgentOverview, AgentStats, Order, Overview, RunPage, RunQuery
from loopkit.stores.cursors import NEWEST, clamp_runs, make_cursor, read_cursor
from loopkit.stores.text_cuts import MAX_ID_CHARS, MAX_NAME_CHARS

__all__ = ["matches", "overview", "page", "sort_key", "stats"]


def page(runs: Iterable[Run], query: RunQuery) -> RunPage:
    """Return the page of ``runs`` that ``query`` asks for."""
    matching = [run for run in runs if matches(run, query)]
    matching.sort(key=lambda run: (run.created_at, run.id), reverse=True)
    if query.order in (Order.SCORE, Order.DURATION):
        matching = matching[:NEWEST]
    keyed = sorted(
        ((key, run.id, run) for run in matching if (key := sort_key(run, query.order)) is not None),
        key=lambda item: item[:2],
        reverse=query.order is not Order.CREATED_ASC,
    )
    if query.cursor is not None:
        place = read_cursor(query.cursor, query.order)
        ascending = query.order is Order.CREATED_ASC
        keyed = [item for item in keyed if (item[:2] > place if ascending else item[:2] < place)]
        keyed = [item for item in keyed if (item[0], item[1][:MAX_ID_CHARS]) != place]
    limit = clamp_runs(query.limit)
    shown = keyed[:limit]
    more = len(keyed) > limit
    return RunPage(
        runs=tuple(run for _, _, run in shown),
        next_cursor=make_cursor(query.order, shown[-1][0], shown[-1][1]) if more else None,
    )


def matches(run: Run, query: RunQuery) -> bool:
    """Return True when a run passes every filter of the query."""
    return (
        (not query.statuses or run.status in query.statuses)
        and (not query.agent or run.agent_name == query.agent)
        and (query.created_since is None or run.created_at >= query.created_since)
        and (query.created_before is None or run.created_at < query.created_before)
        and (not query.text or _has_text(run, query.text))
        and (not query.stalled or run.stalled)
        and {*query.tags} <= {*run.tags}
        and (query.reason is None or run.end_reason == query.reason)
    )


def _has_text(run: Run, text: str) -> bool:
    if any(each.startswith(text) for each in (run.id, run.cycle_id, run.agent_name, *run.tags)):
        return True
    return Words(text).is_in_any([*run.tags, *([] if run.title is None else [run.title])])


def sort_key(run: Run, order: Order) -> float | None:
    """Return the key to sort by: milliseconds for times and durations, the score itself; None leaves the run out."""
    match order:
        case Order.CREATED | Order.CREATED_ASC:
            return _milliseconds(run.created_at)
        case Order.COMPLETED:
            return None if run.completed_at is None else _milliseconds(run.completed_at)
        case Order.SCORE:
            return run.final_score
        case Order.DURATION:
            if run.started_at is None or run.completed_at is None:
                return None
            return _milliseconds(run.completed_at) - _milliseconds(run.started_at)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def overview(runs: Sequence[Run]) -> Overview:
    """Return the number of ``runs`` by status, and the backlog of every agent in them."""
    agents = [_overview(name, runs_of_agent) for name, runs_of_agent in _by_agent(runs)]
    return Overview(counts=_counts(runs), agents=tuple(agents))


def _by_agent(runs: Sequence[Run]) -> Iterator[tuple[str, list[Run]]]:
    """Yield the name and the runs of every agent, by name; of none whose name is too long."""
    for name in sorted({run.agent_name for run in runs}):
        if len(name) <= MAX_NAME_CHARS:
            yield name, [run for run in runs if run.agent_name == name]


def _overview(agent: str, runs: list[Run]) -> AgentOverview:
    counts = _counts(runs)
    ended = [run for run in runs if run.completed_at and run.status in (RunStatus.PASSED, RunStatus.FAILED)]
    last = max(ended, key=lambda run: (run.completed_at, run.id), default=None)
    return AgentOverview(
        agent=agent,
        queued=counts.get("queued", 0),
        stalled=counts.get("stalled", 0),
        oldest_queued_at=_oldest_queued(runs),
        last_score=last.final_score if last else None,
    )


def _counts(runs: Sequence[Run]) -> dict[str, int]:
    counts = Counter(run.status.value for run in runs)
    counts["stalled"] = sum(run.stalled for run in runs)
    return {name: min(count, NEWEST) for name, count in counts.items() if count}


def _oldest_queued(runs: Sequence[Run]) -> datetime | None:
    return min((run.created_at for run in runs if run.status is RunStatus.QUEUED), default=None)


def stats(runs: Sequence[Run]) -> list[AgentStats]:
    """Return the figures of every agent in ``runs``, by name."""
    return [_stats(name, runs_of_agent) for name, runs_of_agent in _by_agent(runs)]


def _stats(agent: str, runs: list[Run]) -> AgentStats:
    ended = sorted((r for r in runs if r.completed_at), key=lambda r: (r.completed_at, r.id), reverse=True)[:NEWEST]
    passed = [run for run in ended if run.status is RunStatus.PASSED]
    scored = [run.final_score for run in ended if run.final_score is not None]
    return AgentStats(
        agent=agent,
        counts=_counts(runs),
        oldest_queued_at=_oldest_queued(runs),
        ended=len(ended),
        passed=len(passed),
        mean_score=sum(scored) / len(scored) if scored else None,
        last_score=scored[0] if scored else None,
        mean_attempts=sum(run.current_attempt for run in ended) / len(ended) if ended else None,
        passed_at_attempt=dict(sorted(Counter(run.current_attempt for run in passed).items())),
    )
