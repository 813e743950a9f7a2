"""Worker threads in which pages are computed and rendered, so that a large page delays no other request.

At most four pages of an app are computed at once, each for at most twenty seconds. What a page computes is bounded by
counts (of rows, characters, nodes and steps), so the time limit is reached only on a machine that is very busy; the
thread of a page that was given up ends by itself.
"""

from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import anyio
from anyio import to_thread

from loopkit_web.http.call import Call
from loopkit_web.http.problems import ProblemCode, Refused

__all__ = ["in_worker"]

T = TypeVar("T")
Args = TypeVarTuple("Args")

_SECONDS: Final = 20
"""Longest time for computing a page, the wait for a free thread included."""


async def in_worker(call: Call, function: Callable[[*Args], T], *args: *Args) -> T:
    """Return the result of a function that is called in a worker thread.

    Raises:
        Refused: it took too long.
    """
    try:
        with anyio.fail_after(_SECONDS):
            limiter = call.site.page_limiter()
            return await to_thread.run_sync(function, *args, limiter=limiter, abandon_on_cancel=True)
    except TimeoutError:
        detail = f"It was not ready after {_SECONDS} seconds. The server may be busy; load it again later."
        raise Refused(ProblemCode.PAGE_UNAVAILABLE, detail, headers={"Retry-After": str(_SECONDS)}) from None
