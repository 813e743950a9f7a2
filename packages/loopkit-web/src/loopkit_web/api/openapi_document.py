"""The endpoint of the OpenAPI document."""

from starlette.responses import Response

from loopkit_web.http.call import Call
from loopkit_web.http.json_response import json_response
from loopkit_web.http.openapi import describe

__all__ = ["get_openapi"]


async def get_openapi(call: Call) -> Response:
    """``GET /api/openapi.json``: the document of this app, with its mount prefix as the server."""
    return await json_response(call, describe(call.site.table, base=call.base))
