"""Rows of the endpoint table, and the search in it. Routing, validation, permissions and OpenAPI use nothing else.

To add a page, write ``async def handler(call: Call) -> Response`` and a row in
``loopkit_web.dashboard.page_table.PAGES``::

    Endpoint(method="GET", path="/agents/{run_id}", handler=show_run, permission=Permission.VIEW, page=True)
    Endpoint(method="POST", path="/agents/start", handler=submit_form, permission=Permission.START,
             body=Form, page=True)

A ``page`` ignores unknown query parameters, and its problems are shown as HTML. Host, origin, permission, query and
body have been checked before the handler is called.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import attrs
from starlette.responses import Response

from loopkit.core.run import Run
from loopkit.errors import Fault
from loopkit_web.http.access import Permission
from loopkit_web.http.call import Call
from loopkit_web.http.problems import ProblemCode

__all__ = ["DocumentedResponse", "Endpoint", "Form", "NoQuery", "Routes"]


@attrs.frozen
class NoQuery:
    """Query class of an endpoint without query parameters."""


@attrs.frozen
class Form:
    """Fields of an HTML form (``application/x-www-form-urlencoded``), in the order of the page."""

    fields: tuple[tuple[str, str], ...]

    def get(self, name: str, default: str = "") -> str:
        """Return the last value of a field."""
        return dict(self.fields).get(name, default)

    def getlist(self, name: str) -> list[str]:
        """Return every value of a field, in order."""
        return [value for key, value in self.fields if key == name]


@attrs.frozen(kw_only=True)
class DocumentedResponse:
    """One successful response of an endpoint, for the OpenAPI document."""

    description: str
    content: Mapping[str, Any] = attrs.field(factory=dict)
    """Type of the content by media type; None if it is not JSON."""
    headers: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Endpoint:
    """One method of one path."""

    method: Literal["GET", "POST", "PATCH"]
    """GET includes HEAD. Every other method is refused."""
    path: str
    """``/agents/{run_id}``: a name in braces matches one segment. A trailing slash makes no difference."""
    handler: Callable[[Call], Awaitable[Response]]
    permission: Permission | None
    """Permission the client needs; None: public, the access hook is not called."""
    summary: str = ""
    tag: str = ""
    """Group of the endpoint in the OpenAPI document."""
    query: type[Any] = NoQuery
    """Frozen attrs class whose fields are the query parameters, in camelCase."""
    body: type[Any] | None = None
    """Frozen attrs class (JSON) or :class:`Form`; None: the body is not read."""
    check: Callable[[Call, Mapping[str, Any]], Sequence[Fault]] | None = None
    """Further check of a JSON body; its faults are reported together with those of the class."""
    find_repeated: Callable[[Call, Any], Awaitable[Run | None]] | None = None
    """Returns the run of an earlier request with the same idempotency key; ``check`` is then left out, since an agent
    may have changed or gone since."""
    responses: Mapping[int, DocumentedResponse] = attrs.field(factory=dict)
    """Successful responses by status."""
    problems: frozenset[ProblemCode] = frozenset()
    """Problems particular to this endpoint, besides those that its other fields imply."""
    request_headers: tuple[str, ...] = ()
    page: bool = False
    any_host: bool = False
    """True if the Host header is not checked."""


class Routes:
    """Endpoints by path and method. A literal path takes precedence over one with names."""

    def __init__(self, table: Iterable[Endpoint]) -> None:
        self._literal: dict[str, dict[str, Endpoint]] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], dict[str, Endpoint]]] = {}
        for endpoint in table:
            methods = self._methods(endpoint.path)
            if endpoint.method in methods:
                raise ValueError(f"the endpoint table has {endpoint.method} {endpoint.path} twice")
            methods[endpoint.method] = endpoint

    def _methods(self, path: str) -> dict[str, Endpoint]:
        if "{" not in path:
            return self._literal.setdefault(path, {})
        # Text with a NUL or half a surrogate pair names nothing, and databases refuse to look for it.
        pattern = re.compile(_NAME.sub(r"(?P<\1>[^/\\0\\ud800-\\udfff]+)", path))
        return self._patterns.setdefault(path, (pattern, {}))[1]

    def find(self, path: str) -> tuple[Mapping[str, Endpoint], Mapping[str, str]]:
        """Return the endpoints of a path by method, and the values of its names; both empty for an unknown path."""
        if methods := self._literal.get(path):
            return methods, {}
        for pattern, methods in self._patterns.values():
            if match := pattern.fullmatch(path):
                return methods, match.groupdict()
        return {}, {}


_NAME: Final = re.compile(r"\{(\w+)\}")
