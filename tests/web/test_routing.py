"""The table, looked up by path and method."""

import pytest
from starlette.responses import Response

from loopkit_web.context import Call
from loopkit_web.routing import Endpoint, Routes


async def answer(call: Call) -> Response:
    return Response()


def row(path: str, method: str = "GET") -> Endpoint:
    return Endpoint(method=method, path=path, handler=answer, permission=None)  # type: ignore[arg-type]


ROUTES = Routes([row("/a/{run_id}"), row("/a/new"), row("/a/{run_id}/b/{name}"), row("/a/new", "POST"), row("/")])


@pytest.mark.parametrize(
    ("path", "found", "names"),
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
    ],
)
def test_a_literal_path_wins_and_a_name_is_one_segment(path: str, found: str | None, names: dict[str, str]) -> None:
    """A path leads to one row or none; whatever stands in a segment is the name's value."""
    methods, values = ROUTES.find(path)
    assert {endpoint.path for endpoint in methods.values()} == ({found} if found else set())
    assert values == names


def test_a_path_has_its_methods() -> None:
    """Rows of one path are one address with several methods."""
    assert set(ROUTES.find("/a/new")[0]) == {"GET", "POST"}
