"""``/runners``: who lives, what each holds, and what waits."""

from starlette.responses import Response

from loopkit_web.context import VERSION, Call
from loopkit_web.pages.layout import Live, page, unchanged
from loopkit_web.views.fleet import fleet_at_work

__all__ = ["show_runners"]


async def show_runners(call: Call) -> Response:
    """``GET /runners``."""
    view = await fleet_at_work(call)
    part = "part" in call.request.query_params
    facts = (view, call.site.streams.open)
    if part and (same := unchanged(call, "runners.html", facts)):
        return same
    refresh = call.url("/runners?part=all")
    return page(
        call,
        "runners.html",
        title="Runners",
        part=part,
        facts=facts,
        nav="/runners",
        live=Live(stream=call.url("/api/workflow-stream"), refresh=refresh, active=False, seconds=5),
        view=view,
        streams=call.site.streams,
        stalled_after=call.store.stalled_after,
        version=VERSION,
    )
