"""URLs of databases: which forms exist, and which database each of them opens.

A URL that could be read in two ways, or a part of which would be ignored, is refused with the spelling that is meant: a
run that goes to another database than its owner looks at is lost.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from loopkit.errors import InvalidDatabase
from loopkit.stores.sql.databases.database import Database
from loopkit.url_display import without_secrets

__all__ = ["check_file_exists", "hide_secrets", "open_database", "parse_url"]


def _open_sqlite(url: URL, display_url: str) -> Database:
    from loopkit.stores.sql.databases.sqlite import open_sqlite

    return open_sqlite(url, display_url)


def _open_postgresql(url: URL, display_url: str) -> Database:
    from loopkit.stores.sql.databases.postgresql import open_postgresql

    return open_postgresql(url, display_url)


def _open_libsql(url: URL, display_url: str) -> Database:
    from loopkit.stores.sql.databases.libsql import open_libsql

    return open_libsql(url, display_url)


_OPENERS: Final[Mapping[str, Callable[[URL, str], Database]]] = {
    "sqlite": _open_sqlite,
    "sqlite+pysqlite": _open_sqlite,
    "postgresql": _open_postgresql,
    "postgres": _open_postgresql,
    "postgresql+psycopg": _open_postgresql,
    "libsql": _open_libsql,
    "sqlite+libsql": _open_libsql,
    "turso": _open_libsql,
    "http": _open_libsql,
    "https": _open_libsql,
}
"""Openers by the name before ``://``; each loads its own database alone."""


def open_database(url: str | URL) -> Database:
    """Open the database of a URL, without looking at its tables.

    Raises:
        InvalidDatabase: no database can be opened with this URL; the message says what to do.
        DatabaseDamaged: the file of an SQLite database is damaged.
    """
    parsed = parse_url(url)
    return _OPENERS[parsed.drivername](parsed, hide_secrets(parsed))


def parse_url(url: str | URL) -> URL:
    """Return a URL in its parts, which name a kind of database that loopkit supports.

    Raises:
        InvalidDatabase: they do not, or the URL cannot be read.
    """
    parsed = _parse(url)
    if parsed.drivername not in _OPENERS:
        raise InvalidDatabase(
            f"{hide_secrets(parsed)}: loopkit does not support {parsed.drivername!r}; "
            "use sqlite:///FILE, postgresql://..., libsql://... or http(s)://..."
        )
    return parsed


def check_file_exists(url: str) -> None:
    """Check that the file of an SQLite URL exists, for programs that must not create it; other URLs always pass.

    Raises:
        NotFoundError: there is no such file, in a folder that exists.
        InvalidDatabase: the URL names no database.
    """
    parsed = parse_url(url)
    if _OPENERS[parsed.drivername] is _open_sqlite:
        from loopkit.stores.sql.databases.sqlite import check_file_exists

        check_file_exists(parsed, hide_secrets(parsed))


def hide_secrets(url: URL) -> str:
    """Return a URL without passwords, tokens and other secrets, for messages."""
    return without_secrets(url.render_as_string(hide_password=False))


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SEVERAL_HOSTS: Final = re.compile(
    r"(?P<before>postgres(?:ql)?(?:\+psycopg)?://(?:[^/?#]*@)?)(?P<hosts>[^/?#@]*,[^/?#@]*)"
)


def _parse(url: str | URL) -> URL:
    """Parse a URL; white space around it, as in an environment variable filled from a file, is not a part of it."""
    if isinstance(url, str):
        url = url.strip()
        if _CONTROL.search(url):
            raise InvalidDatabase(
                f"{without_secrets(url)!r}: a database URL has no line end or control character in it"
            )
        for parameter in filter(None, url.partition("#")[0].partition("?")[2].split("&")):
            if "=" not in parameter:  # the parser would drop it
                raise InvalidDatabase(
                    f"{without_secrets(url)}: a parameter after the question mark has no value; a question mark in a "
                    "file name is written %3F"
                )
        url = _with_several_hosts(url)
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise InvalidDatabase(
            "the database URL cannot be read; write it like sqlite:///loopkit.db, postgresql://user@host/name "
            "or libsql://host"
        ) from None


def _with_several_hosts(url: str) -> str:
    """Rewrite ``postgresql://a:5432,b:5432/name``, which libpq understands, as SQLAlchemy does: hosts as parameters."""
    if (match := _SEVERAL_HOSTS.match(url)) is None:
        return url
    rest = url[match.end() :]
    place, _, query = rest.partition("?")
    hosts = "&".join(f"host={host}" for host in match["hosts"].split(","))
    return f"{match['before']}{place}?{hosts}{'&' if query else ''}{query}"
