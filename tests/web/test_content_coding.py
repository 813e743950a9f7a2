"""Compression of pages."""

import pytest
from starlette.datastructures import Headers

from loopkit_web.http.content_coding import accepts_gzip
from tests.web.app_helpers import client, make_app


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True), ("GZIP", True), ("x-gzip", True), ("br, gzip;q=0.5", True), ("*", True), ("*;q=0.1", True),
        ("", False), ("identity", False), ("br", False), ("gzip;q=0", False), ("gzip; q=0.000", False),
        ("identity, gzip; Q=0.0", False), ("*;q=0", False), ("*, gzip;q=0", False), ("gzip;q=x", False),
    ],
)  # fmt: skip
def test_a_quality_of_zero_is_a_refusal(header: str, accepted: bool) -> None:
    """``q=0`` means that a coding is not wanted, and ``*`` every coding that is not named."""
    assert accepts_gzip(Headers({"Accept-Encoding": header})) is accepted


async def test_pages_are_compressed_for_clients_that_accept_it() -> None:
    """The page is the same, is shorter on the wire, and caches keep both forms apart; HEAD has the same headers."""
    async with client(make_app()) as http:
        plain = await http.get("/agents/start", headers={"Accept-Encoding": "identity"})
        gzipped = await http.get("/agents/start", headers={"Accept-Encoding": "gzip"})
        head = await http.head("/agents/start", headers={"Accept-Encoding": "gzip"})
        refused = await http.get("/agents/start", headers={"Accept-Encoding": "gzip;q=0"})
    assert gzipped.headers["content-encoding"] == head.headers["content-encoding"] == "gzip"
    assert int(gzipped.headers["content-length"]) < len(gzipped.content) / 2
    assert "</html>" in gzipped.text
    for response in (plain, refused):
        assert "content-encoding" not in response.headers
        assert "</html>" in response.text
    for response in (plain, gzipped, head, refused):
        assert "Accept-Encoding" in response.headers["vary"]


async def test_json_and_streams_are_left_to_the_server() -> None:
    """Only pages are compressed here."""
    async with client(make_app(), headers={"Accept-Encoding": "gzip"}) as http:
        assert "content-encoding" not in (await http.get("/api/openapi.json")).headers
