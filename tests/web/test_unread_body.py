"""Responses to requests whose body is not read: the client gets them, whatever it still sends."""

import socket
from typing import Any, Final

import pytest
from anyio import to_thread

from loopkit_web import Access
from tests.web.app_helpers import make_app, serving

BODY: Final = b"x" * (4 << 20)
JSON: Final = "Content-Type: application/json"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def exchange(port: int, path: str, headers: list[str]) -> bytes:
    """Send a request with a large body, all of it, and return the response."""
    lines = [f"POST {path} HTTP/1.1", f"Host: localhost:{port}", f"Content-Length: {len(BODY)}", *headers, "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall("\r\n".join(lines).encode() + BODY)
        response = b""
        while b"\r\n\r\n" not in response and (data := connection.recv(65536)):
            response += data
        return response


async def refuse(request: Any) -> Access | None:
    return None


async def view_only(request: Any) -> Access | None:
    return Access(None, ["view"])


REFUSED: Final[dict[str, tuple[int, dict[str, Any], str, list[str]]]] = {
    "not signed in": (401, {"access": refuse}, "/api/workflows", [JSON]),
    "without permission": (403, {"access": view_only}, "/api/workflows", [JSON]),
    "from another origin": (403, {}, "/api/workflows", [JSON, "Origin: https://elsewhere.example"]),
    "no such endpoint": (404, {}, "/nothing", [JSON]),
    "no such method": (405, {}, "/api/stats", [JSON]),
    "too large": (413, {}, "/api/workflows", [JSON]),
    "of another type": (415, {}, "/api/workflows", ["Content-Type: text/plain"]),
    "a body that no endpoint takes": (404, {}, "/api/workflow-cancel?id=run_x", []),
}


@pytest.mark.parametrize("connection", ["close", "keep-alive"])
@pytest.mark.parametrize("refused", REFUSED)
async def test_a_response_is_not_lost_with_a_body_that_is_not_read(refused: str, connection: str) -> None:
    """A client that sends its whole body first gets the answer, and no reset in its place."""
    status, options, path, headers = REFUSED[refused]
    async with serving(make_app(**options)) as url:
        port = int(url.rpartition(":")[2].strip("/"))
        response = await to_thread.run_sync(exchange, port, path, [*headers, f"Connection: {connection}"])
    assert response.startswith(f"HTTP/1.1 {status} ".encode())


async def test_a_client_that_waits_before_its_body_is_answered_at_once() -> None:
    """It has not sent the body, so there is nothing to read."""
    async with serving(make_app(access=refuse)) as url:
        port = int(url.rpartition(":")[2].strip("/"))

        def ask() -> bytes:
            head = f"POST /api/workflows HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 4000000\r\n"
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                connection.sendall(f"{head}{JSON}\r\nExpect: 100-continue\r\n\r\n".encode())
                return connection.recv(65536)

        assert (await to_thread.run_sync(ask)).startswith(b"HTTP/1.1 401 ")
