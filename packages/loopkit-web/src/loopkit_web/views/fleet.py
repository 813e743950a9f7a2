"""The runners and what waits for them, as the pages tell of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import attrs

from loopkit.core.run import Run
from loopkit.storage import Overview, RunnerInfo
from loopkit_web.context import VERSION, Call
from loopkit_web.replies import Backlog, Runner, RunnerList
from loopkit_web.runners import listed

__all__ = ["FleetView", "WaitingAgent", "fleet_at_work", "fleet_of", "holder"]

_LIVING: Final = ("live", "late", "draining")
_WORKING: Final = ("live", "late")
_ORDER: Final = {"live": 0, "draining": 1, "late": 2, "lost": 3, "gone": 4}


@attrs.frozen(kw_only=True)
class WaitingAgent:
    """What waits of one agent, and who could work it."""

    agent: str
    queued: int
    stalled: int
    oldest: datetime | None
    live: int
    late: int

    @property
    def is_stuck(self) -> bool:
        """True when something waits and nobody serves it."""
        return self.queued + self.stalled > 0 and self.live + self.late == 0


@attrs.frozen(kw_only=True)
class FleetView:
    """The whole page of runners."""

    runners: tuple[Runner, ...]
    waiting: tuple[WaitingAgent, ...]
    overview: Overview

    @property
    def living(self) -> tuple[Runner, ...]:
        return tuple(runner for runner in self.runners if runner.state in _LIVING)

    @property
    def lost_with_work(self) -> int:
        return sum(1 for runner in self.runners if runner.state == "lost" and runner.runs)

    @property
    def slots(self) -> int:
        return sum(runner.slots for runner in self.runners if runner.state == "live")

    @property
    def free(self) -> int:
        return sum(max(runner.slots - runner.busy, 0) for runner in self.runners if runner.state == "live")

    @property
    def stuck(self) -> tuple[WaitingAgent, ...]:
        return tuple(agent for agent in self.waiting if agent.is_stuck)

    @property
    def waiting_runs(self) -> int:
        return sum(agent.queued for agent in self.waiting)

    @property
    def has_workers(self) -> bool:
        """True when a runner lives that takes new work."""
        return any(runner.state in _WORKING for runner in self.runners)

    def serving(self, agent: str) -> tuple[Runner, ...]:
        """Give the runners that would take a run of this agent."""
        return tuple(one for one in self.runners if one.state in _WORKING and agent in one.agents)

    def is_older(self, runner: Runner) -> bool:
        """True for a runner of another version than this dashboard."""
        return runner.version != VERSION


async def fleet_of(call: Call) -> FleetView | None:
    """Give the runners as they are now, or were half a second ago, without the runs they hold.

    None where the store keeps none.
    """
    fleet = call.fleet
    if fleet is None:
        return None

    async def read() -> tuple[Sequence[RunnerInfo], Overview]:
        return await fleet.runners(), await fleet.overview()

    infos, overview = await call.site.streams.look("fleet", read)
    return _view(listed(call, infos, overview, ()), overview)


async def fleet_at_work(call: Call) -> FleetView | None:
    """Give the same with the runs that each runner holds."""
    fleet = call.fleet
    if fleet is None:
        return None

    async def read() -> tuple[Sequence[RunnerInfo], Overview, Sequence[Run]]:
        return await fleet.runners(), await fleet.overview(), await fleet.holdings()

    infos, overview, holdings = await call.site.streams.look("fleet at work", read)
    return _view(listed(call, infos, overview, holdings), overview)


def _view(found: RunnerList, overview: Overview) -> FleetView:
    shown = tuple(sorted((one for one in found.runners if one.state != "gone"), key=lambda one: _ORDER[one.state]))
    backlog = {one.agent: one for one in found.backlog}
    names = dict.fromkeys([*backlog, *(name for runner in shown for name in runner.agents)])
    waiting = [_waiting(name, backlog.get(name), shown) for name in names]
    waiting.sort(key=lambda one: (not one.is_stuck, -(one.queued + one.stalled), one.agent))
    return FleetView(runners=shown, waiting=tuple(waiting), overview=overview)


def _waiting(name: str, backlog: Backlog | None, runners: Sequence[Runner]) -> WaitingAgent:
    return WaitingAgent(
        agent=name,
        queued=backlog.queued if backlog else 0,
        stalled=backlog.stalled if backlog else 0,
        oldest=backlog.oldest_queued_at if backlog else None,
        live=sum(1 for runner in runners if runner.state == "live" and name in runner.agents),
        late=sum(1 for runner in runners if runner.state == "late" and name in runner.agents),
    )


def holder(run: Run) -> tuple[str, str]:
    """Give the host and the process of who holds a run, or held it last."""
    host, _, rest = (run.claimed_by or "").partition(":")
    return host, rest.partition(":")[0]
