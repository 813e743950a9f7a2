"""Runners, and the runs that wait for them, as the pages show them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Final

import attrs

from loopkit.core.run import Run
from loopkit.fleet import Backlog, RunnerEntry, RunnerState
from loopkit.storage import Overview
from loopkit_web.dashboard.markup import display_text
from loopkit_web.dashboard.markup.bidi_text import isolated
from loopkit_web.dashboard.markup.run_link import RunLink, run_link
from loopkit_web.dashboard.markup.text_allowance import TextAllowance, cut
from loopkit_web.fleet import FleetSnapshot
from loopkit_web.http.site import VERSION

__all__ = ["FleetView", "RunnerRow", "WaitingAgent", "fleet_view", "host_and_pid", "host_names"]

_ALIVE: Final = (RunnerState.LIVE, RunnerState.LATE, RunnerState.DRAINING)
_CLAIMING: Final = (RunnerState.LIVE, RunnerState.LATE)
_ORDER: Final = (RunnerState.LIVE, RunnerState.DRAINING, RunnerState.LATE, RunnerState.LOST)
"""Order of the runners on their page."""
_MAX_SHOWN: Final = 200
"""Runners, and waiting agents, that a page shows."""
_MAX_SERVED: Final = 20
"""Agents of one runner that are shown."""
_MAX_SERVED_CHARS: Final = 1_000
_MAX_RUNNERS_BYTES: Final = 350_000
"""Bytes of all runners' names, versions and agents in a page."""
_MAX_RUNS: Final = 2
"""Runs of one runner that are named."""
_MAX_ID_BYTES: Final = 80_000
"""Bytes that the ids of all runs may take in a page; runs beyond are named without a link."""
_MAX_NAMES: Final = 3
"""Agents that a sentence names."""
_MAX_NAME: Final = 200
"""Characters of a name that are shown: loopkit's own agents have no more."""


@attrs.frozen(kw_only=True)
class WaitingAgent:
    """Backlog of one agent, and the number of runners that serve it."""

    agent: str
    queued: int
    stalled: int
    oldest: datetime | None
    """Creation time of the oldest queued run."""
    live: int
    late: int

    @property
    def is_stuck(self) -> bool:
        """True if runs wait and no runner serves the agent."""
        return self.queued + self.stalled > 0 and self.live + self.late == 0


@attrs.frozen(kw_only=True)
class RunnerRow:
    """One runner on its page, with texts of bounded length."""

    runner: RunnerEntry
    host: str
    pid: str
    agents: str
    runs: tuple[RunLink, ...]
    """The first of the runs that it holds."""
    version: str
    has_other_version: bool
    """True if its version differs from this dashboard's."""


@attrs.frozen(kw_only=True)
class FleetView:
    """Runners except those that have left, and the backlog of every agent."""

    runners: tuple[RunnerEntry, ...]
    waiting: tuple[WaitingAgent, ...]
    overview: Overview
    served: frozenset[str]
    """Agents that a runner serves which is live, late or draining."""
    claimed: frozenset[str]
    """Agents whose runs a runner would claim."""
    digest: str
    """Text that differs when a runner or a backlog has changed."""
    backlog_digest: str
    """Text that differs when a backlog has changed, or which agents are served."""

    @property
    def shown_runners(self) -> Iterator[RunnerRow]:
        """The first runners, each with the first of its agents, with names of bounded length."""
        allowance, allowance_of_ids = TextAllowance(_MAX_RUNNERS_BYTES), TextAllowance(_MAX_ID_BYTES)
        for runner in self.runners[:_MAX_SHOWN]:
            if allowance.left > 0:
                runs = tuple(run_link(run_id, allowance_of_ids) for run_id in runner.runs[:_MAX_RUNS])
                yield _runner_row(runner, runs, allowance)

    @property
    def shown_waiting(self) -> tuple[WaitingAgent, ...]:
        """The first agents with a backlog, or served, those that no runner serves before the others."""
        return self.waiting[:_MAX_SHOWN]

    @property
    def live(self) -> int:
        """Number of live runners."""
        return sum(1 for runner in self.runners if runner.state is RunnerState.LIVE)

    @property
    def stuck_names(self) -> str:
        """Names of the agents with waiting runs that no runner serves, as a phrase; the first ones of many."""
        names = [isolated(cut(agent.agent, _MAX_NAME)) for agent in self.stuck]
        others = len(names) - _MAX_NAMES
        shown = names if others <= 1 else [*names[:_MAX_NAMES], f"{others:,} other agents"]
        return display_text.joined(shown, "and")

    @property
    def alive(self) -> tuple[RunnerEntry, ...]:
        """Runners that are live, late or draining."""
        return tuple(runner for runner in self.runners if runner.state in _ALIVE)

    @property
    def lost_with_runs(self) -> int:
        """Number of lost runners that still hold runs."""
        return sum(1 for runner in self.runners if runner.state is RunnerState.LOST and runner.runs)

    @property
    def slots(self) -> int:
        """Slots of the live runners."""
        return sum(runner.slots for runner in self.runners if runner.state is RunnerState.LIVE)

    @property
    def free(self) -> int:
        """Free slots of the live runners."""
        return sum(max(runner.slots - runner.busy, 0) for runner in self.runners if runner.state is RunnerState.LIVE)

    @property
    def stuck(self) -> tuple[WaitingAgent, ...]:
        """Agents with waiting runs that no runner serves."""
        return tuple(agent for agent in self.waiting if agent.is_stuck)

    @property
    def queued_runs(self) -> int:
        return sum(agent.queued for agent in self.waiting)

    def serving(self, agent: str) -> tuple[RunnerEntry, ...]:
        """Return the runners that would claim a run of this agent."""
        return tuple(runner for runner in self.runners if runner.state in _CLAIMING and agent in runner.agents)


