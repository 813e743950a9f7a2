"""The runners over HTTP: who lives, what each holds, and what waits."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Literal

from starlette.responses import Response

from loopkit.core.run import Run
from loopkit.storage import AgentOverview, Overview, RunnerInfo
from loopkit_web.context import Call
from loopkit_web.replies import Backlog, Runner, RunnerList, json_reply

__all__ = ["get_runners", "listed", "runner_list", "state"]


async def get_runners(call: Call) -> Response:
    """``GET /api/runners``: the runners seen within a day, and the backlog of each agent."""
    return json_reply(call, await runner_list(call))


async def runner_list(call: Call) -> RunnerList:
    """Give the runners and the backlog; none where the store keeps no such figures."""
    fleet = call.fleet
    if fleet is None:
        return RunnerList(runners=(), backlog=())
    return listed(call, await fleet.runners(), await fleet.overview(), await fleet.holdings())


def listed(call: Call, infos: Iterable[RunnerInfo], overview: Overview, holdings: Iterable[Run]) -> RunnerList:
    """Put together what was read: the runners, the running runs that they hold, and what waits."""
    held = _by_holder(holdings)
    return RunnerList(
        runners=[_runner(info, held, call.store.stalled_after) for info in infos],
        backlog=[_backlog(agent) for agent in overview.agents],
    )


def state(info: RunnerInfo, stalled_after: timedelta) -> Literal["live", "late", "lost", "draining", "gone"]:
    """Tell from a runner's last sign of life how it is."""
    if info.gone:
        return "gone"
    age = info.age or timedelta()
    if age > stalled_after:
        return "lost"
    if age > 2 * info.heartbeat:
        return "late"
    return "draining" if info.draining else "live"


def _runner(info: RunnerInfo, held: Mapping[str, list[str]], stalled_after: timedelta) -> Runner:
    return Runner(
        id=info.id,
        name=info.name,
        version=info.version,
        state=state(info, stalled_after),
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
    """Give the ids of runs by their holder's ``host:pid``, which every claim's ``claimed_by`` begins with."""
    held: defaultdict[str, list[str]] = defaultdict(list)
    for run in runs:
        held[(run.claimed_by or "").rpartition(":")[0]].append(run.id)
    return held


def _backlog(agent: AgentOverview) -> Backlog:
    return Backlog(
        agent=agent.agent, queued=agent.queued, stalled=agent.stalled, oldest_queued_at=agent.oldest_queued_at
    )
