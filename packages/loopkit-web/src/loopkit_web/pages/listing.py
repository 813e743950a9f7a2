"""``/agents``: the list of runs."""

from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response

from loopkit.storage import Overview
from loopkit_web.access import Permission
from loopkit_web.context import Call
from loopkit_web.pages.layout import Live, page, state_of, unchanged
from loopkit_web.views.fleet import FleetView, fleet_of
from loopkit_web.views.listing import ORDERS, RANGES, Filters, ListView, list_view

__all__ = ["lead_in", "show_list"]

_BUSY_SECONDS = 5
_QUIET_SECONDS = 30
_NOTHING: Final = Overview(counts={}, agents=())


async def lead_in(call: Call) -> Response:
    """``GET /``: on to the list."""
    return call.see_other("/agents")


async def show_list(call: Call) -> Response:
    """``GET /agents``: a page of runs, its filters in the address."""
    filters: Filters = call.query
    found = await call.store.list_runs(filters.query(datetime.now(UTC)))
    fleet = await fleet_of(call)
    overview = fleet.overview if fleet is not None else _NOTHING
    served = frozenset(name for one in fleet.living for name in one.agents) if fleet is not None else None
    stuck = fleet.stuck if fleet is not None else ()
    facts = ([state_of(run) for run in found.runs], found.next_cursor, overview, sorted(served or ()), stuck)
    if filters.part is not None and (same := unchanged(call, "list.html", facts)):
        return same
    ids = [run.id for run in found.runs]
    trajectories = await call.fleet.trajectories(ids) if call.fleet is not None else {}
    view = list_view(filters, found, trajectories, overview, list(call.agents), served)
    return page(
        call,
        "list.html",
        title="Agent Workflows",
        part=filters.part is not None,
        facts=facts,
        nav="/agents",
        live=_live(call, view),
        view=view,
        stuck=stuck,
        no_runner=fleet is not None and not fleet.living,
        empty=_emptiness(call, view, fleet),
        ranges=RANGES,
        orders=ORDERS,
    )


def _live(call: Call, view: ListView) -> Live:
    filters = view.filters
    busy = view.is_live or any(chip.count for chip in view.chips if chip.name in ("running", "queued", "attention"))
    return Live(
        stream=call.url("/api/workflow-stream"),
        refresh=call.url(filters.address(cursor=filters.cursor, part="rows")),
        active=busy,
        seconds=_BUSY_SECONDS if busy else _QUIET_SECONDS,
    )


def _emptiness(call: Call, view: ListView, fleet: FleetView | None) -> str:
    """Say why there is nothing to list; "" where there is something, or where only the filters are in the way."""
    if view.rows or view.filters.are_any or view.filters.cursor:
        return ""
    return "no-runs" if call.agents and call.may(Permission.VIEW) else "no-agents"
