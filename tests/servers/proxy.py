"""A proxy before a server that can lose a request before it arrives, or the response to one."""

import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Self

Loss = Literal["request", "answer"]


class Proxy:
    """Passes bytes on between clients on a TCP port of the loopback address and a server."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._lose: Loss | None = None
        self.lost = 0
        self._silences = 0
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def lose(self, what: Loss) -> None:
        """Lose the next request, or its response; its connection is closed."""
        self._lose = what

    def silence(self) -> None:
        """Take from every open connection, and pass nothing on any more; new connections work."""
        self._silences += 1

    def cut(self) -> None:
        """Close every connection at once; bytes sent before still arrive."""
        for one in tuple(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def __enter__(self) -> Self:
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
        silences = self._silences
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
                    if silences == self._silences:
                        to.sendall(data)
