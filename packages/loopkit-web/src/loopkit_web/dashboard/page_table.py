"""The dashboard's pages, as rows for the endpoint table, and the page that shows a problem.

A GET is answered with HTML, a form's POST with a redirect (303); the forms use the same actions as the API. Parts that
change while a page is open are fetched again (``?part=``), rendered by the same templates.
"""

from typing import Final

from loopkit_web.dashboard.assets import ASSETS
from loopkit_web.dashboard.pages import cancel_retry, compare_page, run_list_page, run_page, start_page
from loopkit_web.dashboard.pages.problem_page import problem_page
from loopkit_web.dashboard.pages.runners_page import show_runners
from loopkit_web.dashboard.views.run_list_view import Filters
from loopkit_web.http.access import Permission
from loopkit_web.http.endpoint import Endpoint, Form

__all__ = ["PAGES", "problem_page"]

PAGES: Final[tuple[Endpoint, ...]] = (
    Endpoint(method="GET", path="/", handler=run_list_page.redirect_to_list, permission=Permission.VIEW, page=True),
    Endpoint(
        method="GET",
        path="/agents",
        handler=run_list_page.show_list,
        permission=Permission.VIEW,
        query=Filters,
        page=True,
    ),
    Endpoint(
        method="GET",
        path="/agents/start",
        handler=start_page.show_form,
        permission=Permission.START,
        query=start_page.StartPageQuery,
        page=True,
    ),
    Endpoint(
        method="POST",
        path="/agents/start",
        handler=start_page.submit_form,
        permission=Permission.START,
        body=Form,
        page=True,
    ),
    Endpoint(
        method="GET",
        path="/agents/{run_id}",
        handler=run_page.show_run,
        permission=Permission.VIEW,
        query=run_page.RunPageQuery,
        page=True,
    ),
    Endpoint(
        method="GET",
        path="/agents/{run_id}/events",
        handler=run_page.show_events,
        permission=Permission.VIEW,
        query=run_page.EventWindow,
        page=True,
    ),
    Endpoint(
        method="GET",
        path="/agents/{run_id}/artifacts/{attempt}/{kind}",
        handler=run_page.send_artifact,
        permission=Permission.VIEW,
        page=True,
    ),
    Endpoint(
        method="GET",
        path="/agents/{run_id}/compare",
        handler=compare_page.compare_attempts,
        permission=Permission.VIEW,
        query=compare_page.AttemptsQuery,
        page=True,
    ),
    Endpoint(
        method="GET",
        path="/compare",
        handler=compare_page.compare_runs,
        permission=Permission.VIEW,
        query=compare_page.RunsQuery,
        page=True,
    ),
    Endpoint(
        method="POST",
        path="/compare",
        handler=compare_page.redirect_to_comparison,
        permission=Permission.VIEW,
        body=Form,
        page=True,
    ),
    Endpoint(
        method="POST",
        path="/agents/{run_id}/cancel",
        handler=cancel_retry.cancel_run,
        permission=Permission.CANCEL,
        body=Form,
        page=True,
    ),
    Endpoint(
        method="POST",
        path="/agents/{run_id}/labels",
        handler=cancel_retry.label_run,
        permission=Permission.START,
        body=Form,
        page=True,
    ),
    Endpoint(
        method="POST",
        path="/agents/{run_id}/retry",
        handler=cancel_retry.retry_run,
        permission=Permission.RETRY,
        body=Form,
        page=True,
    ),
    Endpoint(
        method="POST",
        path="/bulk/cancel",
        handler=cancel_retry.cancel_many,
        permission=Permission.CANCEL,
        body=Form,
        page=True,
    ),
    Endpoint(
        method="POST",
        path="/bulk/retry",
        handler=cancel_retry.retry_many,
        permission=Permission.RETRY,
        body=Form,
        page=True,
    ),
    Endpoint(method="GET", path="/runners", handler=show_runners, permission=Permission.VIEW, page=True),
    *ASSETS,
)
