"""Tests of the files that pages load."""

from importlib.resources import files

from loopkit_web.dashboard.assets import assets
from tests.web.app_helpers import client, make_app
from tests.web.dashboard.page_helpers import PageReader


async def test_files_are_cached_for_ever_under_their_hash() -> None:
    """Files are sent under their hashed paths, also gzipped; another version, or another file, is a 404."""
    async with client(make_app()) as http:
        page = PageReader(await http.get("/agents"))
        names = [one for one in page.links if "/_s/" in one]
        assert len(names) == 3
        for name in names:
            response = await http.get(name)
            assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert response.headers["content-encoding"] == "gzip"
            plain = await http.get(name, headers={"accept-encoding": "identity"})
            assert plain.content == response.content
        for name in (
            "/_s/000000000000/loopkit.css",
            "/_s/x/..%2F__init__.py",
            names[0].rsplit("/", 1)[0] + "/idiomorph.min.js",
        ):
            assert (await http.get(name)).status_code == 404


def test_only_comment_lines_are_left_out() -> None:
    """Of the script the lines that are comments are not sent; every other line is."""
    folder = files("loopkit_web.dashboard") / "static"
    sent = assets()["loopkit.js"].content.decode()
    for name in ("live.js", "loopkit.js"):
        for line in (folder / name).read_text().splitlines():
            is_comment = line.lstrip().startswith(("//", "/*", "*"))
            assert (line in sent.splitlines()) != is_comment or not line.strip(), line
