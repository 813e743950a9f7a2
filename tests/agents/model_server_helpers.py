"""A small server that speaks the OpenAI protocols over HTTP: answers written down beforehand, or a mood.

A mood is a function from a request to an answer. ``MOODS`` has one for each kind of server that a prompt may meet; all
are seen over real HTTP, and the server keeps every request, so that a test counts them where they arrive.
"""

import json
import threading
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import attrs

from loopkit.agents.prompt import structured_request


@attrs.frozen
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def messages(self) -> list[tuple[str, str]]:
        return [(message["role"], message["content"]) for message in self.body["messages"]]

    @property
    def form(self) -> str:
        """How JSON is asked for: ``tool``, ``json_schema``, ``json_object`` or ``text``."""
        if self.body.get("tools"):
            return "tool"
        return str((self.body.get("response_format") or {}).get("type", "text"))

    @property
    def asks_in_words(self) -> bool:
        """Whether the system message asks for JSON."""
        return any(role == "system" and "one JSON object" in text for role, text in self.messages)


@attrs.frozen
class Answer:
    status: int
    body: bytes
    wait: threading.Event | None = None
    headers: Mapping[str, str] = {}


def completion(message: dict[str, Any], finish: str, **more: Any) -> Answer:
    """An answer of a model."""
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "tiny",
        "choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        **more,
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


def speaks(text: str) -> "Mood":
    """The model answers in text, in the protocol of the request: chat completions, or responses."""

    def answer(request: Request) -> Answer:
        if not request.path.endswith("/responses"):
            return says(text)
        content = {"type": "output_text", "text": text, "annotations": []}
        return response({"type": "message", "id": "msg_1", "role": "assistant", "content": [content]})

    return answer


def response(item: dict[str, Any]) -> Answer:
    """An answer in the protocol of responses, of one item."""
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    body = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "model": "tiny",
        "output": [{"status": "completed", **item}],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18, **details},
    }
    return Answer(200, json.dumps(body).encode())


def fails(status: int, message: str = "no", *, code: str | None = None, **headers: str) -> Answer:
    """The server refuses; an underscore in the name of a header is a hyphen."""
    body = json.dumps({"error": {"message": message, "type": "error", "code": code}}).encode()
    return Answer(status, body, headers={name.replace("_", "-"): value for name, value in headers.items()})


Mood = Callable[[Request], Answer]

DRAFT = "A name for a cat."
VERDICT = {"feedback": "shorter", "score": 9}


def _obeys(request: Request, forms: Container[str], *, refuses: Container[str] = ()) -> Answer:
    """Answer a writer with a draft, and a judge with a verdict if it asked in one of the forms."""
    if request.form in refuses:
        return fails(400, f"{request.form} is not supported")
    if request.form == "text" and not request.asks_in_words:
        return says(DRAFT)
    if request.form not in forms:
        return says("It is a fine name.")
    return calls(VERDICT) if request.form == "tool" else says(json.dumps(VERDICT))


def _late(seconds: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


MOODS: dict[str, Mood] = {
    "well": lambda request: _obeys(request, ("tool", "json_schema", "text")),
    "tools ignored": lambda request: _obeys(request, ("json_schema", "text")),
    "json_schema only": lambda request: _obeys(request, ("json_schema",), refuses=("tool",)),
    "plain text only": lambda request: _obeys(request, ("text",), refuses=("tool", "json_schema", "json_object")),
    "429 with seconds": lambda _: fails(429, "slow down", Retry_After="7"),
    "429 with a date": lambda _: fails(429, "slow down", Retry_After=_late(30)),
    "quota spent": lambda _: fails(429, "pay first", code="insufficient_quota"),
    "500": lambda _: fails(500, "out of order"),
    "401": lambda _: fails(401, "no such key"),
    "cut off": lambda request: says("A name for" if request.form == "text" else '{"feedback": "sho', "length"),
    "empty choices": lambda _: completion({"content": ""}, "stop", choices=[]),
    "refusal": lambda _: completion({"content": None, "refusal": "I cannot help with that."}, "stop"),
    "content filter": lambda _: says("A name", "content_filter"),
    "reasoning only": lambda _: completion({"content": "", "reasoning_content": "A cat, then."}, "stop"),
    "usage null": lambda request: _without_usage(_obeys(request, ("tool", "json_schema", "text"))),
    "malformed": lambda _: Answer(200, b"<html>"),
    "slow": lambda _: Answer(200, b"", wait=threading.Event()),
}
"""Kinds of servers, by name."""


def _without_usage(answer: Answer) -> Answer:
    return attrs.evolve(answer, body=json.dumps({**json.loads(answer.body), "usage": None}).encode())


class ModelServer:
    """Gives its answers in order, the last one again and again, and keeps the requests."""

    def __init__(self, answers: Iterable[Answer | Mood]) -> None:
        self.requests: list[Request] = []
        self.connections: list[object] = []
        """Addresses of the clients, one for each connection over which a request came."""
        self.disconnected = threading.Event()
        """Set when a client went away before its answer."""
        self._answers = list(answers)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def answer(self, request: Request) -> Answer:
        """Keep a request, and return its answer."""
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answer if isinstance(answer, Answer) else answer(request)

    def __enter__(self) -> Self:
        self._thread.start()
        # The port may be that of an earlier server, of which the process knows the form that its model answered in.
        for place in [place for place in structured_request._working_forms if place[0] == self.url]:
            del structured_request._working_forms[place]
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.client_address not in server.connections:
                server.connections.append(self.client_address)
            given = server.answer(Request(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if given.wait is not None:
                given.wait.set()
                self.connection.settimeout(60)
                if not self.connection.recv(1):
                    server.disconnected.set()
                return
            self.send_response(given.status)
            self.send_header("Content-Type", "application/json")
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(given.body)))
            self.end_headers()
            self.wfile.write(given.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
