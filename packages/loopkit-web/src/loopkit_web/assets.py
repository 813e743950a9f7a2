"""The files that pages load: the one style sheet, the one script and the icon, from memory and under hashed names.

The script that is sent is idiomorph and the two halves of loopkit's own module, one after the other; nothing else is
built. A name holds the hash of what it stands for, so that a browser asks once and for ever.
"""

from collections.abc import Mapping
from functools import cache
from gzip import compress
from hashlib import sha256
from importlib.resources import files
from typing import Final

import attrs
from starlette.responses import Response

from loopkit_web.context import Call
from loopkit_web.problems import Refused
from loopkit_web.routing import Endpoint

__all__ = ["ASSETS", "asset_path", "assets"]

_TYPES: Final[Mapping[str, str]] = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "loopkit.css": ("loopkit.css",),
    "loopkit.js": ("idiomorph.min.js", "live.js", "loopkit.js"),
    "icon.svg": ("icon.svg",),
}


@attrs.frozen(kw_only=True)
class Asset:
    """One file as it is sent."""

    name: str
    content: bytes
    zipped: bytes
    hash: str

    @property
    def media_type(self) -> str:
        return f"{_TYPES[self.name.rpartition('.')[2]]}; charset=utf-8"


@cache
def assets() -> Mapping[str, Asset]:
    """Give every file by its name; read once."""
    folder = files("loopkit_web") / "static"
    found = {}
    for name, parts in _PARTS.items():
        content = b"\n".join((folder / part).read_bytes() for part in parts)
        digest = sha256(content).hexdigest()[:12]
        found[name] = Asset(name=name, content=content, zipped=compress(content, 9, mtime=0), hash=digest)
    return found


def asset_path(name: str) -> str:
    """Give the path of a file below the mount prefix."""
    return f"/_s/{assets()[name].hash}/{name}"


async def _get_asset(call: Call) -> Response:
    """``GET /_s/{hash}/{name}``: a file; one of another version is not there."""
    asset = assets().get(call.path["name"])
    if asset is None or asset.hash != call.path["hash"]:
        raise Refused("not-found")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if "gzip" in call.request.headers.get("accept-encoding", ""):
        return Response(asset.zipped, media_type=asset.media_type, headers={**headers, "Content-Encoding": "gzip"})
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
