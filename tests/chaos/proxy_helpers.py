"""A proxy before PostgreSQL that drops responses to commits: the client never learns that it has committed."""

import random
import socket
import threading
from contextlib import suppress
from typing import Final

COMMITTED: Final = b"C\x00\x00\x00\x0bCOMMIT\x00"
"""The server's message that a commit is done."""


class LosingProxy:
    """A proxy on the loopback address that drops some responses to commits, together with their connections."""

    def __init__(self, host: str, port: int, *, part: float) -> None:
        self._target = (host, port)
        self._part = part
        self._chance = random.Random(3)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.lost = 0
        self.is_losing = True
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        _close(source, target)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if self.is_losing and COMMITTED in data and self._chance.random() < self._part:
                    self.lost += 1
                    break
                client.sendall(data)
        _close(server, client)


def _close(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
