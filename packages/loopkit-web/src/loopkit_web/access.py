"""Who a request is and what it may do: one asynchronous hook, asked inside the app, closed by default.

The hook answers for every request but the ones whose endpoint asks for no permission (health, static files, signing
in). What it allows is compared with the endpoint's permission in one place, the dispatcher in :mod:`loopkit_web.app`.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from typing import Final

import attrs
from starlette.requests import Request

from loopkit_web.problems import Refused

__all__ = ["EVERYTHING", "NOBODY", "Access", "AccessHook", "Permission", "allow_all", "loopback_only"]


class Permission(StrEnum):
    """What an endpoint asks for."""

    VIEW = "view"
    START = "start"
    CANCEL = "cancel"
    RETRY = "retry"


EVERYTHING: Final = frozenset(Permission)


def _permissions(names: Iterable[str]) -> frozenset[Permission]:
    return frozenset(Permission(name) for name in names)


@attrs.frozen
class Access:
    """Who asks, and what they may do."""

    actor: str | None = attrs.field(validator=attrs.validators.optional(attrs.validators.instance_of(str)))
    """As a person would name them; stands in the events of what they do. None: not known."""
    allow: frozenset[Permission] = attrs.field(converter=_permissions)
    """Any of ``view``, ``start``, ``cancel``, ``retry``."""

    def only(self, permissions: frozenset[Permission]) -> "Access":
        """Give the same actor with no more than these permissions."""
        return Access(self.actor, self.allow & permissions)


NOBODY: Final = Access(None, ())

AccessHook = Callable[[Request], Awaitable[Access | None]]
"""Answers a request: what it may do, or None where it does not say who it is (401)."""

_FORWARDING: Final = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "cf-connecting-ip"}
)


async def allow_all(request: Request) -> Access:
    """Let everybody do everything. For an app that its host already guards, and for tests."""
    return Access(None, EVERYTHING)


async def loopback_only(request: Request) -> Access:
    """Let this machine do everything: client and Host are loopback, and nothing forwarded the request.

    Raises:
        Refused: it comes from elsewhere, or may; it says how to open the app.
    """
    client = request.client.host if request.client else ""
    names = request.headers.getlist("host")
    direct = not any(name in _FORWARDING or name.startswith("x-forwarded") for name in request.headers)
    if direct and is_loopback(client) and len(names) == 1 and is_loopback(host_name(names[0])):
        return Access(None, EVERYTHING)
    raise Refused("loopback-only")


def host_name(host: str) -> str:
    """Give the name in a Host header in lower case, without port and brackets; "" where it is none."""
    name, _, port = host.strip().lower().rpartition(":")
    if not name or not (port == "" or (port.isascii() and port.isdigit())):
        name = host.strip().lower()
    if name.startswith("[") and name.endswith("]"):
        return name[1:-1]
    return "" if ":" in name else name.removesuffix(".")


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and for every address of the machine itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
