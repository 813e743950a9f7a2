"""Error pages: a problem as HTML."""

from typing import Final

from markupsafe import Markup

from loopkit_web.dashboard.pages.layout import page_html
from loopkit_web.http.call import Call
from loopkit_web.http.problems import Problem, ProblemCode
from loopkit_web.token_access import TokenAccess, sign_in_form

__all__ = ["problem_page"]

_HEADINGS: Final = {
    ProblemCode.FORBIDDEN: "You are not allowed to do this",
    ProblemCode.LOOPBACK_ONLY: "Workflows are not shown to this address",
}


def problem_page(call: Call, problem: Problem) -> str:
    """Return a problem as HTML.

    A 401 contains the form to sign in with a token, if the app accepts one. The caller may be unknown: then
    ``call.access`` is NOBODY and ``call.store`` is not set.
    """
    form = Markup()
    if problem.code == ProblemCode.UNAUTHENTICATED and isinstance(call.site.access, TokenAccess):
        form = Markup(sign_in_form(call, problem.extra))  # the form escapes its values itself
    heading = _HEADINGS.get(problem.code, problem.title)
    return page_html(call, "problem.html", title=problem.title, problem=problem, heading=heading, form=form)
