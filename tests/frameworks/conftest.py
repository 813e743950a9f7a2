"""What all of these tests need: a model server, no telemetry, and no connection that leaves this machine."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.agents.model_server_helpers import Answer, ModelServer, Mood

os.environ.update(
    {
        "ANONYMIZED_TELEMETRY": "false",
        "BRAINTRUST_API_KEY": "",
        "DEEPEVAL_DISABLE_DOTENV": "1",
        "DEEPEVAL_TELEMETRY_OPT_OUT": "1",
        "DO_NOT_TRACK": "1",
        "ERROR_REPORTING": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "LANGSMITH_TRACING": "false",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "OPENAI_API_KEY": "sk-test",
        "OTEL_SDK_DISABLED": "true",
    }
)

OTHERS = ["test_evaluators.py", "test_evaluator_page.py", "test_details.py", "test_hosts.py", "test_servers.py"]
collect_ignore = [] if find_spec("autoevals") else OTHERS

ELSEWHERE: list[object] = []
"""Addresses outside of this machine to which something tried to connect."""


def _keep_here(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse every connection and every look-up of a name that leaves this machine."""
    if event == "socket.connect" and arguments[0].family in (socket.AF_INET, socket.AF_INET6):
        host = arguments[1][0]
    elif event == "socket.getaddrinfo":
        host = arguments[0]
    else:
        return
    name = host.decode() if isinstance(host, bytes) else host
    if name not in (None, "", "127.0.0.1", "::1", "localhost"):
        ELSEWHERE.append(arguments)
        raise OSError(f"the tests of frameworks connect to this machine only, not to {name}")


sys.addaudithook(_keep_here)


@pytest.fixture(autouse=True)
def _stay_here() -> Iterator[None]:
    ELSEWHERE.clear()
    yield
    assert ELSEWHERE == []


Serve = Callable[[Answer | Mood], ModelServer]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start a server with an answer; clients of OpenAI that are made afterwards ask it."""
    servers: list[ModelServer] = []

    def start(answer: Answer | Mood) -> ModelServer:
        server = ModelServer([answer]).__enter__()
        servers.append(server)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_BASE", server.url)
        return server

    yield start
    for server in servers:
        server.__exit__()
