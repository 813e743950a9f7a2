"""The dashboard's pages: rows for the endpoint table, and how a problem looks to a browser.

A row is an :class:`~loopkit_web.routing.Endpoint` with ``page=True``; its handler gets a
:class:`~loopkit_web.context.Call`. Checks, headers and errors are the dispatcher's.
"""

from html import escape
from typing import Final

from loopkit_web.context import Call
from loopkit_web.problems import Problem
from loopkit_web.routing import Endpoint
from loopkit_web.signing_in import TokenAccess, sign_in_form

__all__ = ["PAGES", "problem_page"]

PAGES: Final[tuple[Endpoint, ...]] = ()


def problem_page(call: Call, problem: Problem) -> str:
    """Give a problem as HTML. Who asks may be unknown (``call.access`` is NOBODY, ``call.store`` not set).

    A 401 holds the form that signs a browser in, where there is a token to sign in with.
    """
    form = ""
    if problem.code == "unauthenticated" and isinstance(call.site.access, TokenAccess):
        form = sign_in_form(call, problem.extra)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(problem.title)}</title>'
        f"<h1>{escape(problem.title)}</h1><p>{escape(problem.detail or '')}</p>{form}"
        f"<p>Request {escape(problem.request_id)}</p></html>"
    )
