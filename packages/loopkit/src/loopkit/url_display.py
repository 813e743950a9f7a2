"""URLs of databases and servers as people may see them: without secrets, whatever part of the URL they are in.

A password may hold any character when its owner forgot to encode it, so where it ends is decided for safety: at the
last ``@`` that can end it. Of the query only parameters that are known to be harmless keep their values.
"""

import re
from typing import Final

__all__ = ["HIDDEN", "without_secrets"]

HIDDEN: Final = "***"

_HARMLESS: Final = frozenset(
    {
        *("host", "hostaddr", "port", "dbname", "application_name", "connect_timeout", "client_encoding"),
        *("sslmode", "sslrootcert", "channel_binding", "gssencmode", "target_session_attrs", "load_balance_hosts"),
        *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
        *("allow_network_filesystem", "mode", "cache", "immutable", "nolock", "uri", "vfs", "timeout", "secure", "tls"),
    }
)
"""Parameters whose values are shown."""

_USER_IS_SECRET: Final = frozenset({"libsql", "sqlite+libsql", "turso", "http", "https"})
"""Schemes whose servers know tokens and no users: what stands before ``@`` is a token."""

_PORT: Final = re.compile(r"[^:/?#@]*(:[0-9]*)?")


def without_secrets(url: str) -> str:
    """Return a URL with ``***`` in place of its password, its tokens and every parameter not known."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url if "@" not in url and "?" not in url else HIDDEN
    user_part, rest = _split_user(rest)
    rest, _, fragment = rest.partition("#")
    place, has_query, query = rest.partition("?")
    shown = f"{scheme}://{_shown_user(scheme, user_part)}{place}"
    if has_query:
        shown += "?" + "&".join(map(_shown_parameter, query.split("&")))
    return f"{shown}#{HIDDEN}" if fragment else shown


def _split_user(rest: str) -> tuple[str, str]:
    """Split what follows ``://`` into the part before ``@`` and the rest; the part is empty when there is none.

    ``user:a/b@host/name`` has a password with a slash, ``host:5432/name?application_name=a@b`` has none.
    """
    if rest.startswith("/") or "@" not in rest:
        return "", rest
    place, _, query = rest.partition("?")
    if "@" in place:
        end = place.rindex("@")
    elif _is_address(place) and "=" in query.partition("@")[0]:
        return "", rest
    else:
        end = rest.rindex("@")
    return rest[:end], rest[end + 1 :]


def _is_address(place: str) -> bool:
    """Return True for a host, with or without port and path, and False for a user with a password."""
    return _PORT.fullmatch(place.partition("/")[0]) is not None


def _shown_user(scheme: str, user_part: str) -> str:
    if not user_part:
        return ""
    user, has_password, _ = user_part.partition(":")
    if scheme.lower() in _USER_IS_SECRET:
        user = HIDDEN if user else ""
    return f"{user}{f':{HIDDEN}' if has_password else ''}@"


def _shown_parameter(parameter: str) -> str:
    name, has_value, _ = parameter.partition("=")
    if not has_value:
        return HIDDEN if name else ""
    return parameter if name.lower() in _HARMLESS else f"{name}={HIDDEN}"
