"""Runners with their states and runs, and the backlog of each agent, in reads that pages share."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import attrs
from anyio import to_thread

from loopkit.core.run import Run
from loopkit.fleet import RunnerList, runner_list
from loopkit.storage import Overview, RunnerInfo
from loopkit_web.http.call import Call

__all__ = [
    "FleetSnapshot",
    "read_fleet",
    "read_fleet_with_runs",
]

_MAX_CHARS: Final = 200
"""Characters of each text of a held run that are read: of the runs only ids and holders are shown."""


@attrs.frozen(kw_only=True)
class FleetSnapshot:
    """Runners and figures of the store, read together; at most one poll interval of the event streams old."""

    listing: RunnerList
    overview: Overview


async def read_fleet(call: Call) -> FleetSnapshot | None:
    """Read the runners without the runs they hold, and the figures; concurrent requests share one read.

    None if the store keeps no such figures.
    """
    registry, statistics = call.registry, call.statistics
    if registry is None or statistics is None:
        return None

    async def read() -> FleetSnapshot:
        return await _snapshot(call, await registry.runners(), await statistics.overview(), ())

    return await call.shared_read("fleet", read)


async def read_fleet_with_runs(call: Call) -> FleetSnapshot | None:
    """Read the runners with the runs they hold, and the figures, as :func:`read_fleet` does."""
    registry, statistics = call.registry, call.statistics
    if registry is None or statistics is None:
        return None

    async def read() -> FleetSnapshot:
        holdings = await registry.holdings(max_chars=_MAX_CHARS)
        return await _snapshot(call, await registry.runners(), await statistics.overview(), holdings)

    return await call.shared_read("fleet with runs", read)


async def _snapshot(
    call: Call, infos: Sequence[RunnerInfo], overview: Overview, holdings: Sequence[Run]
) -> FleetSnapshot:
    build = partial(runner_list, infos, overview, holdings, stalled_after=call.store.stalled_after)
    return FleetSnapshot(listing=await to_thread.run_sync(build), overview=overview)
