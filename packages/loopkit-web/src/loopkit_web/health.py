"""Whether the app can do its work. It says so and nothing else, since everybody may ask."""

from typing import Final

import anyio
from starlette.responses import Response

from loopkit.errors import StorageUnavailable
from loopkit.storage import RunQuery
from loopkit_web.context import Call
from loopkit_web.replies import Health, json_reply

__all__ = ["get_health"]

_PATIENCE_SECONDS: Final = 10.0


async def get_health(call: Call) -> Response:
    """``GET /api/health``: 200 while the database answers, else 503. Many who ask at once cost one query."""
    await call.site.streams.look("health", lambda: _ask(call))
    return json_reply(call, Health(), headers={"Cache-Control": "no-store"})


async def _ask(call: Call) -> None:
    try:
        with anyio.fail_after(_PATIENCE_SECONDS):
            await call.store.list_runs(RunQuery(limit=1))
    except TimeoutError:
        raise StorageUnavailable("the database did not answer in time") from None
