"""Report of what a worker left when it had drained the queue, and why."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from loopkit.storage import Storage

__all__ = ["Left", "read_left"]


@attrs.frozen
class Left:
    """Runs of one kind that were left."""

    agent: str
    queued: int
    """At most 1,000, which means 1,000 or more."""
    running: int
    """Runs that other runners hold, at most 1,000 over all agents."""
    why: str

    def line(self) -> str:
        """Return it as a sentence."""
        parts = [f"{number} {name}" for number, name in ((self.queued, "queued"), (self.running, "running")) if number]
        return f"left: {' and '.join(parts)} of agent {self.agent}: {self.why}"

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return attrs.asdict(self)


async def read_left(
    store: "Storage", *, worked: Collection[str], known: Collection[str], problems: Mapping[str, str], is_stopped: bool
) -> list[Left]:
    """Read what is left in the queue, by agent, with the reason.

    Args:
        store: where the runs are.
        worked: agents whose runs this worker claimed.
        known: agents of agents.yaml.
        problems: agents whose stages cannot be loaded here, with the reason.
        is_stopped: True when the worker was told to stop before it was done.
    """
    from loopkit.storage import RunnerRegistry, RunStatistics

    if not isinstance(store, RunStatistics) or not isinstance(store, RunnerRegistry):
        return []
    held = Counter(run.agent_name for run in await store.holdings())
    queued = {each.agent: each.queued for each in (await store.overview()).agents}
    left = []
    for agent in sorted({*held, *(name for name, number in queued.items() if number)}):
        why = _reason(agent, worked, known, problems, is_queued=queued.get(agent, 0) > 0, is_stopped=is_stopped)
        left.append(Left(agent, queued.get(agent, 0), held[agent], why))
    return left


def _reason(
    agent: str,
    worked: Collection[str],
    known: Collection[str],
    problems: Mapping[str, str],
    *,
    is_queued: bool,
    is_stopped: bool,
) -> str:
    if agent in problems:
        return f"it cannot be run here: {problems[agent]}"
    if agent not in known:
        return "it is not in agents.yaml"
    if agent not in worked:
        return "--agent leaves it out"
    if not is_queued:
        return "other runners hold them"
    return "the worker was stopped" if is_stopped else "they were queued, or claimed by another program, meanwhile"
