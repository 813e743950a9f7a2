"""Routing by path and method."""

import pytest
from starlette.responses import Response

from loopkit_web.http.call import Call
from loopkit_web.http.endpoint import Endpoint, Routes


async def handler(call: Call) -> Response:
    return Response()


def row(path: str, method: str = "GET") -> Endpoint:
    return Endpoint(method=method, path=path, handler=handler, permission=None)  # type: ignore[arg-type]


ROUTES = Routes([row("/a/{run_id}"), row("/a/new"), row("/a/{run_id}/b/{name}"), row("/a/new", "POST"), row("/")])


@pytest.mark.parametrize(
    ("path", "expected", "names"),
    [
        ("/a/new", "/a/new", {}),
        ("/a/run_1", "/a/{run_id}", {"run_id": "run_1"}),
        ("/a/run_1/b/x y.md", "/a/{run_id}/b/{name}", {"run_id": "run_1", "name": "x y.md"}),
        ("/a/ü", "/a/{run_id}", {"run_id": "ü"}),
        ("/", "/", {}),
        ("/a", None, {}),
        ("/a//b/x", None, {}),
        ("/a/1/2", None, {}),
        ("/a/new/", None, {}),
        ("//a/new", None, {}),
        ("/A/new", None, {}),
        ("/a/x\0", None, {}),
        ("/a/1/b/\udcff", None, {}),
    ],
)
def test_a_literal_path_wins_and_a_name_is_one_segment(path: str, expected: str | None, names: dict[str, str]) -> None:
    """A path matches one row or none; a segment is the value of its name, if it is text that can be stored."""
    methods, values = ROUTES.find(path)
    assert {endpoint.path for endpoint in methods.values()} == ({expected} if expected else set())
    assert values == names


def test_a_path_has_several_methods() -> None:
    """Rows with the same path are methods of one address."""
    assert set(ROUTES.find("/a/new")[0]) == {"GET", "POST"}
