"""Who a request is and what it may do: one asynchronous hook, asked inside the app, closed by default.

The hook answers for every request but the ones whose endpoint asks for no permission (health, static files, signing
in). What it allows is compared with the endpoint's permission in one place, the dispatcher in :mod:`loopkit_web.app`.
"""

import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from typing import Final

import attrs
from starlette.requests import Request

from loopkit_web.problems import Refused

__all__ = [
    "EVERYTHING",
    "NOBODY",
    "Access",
    "AccessHook",
    "LoopbackOnly",
    "Permission",
    "allow_all",
    "host_name",
    "host_names",
    "is_loopback",
]


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


_HOST: Final = re.compile(r"(?:(?P<name>[a-z0-9_.-]{1,255})|\[(?P<address>[0-9a-f:.]{2,45})\])(?::[0-9]{1,5})?")


async def allow_all(request: Request) -> Access:
    """Let everybody do everything. For an app that its host already guards, and for tests."""
    return Access(None, EVERYTHING)


class LoopbackOnly:
    """An access hook: this machine may do everything, and nobody else anything."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Answer under these names of hosts, loopback names besides.

        Raises:
            ValueError: one is no name of a host.
        """
        self._names = host_names(names)

    async def __call__(self, request: Request) -> Access:
        """Let through what comes from this machine, under its own name, and was not forwarded.

        Raises:
            Refused: it comes from elsewhere, or may; it says how to open the app.
        """
        client = request.client.host if request.client else ""
        hosts = request.headers.getlist("host")
        name = host_name(hosts[0]) if len(hosts) == 1 else ""
        forwarded = any(name in _FORWARDING or name.startswith("x-forwarded") for name in request.headers)
        if not forwarded and is_loopback(client) and (is_loopback(name) or name in self._names):
            return Access(None, EVERYTHING)
        raise Refused("loopback-only")


def host_name(host: str) -> str:
    """Give the name or address in a Host header: lower case, without port and brackets; "" where it is none."""
    found = _HOST.fullmatch(host.strip().lower())
    if found is None:
        return ""
    if found["address"] is None:
        return found["name"].removesuffix(".")
    try:
        return str(ipaddress.IPv6Address(found["address"]))
    except ValueError:
        return ""


def host_names(hosts: Iterable[str]) -> frozenset[str]:
    """Give the names of hosts as an operator writes them: in any case, with or without port or brackets.

    Raises:
        ValueError: one is no name of a host.
    """
    names = {host: host_name(f"[{host}]" if host.count(":") > 1 and "[" not in host else host) for host in hosts}
    if wrong := [host for host, name in names.items() if not name]:
        raise ValueError(f"{wrong[0]!r} is not the name of a host")
    return frozenset(names.values())


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
