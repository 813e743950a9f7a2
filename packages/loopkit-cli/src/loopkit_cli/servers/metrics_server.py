"""Server of the metrics of this process, for ``worker --metrics``: one path, one thread, no dependencies.

It answers ``GET /metrics`` to whoever can reach the address: counts and the names of agents, no inputs and no outputs.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from loopkit.runner.openmetrics import MEDIA_TYPE, openmetrics_text
from loopkit_cli.servers.sockets import listen

__all__ = ["serving_metrics"]

_PATH: Final = "/metrics"
_TIMEOUT_SECONDS: Final = 10.0
"""Time that a client may take to send its request."""


@contextmanager
def serving_metrics(host: str, port: int, lines: Callable[[], Sequence[str]]) -> Iterator[int]:
    """Serve the lines of metrics in threads inside ``with``; the value is the port.

    Raises:
        UnusableOption: the address cannot be listened on.
    """
    with ExitStack() as opened:
        listening = listen(host, port)
        for each in listening:
            server = ThreadingHTTPServer(("", 0), _handler(lines), bind_and_activate=False)
            server.socket.close()
            server.socket = each
            opened.callback(server.server_close)
            threading.Thread(target=server.serve_forever, name="loopkit metrics", daemon=True).start()
            opened.callback(server.shutdown)
        yield listening[0].getsockname()[1]


def _handler(lines: Callable[[], Sequence[str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Handler of one connection."""

        timeout = _TIMEOUT_SECONDS

        def do_GET(self) -> None:
            if self.path.partition("?")[0] != _PATH:
                self.send_error(HTTPStatus.NOT_FOUND, f"The metrics are at {_PATH}")
                return
            body = openmetrics_text(lines()).encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", MEDIA_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Write no line for a scrape."""

    return Handler
