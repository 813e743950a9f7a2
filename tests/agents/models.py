"""A small server that speaks the chat-completions protocol over HTTP, with answers written down beforehand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import attrs


@attrs.frozen
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def messages(self) -> list[tuple[str, str]]:
        return [(message["role"], message["content"]) for message in self.body["messages"]]


@attrs.frozen
class Answer:
    status: int
    body: bytes
    wait: threading.Event | None = None


def completion(message: dict[str, Any], finish: str) -> Answer:
    """An answer of a model."""
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "tiny",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    }
    return Answer(200, json.dumps(body).encode())


def says(text: str | None, finish: str = "stop") -> Answer:
    """The model answers in text."""
    return completion({"content": text}, finish)


def calls(arguments: Any, finish: str = "tool_calls") -> Answer:
    """The model calls the tool it was offered."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    call = {"id": "call_1", "type": "function", "function": {"name": "verdict", "arguments": text}}
    return completion({"content": None, "tool_calls": [call]}, finish)


def fails(status: int, message: str = "no") -> Answer:
    """The server refuses."""
    return Answer(status, json.dumps({"error": {"message": message, "type": "error", "code": None}}).encode())


class ModelServer:
    """Gives its answers in order, the last one again and again, and keeps the requests."""

    def __init__(self, answers: Iterable[Answer]) -> None:
        self.requests: list[Request] = []
        self.disconnected = threading.Event()
        """Set when a client went away before its answer."""
        self._answers = list(answers)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._answer, self.disconnected))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def _answer(self, request: Request) -> Answer:
        self.requests.append(request)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(answer: Callable[[Request], Answer], disconnected: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            given = answer(Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if given.wait is not None:
                given.wait.set()
                self.connection.settimeout(60)
                if not self.connection.recv(1):
                    disconnected.set()
                return
            self.send_response(given.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            self.wfile.write(given.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
