"""``/agents``: the list of runs."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from starlette.responses import Response

from loopkit.storage import Overview
from loopkit.stores.text_cuts import is_cut_id
from loopkit_web.dashboard.markup import display_text
from loopkit_web.dashboard.pages.layout import RefreshPlan, page, run_facts, unchanged
from loopkit_web.dashboard.pages.page_worker import in_worker
from loopkit_web.dashboard.views.run_list_view import (
    ORDERS,
    RANGES,
    REASONS,
    Filters,
    RunListView,
    run_list_view,
)
from loopkit_web.dashboard.views.runners_view import fleet_view
from loopkit_web.dashboard.views.status import StatusKind
from loopkit_web.fleet import read_fleet
from loopkit_web.http.access import Permission
from loopkit_web.http.call import Call

__all__ = ["redirect_to_list", "show_list"]

_ACTIVE_SECONDS: Final = 5
_IDLE_SECONDS: Final = 30
_NO_FIGURES: Final = Overview(counts={}, agents=())


class EmptyState(StrEnum):
    """Reasons why the list is empty."""

    NONE = ""
    """It is not empty, or only filters leave nothing to list."""
    NO_AGENTS = "no-agents"
    NO_RUNS = "no-runs"


async def redirect_to_list(call: Call) -> Response:
    """``GET /``: leads to the list."""
    return call.see_other("/agents")


async def show_list(call: Call) -> Response:
    """``GET /agents``: a page of the list; its filters are the query."""
    filters: Filters = call.query
    runs = await call.store.list_runs(filters.query(datetime.now(UTC)))
    fleet = await in_worker(call, fleet_view, await read_fleet(call))
    overview = fleet.overview if fleet is not None else _NO_FIGURES
    served = fleet.served if fleet is not None else None
    facts = ([run_facts(run) for run in runs.runs], runs.next_cursor, fleet and fleet.backlog_digest)
    if filters.part is not None and (not_modified := unchanged(call, "list.html", facts)):
        return not_modified
    ids = [run.id for run in runs.runs if not is_cut_id(run.id)]
    trajectories = await call.scores.trajectories(ids) if call.scores is not None else {}
    view = await in_worker(call, run_list_view, filters, runs, trajectories, overview, list(call.agents), served)
    return await page(
        call,
        "list.html",
        title="Agent Workflows",
        part=filters.part is not None,
        facts=facts,
        nav="/agents",
        live=_refresh_plan(call, view, overview),
        view=view,
        stuck=len(fleet.stuck) if fleet is not None else 0,
        stuck_agent=fleet.stuck[0].agent if fleet is not None and len(fleet.stuck) == 1 else "",
        stuck_names=fleet.stuck_names if fleet is not None else "",
        run_command=_first_command(call),
        no_runner=fleet is not None and not fleet.alive,
        empty=_empty_state(call, view),
        ranges=RANGES,
        reasons=REASONS,
        orders=ORDERS,
    )


def _refresh_plan(call: Call, view: RunListView, overview: Overview) -> RefreshPlan:
    filters = view.filters
    active_kinds = (StatusKind.RUNNING, StatusKind.QUEUED, StatusKind.STALLED)
    active = view.is_live or any(overview.counts.get(kind) for kind in active_kinds)
    return RefreshPlan(
        stream=call.url("/api/workflow-stream"),
        refresh=call.url(filters.path(cursor=filters.cursor, part="rows")),
        active=active,
        seconds=_ACTIVE_SECONDS if active else _IDLE_SECONDS,
    )


def _first_command(call: Call) -> str:
    """Return the command that starts a run of the first agent; "" without any."""
    return next((display_text.run_command(name, agent.inputs) for name, agent in call.agents.items()), "")


def _empty_state(call: Call, view: RunListView) -> EmptyState:
    if view.rows or view.filters.is_filtered or view.filters.cursor:
        return EmptyState.NONE
    return EmptyState.NO_RUNS if call.agents and call.may(Permission.VIEW) else EmptyState.NO_AGENTS
