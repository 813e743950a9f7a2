"""Compression of pages, for servers and proxies that do not compress, and the reading of Accept-Encoding.

Pages contain no secrets beside text of the client (BREACH): no token of a session, only keys for one form each.
"""

import gzip
from typing import Final

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import Response

from loopkit_web.http.call import Call

__all__ = ["accepts_gzip", "compress_page"]

_LEAST_BYTES: Final = 1024
_MOST_BYTES_IN_THE_LOOP: Final = 32 * 1024
"""Larger pages are compressed in a thread: about a millisecond is enough for these."""
_LEVEL: Final = 5


def accepts_gzip(headers: Headers) -> bool:
    """Return True if a request with these headers may be answered with gzip.

    Source: RFC 9110, section 12.5.3: a quality of 0 means "not acceptable"; ``*`` stands for every coding not named.
    """
    qualities: dict[str, float] = {}
    for part in ",".join(headers.getlist("accept-encoding")).lower().split(","):
        coding, *parameters = (text.strip() for text in part.split(";"))
        if coding:
            qualities["gzip" if coding == "x-gzip" else coding] = _quality(parameters)
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


async def compress_page(call: Call, response: Response) -> None:
    """Compress the body of an HTML page if the client accepts it; every page varies by Accept-Encoding."""
    if not response.headers.get("content-type", "").startswith("text/html"):
        return
    response.headers.add_vary_header("Accept-Encoding")
    body = response.body
    if len(body) < _LEAST_BYTES or "content-encoding" in response.headers:
        return
    if not accepts_gzip(call.request.headers):
        return
    if len(body) <= _MOST_BYTES_IN_THE_LOOP:
        response.body = gzip.compress(body, _LEVEL, mtime=0)
    else:
        response.body = await to_thread.run_sync(lambda: gzip.compress(body, _LEVEL, mtime=0))
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Content-Length"] = str(len(response.body))
