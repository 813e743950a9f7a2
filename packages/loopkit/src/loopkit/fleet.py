"""Runners with their states and runs, and figures of agents: what operators look at beside the runs.

The command line and the HTTP API show the same values, of the same form in JSON.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Final

import attrs
from anyio import to_thread

from loopkit.core.run import Run
from loopkit.storage import AgentOverview, AgentStats, Overview, RunnerInfo, RunnerRegistry, RunStatistics, Storage

__all__ = [
    "AgentFigures",
    "Backlog",
    "RunnerEntry",
    "RunnerList",
    "RunnerState",
    "Stats",
    "read_runner_list",
    "read_stats",
    "runner_list",
    "runner_state",
]


_MAX_CHARS: Final = 1_000
"""Characters of each text of a held run that are read: only its id and its holder are needed."""


class RunnerState(StrEnum):
    """Condition of a runner, as its last heartbeat implies."""

    LIVE = "live"
    LATE = "late"
    """No heartbeat for more than two intervals."""
    LOST = "lost"
    """No heartbeat for longer than the stall time: its runs may be taken over."""
    DRAINING = "draining"
    """Live, but claims no more runs."""
    GONE = "gone"
    """Stopped in an orderly way."""


@attrs.frozen(kw_only=True)
class RunnerEntry:
    """One runner: what it last announced, and the runs it holds."""

    id: str
    name: str
    """``host:pid``."""
    version: str
    state: RunnerState
    agents: Sequence[str]
    slots: int
    busy: int
    started_at: datetime | None
    seen_at: datetime | None
    age_seconds: float | None
    """Seconds since its last heartbeat, by the store's clock."""
    heartbeat_seconds: float
    runs: Sequence[str]
    """Ids of the running runs it holds, as lists have them; at most 1,000 over all runners."""


@attrs.frozen(kw_only=True)
class Backlog:
    """Runs of one agent that wait for a runner."""

    agent: str
    queued: int
    """At most 1,000, which means 1,000 or more."""
    stalled: int
    oldest_queued_at: datetime | None


@attrs.frozen(kw_only=True)
class RunnerList:
    """The runners seen in the last 24 hours, and the backlog of each agent."""

    runners: Sequence[RunnerEntry]
    backlog: Sequence[Backlog]


@attrs.frozen(kw_only=True)
class AgentFigures:
    """Figures of one agent. Counts stop at 1,000; scores cover its newest 1,000 ended runs."""

    agent: str
    counts: Mapping[str, int]
    """Number of runs by status, and by ``stalled``."""
    oldest_queued_at: datetime | None
    ended: int
    """Number of ended runs that the figures below cover."""
    passed: int
    mean_score: float | None
    last_score: float | None
    mean_attempts: float | None
    passed_at_attempt: Mapping[str, int]
    """Number of runs that passed, by the number of the attempt: "1", "2", ..."""


@attrs.frozen(kw_only=True)
class Stats:
    """Figures of every agent that has runs, and the totals by status."""

    counts: Mapping[str, int]
    agents: Sequence[AgentFigures]


async def read_runner_list(store: Storage) -> RunnerList:
    """Read the runners, the runs they hold and the backlog now; all empty if the store keeps no such figures."""
    if not isinstance(store, RunnerRegistry) or not isinstance(store, RunStatistics):
        return RunnerList(runners=(), backlog=())
    infos, overview, holdings = (
        await store.runners(),
        await store.overview(),
        await store.holdings(max_chars=_MAX_CHARS),
    )
    build = partial(runner_list, infos, overview, holdings, stalled_after=store.stalled_after)
    return await to_thread.run_sync(build)


async def read_stats(store: Storage) -> Stats:
    """Read counts by status and agent, score and attempt figures; all empty if the store keeps no such figures."""
    agents = await store.stats() if isinstance(store, RunStatistics) else ()
    return await to_thread.run_sync(_totals, agents)


def _totals(agents: Sequence[AgentStats]) -> Stats:
    counts: Counter[str] = Counter()
    for stats in agents:
        counts.update(stats.counts)
    return Stats(counts=counts, agents=[_figures(stats) for stats in agents])


def runner_state(info: RunnerInfo, stalled_after: timedelta) -> RunnerState:
    """Return the state of a runner; an orderly stop takes precedence over the age of its last heartbeat."""
    if info.gone:
        return RunnerState.GONE
    age = info.age or timedelta()
    if age > stalled_after:
        return RunnerState.LOST
    if age > 2 * info.heartbeat:
        return RunnerState.LATE
    return RunnerState.DRAINING if info.draining else RunnerState.LIVE


def runner_list(
    infos: Iterable[RunnerInfo], overview: Overview, holdings: Iterable[Run], *, stalled_after: timedelta
) -> RunnerList:
    """Build the list of runners from what was read: the runners, the backlog and the running runs."""
    held = _by_holder(holdings)
    return RunnerList(
        runners=[_runner(info, held, stalled_after) for info in infos],
        backlog=[_backlog(agent) for agent in overview.agents],
    )


def _runner(info: RunnerInfo, held: Mapping[str, list[str]], stalled_after: timedelta) -> RunnerEntry:
    return RunnerEntry(
        id=info.id,
        name=info.name,
        version=info.version,
        state=runner_state(info, stalled_after),
        agents=info.agents,
        slots=info.slots,
        busy=info.busy,
        started_at=info.started_at,
        seen_at=info.seen_at,
        age_seconds=info.age.total_seconds() if info.age is not None else None,
        heartbeat_seconds=info.heartbeat.total_seconds(),
        runs=held.get(info.name, []),
    )


def _by_holder(runs: Iterable[Run]) -> Mapping[str, list[str]]:
    """Return the ids of runs by ``host:pid`` of their holder, the part of ``claimed_by`` before its last colon."""
    held: defaultdict[str, list[str]] = defaultdict(list)
    for run in runs:
        held[(run.claimed_by or "").rpartition(":")[0]].append(run.id)
    return held


def _backlog(agent: AgentOverview) -> Backlog:
    return Backlog(
        agent=agent.agent, queued=agent.queued, stalled=agent.stalled, oldest_queued_at=agent.oldest_queued_at
    )


def _figures(stats: AgentStats) -> AgentFigures:
    shared = {field.name: getattr(stats, field.name) for field in attrs.fields(AgentFigures)}
    return AgentFigures(
        **shared | {"passed_at_attempt": {str(attempt): count for attempt, count in stats.passed_at_attempt.items()}}
    )
