"""``/runners``: the runners, the runs that they hold, and the runs that wait."""

from typing import Final

from starlette.responses import Response

from loopkit_web.dashboard.pages.layout import RefreshPlan, page, unchanged
from loopkit_web.dashboard.pages.page_worker import in_worker
from loopkit_web.dashboard.views.runners_view import fleet_view
from loopkit_web.fleet import read_fleet_with_runs
from loopkit_web.http.call import Call
from loopkit_web.http.site import VERSION

__all__ = ["show_runners"]

_SECONDS: Final = 5


async def show_runners(call: Call) -> Response:
    """``GET /runners``; with ``part`` only what changes while it is open."""
    view = await in_worker(call, fleet_view, await read_fleet_with_runs(call))
    is_part = "part" in call.request.query_params
    facts = (None if view is None else view.digest, call.site.streams.open)
    if is_part and (not_modified := unchanged(call, "runners.html", facts)):
        return not_modified
    plan = RefreshPlan(
        stream=call.url("/api/workflow-stream"),
        refresh=call.url("/runners?part=all"),
        active=False,
        seconds=_SECONDS,
    )
    return await page(
        call,
        "runners.html",
        title="Runners",
        part=is_part,
        facts=facts,
        nav="/runners",
        live=plan,
        view=view,
        streams=call.site.streams,
        stalled_after=call.store.stalled_after,
        version=VERSION,
    )
