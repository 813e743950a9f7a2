"""The dashboard's pages: rows for the endpoint table, and how a problem looks to a browser.

A page answers a GET with HTML and a form's POST by sending the browser on (303); it uses the verbs that the API uses.
What changes while a page is open is fetched again in parts (``?part=``), made of the same templates.
"""

from typing import Final

from loopkit_web.access import Permission
from loopkit_web.assets import ASSETS
from loopkit_web.pages import acting, comparing, listing, running, starting
from loopkit_web.pages.fleet import show_runners
from loopkit_web.pages.problem import problem_page
from loopkit_web.routing import Endpoint, Form
from loopkit_web.views.listing import Filters

__all__ = ["PAGES", "problem_page"]

PAGES: Final[tuple[Endpoint, ...]] = (
    Endpoint(method="GET", path="/", handler=listing.lead_in, permission=Permission.VIEW, page=True),
    Endpoint(
        method="GET", path="/agents", handler=listing.show_list, permission=Permission.VIEW, query=Filters, page=True
    ),
    Endpoint(
        method="GET",
        path="/agents/start",
        handler=starting.show_form,
        permission=Permission.START,
        query=starting.Prefill,
        page=True,
    ),
    Endpoint(
        method="POST",
        path="/agents/start",
        handler=starting.take_form,
        permission=Permission.START,
        body=Form,
        page=True,
    ),
    Endpoint(
        method="GET",
        path="/agents/{run_id}",
        handler=running.show_run,
        permission=Permission.VIEW,
        query=running.Shows,
        page=True,
    ),
    Endpoint(
        method="GET",
        path="/agents/{run_id}/events",
        handler=running.show_events,
        permission=Permission.VIEW,
        query=running.Window,
        page=True,
    ),
    Endpoint(
        method="GET",
        path="/agents/{run_id}/artifacts/{attempt}/{kind}",
        handler=running.send_artifact,
        permission=Permission.VIEW,
        page=True,
    ),
    Endpoint(
        method="GET",
        path="/agents/{run_id}/compare",
        handler=comparing.compare_attempts,
        permission=Permission.VIEW,
        query=comparing.Attempts,
        page=True,
    ),
    Endpoint(
        method="GET",
        path="/compare",
        handler=comparing.compare_runs,
        permission=Permission.VIEW,
        query=comparing.RunsToCompare,
        page=True,
    ),
    Endpoint(
        method="POST", path="/compare", handler=comparing.take_choice, permission=Permission.VIEW, body=Form, page=True
    ),
    Endpoint(
        method="POST",
        path="/agents/{run_id}/cancel",
        handler=acting.cancel_run,
        permission=Permission.CANCEL,
        body=Form,
        page=True,
    ),
    Endpoint(
        method="POST",
        path="/agents/{run_id}/retry",
        handler=acting.retry_run,
        permission=Permission.RETRY,
        body=Form,
        page=True,
    ),
    Endpoint(
        method="POST",
        path="/bulk/cancel",
        handler=acting.cancel_many,
        permission=Permission.CANCEL,
        body=Form,
        page=True,
    ),
    Endpoint(
        method="POST", path="/bulk/retry", handler=acting.retry_many, permission=Permission.RETRY, body=Form, page=True
    ),
    Endpoint(method="GET", path="/runners", handler=show_runners, permission=Permission.VIEW, page=True),
    *ASSETS,
)