def fleet_view(snapshot: FleetSnapshot | None) -> FleetView | None:
    """Return the runners and the backlog as the pages show them; None if the store keeps none.

    Takes time for thousands of runners: call it from a worker thread.
    """
    if snapshot is None:
        return None
    runners = [runner for runner in snapshot.listing.runners if runner.state is not RunnerState.GONE]
    runners.sort(key=lambda runner: _ORDER.index(runner.state))
    backlog = {entry.agent: entry for entry in snapshot.listing.backlog}
    names = dict.fromkeys([*backlog, *(name for runner in runners for name in runner.agents)])
    live, late = (_serving(runners, state) for state in (RunnerState.LIVE, RunnerState.LATE))
    waiting = [_waiting_agent(name, backlog.get(name), live[name], late[name]) for name in names]
    waiting.sort(key=lambda agent: (not agent.is_stuck, -(agent.queued + agent.stalled), agent.agent))
    served = frozenset(name for runner in runners if runner.state in _ALIVE for name in runner.agents)
    return FleetView(
        runners=tuple(runners),
        waiting=tuple(waiting),
        overview=snapshot.overview,
        served=served,
        claimed=frozenset(live) | frozenset(late),
        digest=_digest(runners, waiting, snapshot.overview),
        backlog_digest=_digest(sorted(served), [agent for agent in waiting if agent.is_stuck], snapshot.overview),
    )


def _digest(*facts: object) -> str:
    return sha256(repr(facts).encode("utf-8", "replace")).hexdigest()


def _serving(runners: Sequence[RunnerEntry], state: RunnerState) -> Counter[str]:
    """Return the number of runners in a state by the agents that they serve."""
    return Counter(name for runner in runners if runner.state is state for name in dict.fromkeys(runner.agents))


def _runner_row(runner: RunnerEntry, runs: tuple[RunLink, ...], allowance: TextAllowance) -> RunnerRow:
    host, _, pid = runner.name.partition(":")
    others = len(runner.agents) - _MAX_SERVED
    agents = allowance.take(", ".join(map(isolated, runner.agents[:_MAX_SERVED])), _MAX_SERVED_CHARS)
    return RunnerRow(
        runner=runner,
        host=allowance.take(host, _MAX_NAME),
        pid=allowance.take(pid.partition(":")[0], _MAX_NAME),
        agents=f"{agents} and {others} more" if others > 0 else agents,
        runs=runs,
        version=allowance.take(runner.version, _MAX_NAME),
        has_other_version=runner.version != VERSION,
    )


def _waiting_agent(name: str, backlog: Backlog | None, live: int, late: int) -> WaitingAgent:
    return WaitingAgent(
        agent=name,
        queued=backlog.queued if backlog else 0,
        stalled=backlog.stalled if backlog else 0,
        oldest=backlog.oldest_queued_at if backlog else None,
        live=live,
        late=late,
    )


def host_and_pid(run: Run) -> tuple[str, str]:
    """Return host and process id of the runner that holds a run, or held it last; empty texts before any claim."""
    host, _, rest = (run.claimed_by or "").partition(":")
    return cut(host, _MAX_NAME), cut(rest.partition(":")[0], _MAX_NAME)


def host_names(runners: Iterable[RunnerEntry]) -> str:
    """Return the hosts of some runners as a part of a sentence, each once; "" without one."""
    hosts = dict.fromkeys(isolated(cut(runner.name.partition(":")[0], _MAX_NAME)) for runner in runners)
    return display_text.joined(hosts, "or")
