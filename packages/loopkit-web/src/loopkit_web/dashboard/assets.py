"""Files that pages load: one style sheet, one script and the icon, sent from memory.

The script is idiomorph followed by the two halves of loopkit's own module, without the comments that are lines of
their own; nothing else is built. The path of a file contains a hash of its content, so a browser may keep it for ever.
"""

import re
from collections.abc import Mapping
from functools import cache
from gzip import compress
from hashlib import sha256
from importlib.resources import files
from typing import Final

import attrs
from starlette.responses import Response

from loopkit_web.http.call import Call
from loopkit_web.http.content_coding import accepts_gzip
from loopkit_web.http.endpoint import Endpoint
from loopkit_web.http.problems import ProblemCode, Refused

__all__ = ["ASSETS", "Asset", "asset_path", "assets"]

_MEDIA_TYPES: Final[Mapping[str, str]] = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "loopkit.css": ("loopkit.css",),
    "loopkit.js": ("idiomorph.min.js", "live.js", "loopkit.js"),
    "icon.svg": ("icon.svg",),
}
_COMMENT_LINES: Final = re.compile(rb"^ *//[^\n]*\n|^ */\*.*?\*/ *\n", re.MULTILINE | re.DOTALL)


@attrs.frozen(kw_only=True)
class Asset:
    """One file, ready to be sent."""

    name: str
    content: bytes
    gzipped: bytes
    hash: str
    """First 12 hexadecimal digits of the SHA-256 of its content."""

    @property
    def media_type(self) -> str:
        return f"{_MEDIA_TYPES[self.name.rpartition('.')[2]]}; charset=utf-8"


@cache
def assets() -> Mapping[str, Asset]:
    """Return every file by its name. They are read once in a process."""
    folder = files("loopkit_web.dashboard") / "static"
    by_name = {}
    for name, parts in _PARTS.items():
        content = b"\n".join(_COMMENT_LINES.sub(b"", (folder / part).read_bytes()) for part in parts)
        digest = sha256(content).hexdigest()[:12]
        by_name[name] = Asset(name=name, content=content, gzipped=compress(content, 9, mtime=0), hash=digest)
    return by_name


def asset_path(name: str) -> str:
    """Return the path of a file, below the mount prefix."""
    return f"/_s/{assets()[name].hash}/{name}"


async def _get_asset(call: Call) -> Response:
    """``GET /_s/{hash}/{name}``: a file; 404 for one of another version."""
    asset = assets().get(call.path["name"])
    if asset is None or asset.hash != call.path["hash"]:
        raise Refused(ProblemCode.NOT_FOUND)
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if accepts_gzip(call.request.headers):
        return Response(asset.gzipped, media_type=asset.media_type, headers={**headers, "Content-Encoding": "gzip"})
    return Response(asset.content, media_type=asset.media_type, headers=headers)


ASSETS: Final = (
    Endpoint(
        method="GET",
        path="/_s/{hash}/{name}",
        handler=_get_asset,
        permission=None,
        summary="A file that pages load",
        page=True,
    ),
)
