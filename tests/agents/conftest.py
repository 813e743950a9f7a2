"""Servers of the tests of stages."""

from collections.abc import Callable, Iterator

import pytest

from tests.agents.model_server_helpers import Answer, ModelServer, Mood

Serve = Callable[..., ModelServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers that end with the test."""
    servers: list[ModelServer] = []

    def start(*answers: Answer | Mood) -> ModelServer:
        servers.append(ModelServer(answers).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()
