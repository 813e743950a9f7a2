"""Authentication and permissions: one asynchronous access hook, called inside the app; closed by default.

The hook is called for every request except those to public endpoints (health, static files, signing in).
:mod:`loopkit_web.app` compares the permissions it grants with the one the endpoint needs.
"""

import inspect
import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from typing import Final

import attrs
from starlette.requests import Request

from loopkit.errors import UnusableOption
from loopkit_web.http.problems import ProblemCode, Refused

__all__ = [
    "EVERYTHING",
    "NOBODY",
    "Access",
    "AccessHook",
    "LoopbackOnly",
    "Permission",
    "allow_all",
    "ask",
    "check_hook",
    "host_name",
    "host_names",
    "is_loopback",
]


class Permission(StrEnum):
    """Permission that an endpoint requires."""

    VIEW = "view"
    START = "start"
    CANCEL = "cancel"
    RETRY = "retry"


EVERYTHING: Final = frozenset(Permission)


def _permissions(names: Iterable[str]) -> frozenset[Permission]:
    if isinstance(names, str):
        raise ValueError(f"allow must be a collection of permissions, such as [{str(names)!r}], not the text {names!r}")
    return frozenset(Permission(name) for name in names)


@attrs.frozen
class Access:
    """A client and its permissions.

    Raises:
        ValueError: ``allow`` is one text, or has a name that is not a permission.
    """

    actor: str | None = attrs.field(validator=attrs.validators.optional(attrs.validators.instance_of(str)))
    """Name of the person or program, recorded in the events of their actions; None: unknown."""
    allow: frozenset[Permission] = attrs.field(converter=_permissions)
    """Any of ``view``, ``start``, ``cancel``, ``retry``."""

    def only(self, permissions: frozenset[Permission]) -> "Access":
        """Return the access of the same actor, limited to these permissions."""
        return Access(self.actor, self.allow & permissions)


NOBODY: Final = Access(None, ())

AccessHook = Callable[[Request], Awaitable[Access | None]]
"""Function that returns the access of a request, or None if the client is not authenticated (401)."""

_HOOK_FORM: Final = "async def access(request) -> loopkit_web.Access | None"


def check_hook(hook: object) -> None:
    """Check that an access hook can be called. Only its first result shows whether it is asynchronous.

    Raises:
        UnusableOption: it cannot be called, or is a class in place of an instance of it.
    """
    if not callable(hook):
        raise UnusableOption(
            f"access must be a function, {_HOOK_FORM}, not {type(hook).__name__}; for a token pass "
            "loopkit_web.TokenAccess(token)"
        )
    if isinstance(hook, type) and not hasattr(hook, "__await__"):
        raise UnusableOption(f"access must be a function, {_HOOK_FORM}; pass an instance of the class {hook.__name__}")


async def ask(hook: AccessHook, request: Request) -> Access | None:
    """Return what the access hook returns for a request.

    Raises:
        TypeError: the hook is not asynchronous, or returns something else.
    """
    pending: object = hook(request)
    if not inspect.isawaitable(pending):
        raise TypeError(f"the access hook must be async ({_HOOK_FORM}); this one returned {type(pending).__name__}")
    access: object = await pending
    if not isinstance(access, Access | None):
        raise TypeError(f"the access hook must return a loopkit_web.Access or None, not {type(access).__name__}")
    return access


_PROXY_HEADERS: Final = frozenset({"forwarded", "via", "cdn-loop", "x-cluster-client-ip", "x-appengine-user-ip"})
_PROXY_PREFIXES: Final = ("x-forwarded", "x-original-", "x-envoy-", "x-arr-", "x-azure-", "x-proxy", "cf-")
_PROXY_SUFFIXES: Final = ("-client-ip", "-clientip", "-real-ip", "-connecting-ip", "-connecting-ipv6")
"""Names, and beginnings and ends of names, of headers that proxies add."""

_HOST: Final = re.compile(r"(?:(?P<name>[a-z0-9_.-]{1,255})|\[(?P<address>[0-9a-f:.]{2,45})\])(?::[0-9]{1,5})?")


async def allow_all(request: Request) -> Access:
    """Return every permission for every request. For an app whose host already guards it, and for tests."""
    return Access(None, EVERYTHING)


class LoopbackOnly:
    """Access hook that grants everything to direct requests from this machine and refuses all others.

    A proxy on this machine makes the whole network a loopback client. nginx's plainest ``proxy_pass`` sends the address
    of its upstream as Host and adds no header, but speaks HTTP/1.0, which no browser does. A proxy that speaks HTTP/1.1
    and adds nothing cannot be told from a browser: behind a proxy use a token or a hook.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Accept requests to these host names, in addition to loopback names.

        Raises:
            ValueError: a name is not a host name.
        """
        self._names = host_names(names)

    async def __call__(self, request: Request) -> Access:
        """Return every permission for a request from this machine, to an accepted name, that was not forwarded.

        Raises:
            Refused: the request comes from elsewhere, or may have been forwarded; the detail says how to allow it.
        """
        if evidence := _forwarding_evidence(request):
            raise Refused(
                ProblemCode.LOOPBACK_ONLY,
                f"The request may have come through a proxy: {evidence}. Without a token or an access hook, only "
                "direct requests from this machine are accepted. Behind a proxy, start serve with --token, or pass an "
                "access hook to create_app.",
            )
        client = request.client.host if request.client else ""
        hosts = request.headers.getlist("host")
        name = host_name(hosts[0]) if len(hosts) == 1 else ""
        if not (is_loopback(client) and (is_loopback(name) or name in self._names)):
            raise Refused(ProblemCode.LOOPBACK_ONLY)
        return Access(None, EVERYTHING)


def _forwarding_evidence(request: Request) -> str:
    """Return why a request may have come through a proxy; "" if nothing indicates it."""
    version = request.scope.get("http_version", "1.1")
    if version in ("0.9", "1.0"):
        return f"it uses HTTP/{version}"
    for header in request.headers:
        if header in _PROXY_HEADERS or header.startswith(_PROXY_PREFIXES) or header.endswith(_PROXY_SUFFIXES):
            return f"it has the header {header.title()}"
    return ""


def host_name(host: str) -> str:
    """Return the name or address in a Host header: lower case, without port and brackets; "" if it is invalid."""
    match = _HOST.fullmatch(host.strip().lower())
    if match is None:
        return ""
    if match["address"] is None:
        return match["name"].removesuffix(".")
    try:
        return str(ipaddress.IPv6Address(match["address"]))
    except ValueError:
        return ""


def host_names(hosts: Iterable[str]) -> frozenset[str]:
    """Return host names in the form of :func:`host_name`, from any case, with or without port or brackets.

    Raises:
        ValueError: an entry is not a host name, or one text is given in place of a collection.
    """
    if isinstance(hosts, str):
        raise ValueError(f"allowed hosts must be a collection, such as [{hosts!r}], not the text {hosts!r}")
    names = {host: host_name(f"[{host}]" if host.count(":") > 1 and "[" not in host else host) for host in hosts}
    if invalid := [host for host, name in names.items() if not name]:
        raise ValueError(f"{invalid[0]!r} is not a host name")
    return frozenset(names.values())


def is_loopback(host: str) -> bool:
    """Return True for ``localhost``, names below it, and loopback addresses."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
