"""A proxy before a server, that can lose what is said: a request before it arrives, or the answer to one."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

Loss = Literal["request", "answer"]


class Proxy:
    """Passes bytes on between clients on a TCP port of the loopback address and a server."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._lose: Loss | None = None
        self.lost = 0
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def lose(self, what: Loss) -> None:
        """Let the next request, or its answer, not arrive; its connection breaks off."""
        self._lose = what

    def cut(self) -> None:
        """Break off every connection at once; what was said before arrives."""
        for one in tuple(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client, self._connect()), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        self._open |= {client, server}
        with client, server, selectors.DefaultSelector() as ready, suppress(OSError):
            ready.register(client, selectors.EVENT_READ, (server, "request"))
            ready.register(server, selectors.EVENT_READ, (client, "answer"))
            while True:
                for key, _ in ready.select():
                    to, kind = key.data
                    data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                    if not data:
                        return
                    if kind == self._lose:
                        self._lose = None
                        self.lost += 1
                        return
                    to.sendall(data)
