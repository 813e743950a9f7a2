"""Listening sockets of a host name and a port."""

import errno
import socket
from typing import Final

from loopkit.errors import UnusableOption

__all__ = ["listen"]

_MISSING_FAMILY: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
"""Errors of an address whose protocol the machine does not have, such as ``::1`` in a container without IPv6."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Open a listening socket on every address of a host name that this machine has.

    One socket only for port 0 (any free port) and for the empty host (every address).

    Raises:
        UnusableOption: the name is unknown, an address is taken or forbidden, or the machine has none of them.
    """
    sockets: list[socket.socket] = []
    try:
        resolved = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = {address: family for family, _, _, _, address in resolved}
        missing: OSError | None = None
        for address, family in addresses.items():
            try:
                sockets.append(socket.create_server(address[:2], family=family))
                _send_at_once(sockets[-1])
            except OSError as error:
                if error.errno not in _MISSING_FAMILY:
                    raise
                missing = error
            if sockets and (port == 0 or not host):
                break
        if not sockets and missing is not None:
            raise missing
    except (OSError, OverflowError, UnicodeError) as error:
        for listening in sockets:
            listening.close()
        raise UnusableOption(f"cannot listen on {host or '*'}:{port}: {error}") from None
    return sockets


def _send_at_once(listening: socket.socket) -> None:
    """Set TCP_NODELAY, which accepted connections inherit, so that each write is sent at once.

    asyncio sets it on connections too, but not where the protocol number of the socket is 0, as ``create_server`` makes
    it. Head and body of a response then wait for each other for 40 ms: by Nagle's algorithm on this side, and by the
    delayed acknowledgement on the other.
    """
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
