"""Health check of the app. Public, so it reveals nothing but the result."""

from typing import Final

import anyio
from starlette.responses import Response

from loopkit.errors import StorageUnavailable
from loopkit.storage import RunQuery
from loopkit_web.api.shapes import Health
from loopkit_web.http.call import Call
from loopkit_web.http.json_response import json_response

__all__ = ["get_health"]

_TIMEOUT_SECONDS: Final = 10.0


async def get_health(call: Call) -> Response:
    """``GET /api/health``: 200 while the database responds, else 503. Concurrent requests cost one query."""
    await call.shared_read("health", lambda: _query_store(call))
    return await json_response(call, Health(), headers={"Cache-Control": "no-store"})


async def _query_store(call: Call) -> None:
    try:
        with anyio.fail_after(_TIMEOUT_SECONDS):
            await call.store.list_runs(RunQuery(limit=1, max_chars=1))
    except TimeoutError:
        raise StorageUnavailable(f"the database did not respond within {_TIMEOUT_SECONDS:g} seconds") from None
