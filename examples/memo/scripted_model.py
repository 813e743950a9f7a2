"""A model that is a script: it answers the prompts of this example by rules, over HTTP, as an OpenAI-compatible server.

It writes a memo that lacks something, judges by what is missing, and mends one thing at each revision.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LINES = {
    "Decision:": "Decision: we do it, starting next week.",
    "Next step:": "Next step: the team lead tells everybody by Friday.",
}


def write(question: str) -> str:
    """Return a first memo, which has a heading and nothing that a reader can act on."""
    topic = re.search(r"about (.+?)\.?$", question, re.MULTILINE)
    return f"# {topic[1].capitalize() if topic else 'Memo'}\n\nMuch speaks for it."


def revise(question: str) -> str:
    """Return the memo of the question with the first line that it lacks."""
    memo = question.partition("<memo>\n")[2].partition("\n</memo>")[0]
    missing = [line for name, line in LINES.items() if name not in memo]
    return "\n\n".join([memo, *missing[:1]])


def judge(question: str) -> dict[str, Any]:
    """Return a verdict on the memo between the marks of the question."""
    found = re.search(r"<(work-\w+)>\n(.*)\n</\1>", question, re.DOTALL)
    memo = found[2] if found else ""
    missing = [name for name in LINES if name not in memo]
    feedback = f"Add a line {', and one '.join(missing)}" if missing else "Clear and complete."
    return {"feedback": feedback, "score": 10 - 3 * len(missing)}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the message that answers a request."""
    question = request["messages"][-1]["content"]
    if not request.get("tools"):
        return {"role": "assistant", "content": (revise if "<memo>" in question else write)(question)}
    function = {"name": request["tools"][0]["function"]["name"], "arguments": json.dumps(judge(question))}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": function}]}


class Handler(BaseHTTPRequestHandler):
    """The endpoint for chat completions."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        message = answer(request)
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if request.get("tools") else "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
        body = json.dumps(
            {
                "id": "1", "object": "chat.completion", "created": 1, "model": request["model"], "choices": [choice],
                "usage": usage,
            }
        ).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def serve() -> Iterator[str]:
    """Serve the model on a free port of this machine; yield its base URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
