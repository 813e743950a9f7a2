"""A problem as a page."""

from typing import Final

from markupsafe import Markup

from loopkit_web.context import Call
from loopkit_web.pages.layout import page_html
from loopkit_web.problems import Problem
from loopkit_web.signing_in import TokenAccess, sign_in_form

__all__ = ["problem_page"]

_HEADINGS: Final = {"forbidden": "You cannot do that here", "loopback-only": "You cannot see workflows here"}


def problem_page(call: Call, problem: Problem) -> str:
    """Give a problem as HTML. Who asks may be unknown (``call.access`` is NOBODY, ``call.store`` not set).

    A 401 holds the form that signs a browser in, where there is a token to sign in with.
    """
    form = Markup()
    if problem.code == "unauthenticated" and isinstance(call.site.access, TokenAccess):
        form = Markup(sign_in_form(call, problem.extra))  # it escapes what it is made of
    heading = _HEADINGS.get(problem.code, problem.title)
    return page_html(call, "problem.html", title=problem.title, problem=problem, heading=heading, form=form)
