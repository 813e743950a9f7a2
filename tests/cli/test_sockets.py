"""Listening sockets of ``serve`` and of the metrics of ``worker``."""

import ast
import socket
from pathlib import Path

import pytest

import loopkit_cli
from loopkit.errors import UnusableOption
from loopkit_cli.servers.sockets import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", ""])
def test_an_accepted_connection_sends_each_write_at_once(host: str) -> None:
    """It has TCP_NODELAY from the listening socket, on every address, so head and body do not wait for each other."""
    try:
        sockets = listen(host, 0)
    except UnusableOption:
        if host == "::1":
            pytest.skip("this machine has no IPv6")
        raise
    for listening in sockets:
        address = "::1" if listening.getsockname()[0] == "::1" else "127.0.0.1"
        with listening, socket.create_connection((address, listening.getsockname()[1])):
            accepted, _ = listening.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_one_module_opens_listening_sockets() -> None:
    """Whatever else of the program listens would miss the option."""
    folder = Path(loopkit_cli.__file__).parent
    opening = {
        path.name
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in {"create_server", "start_server", "start_unix_server"}
    }
    assert opening == {"sockets.py"}
