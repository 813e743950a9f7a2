"""One row of the endpoint table, and the look-up in it. What a row says is all that routing, validation, permissions
and the OpenAPI document know of an endpoint.

To add a page: write ``async def handler(call: Call) -> Response`` and a row in ``loopkit_web.pages.PAGES``::

    Endpoint(method="GET", path="/agents/{run_id}", handler=show_run, permission=Permission.VIEW, page=True)
    Endpoint(method="POST", path="/agents/start", handler=take_start_form, permission=Permission.START,
             body=Form, page=True)

A ``page`` ignores query parameters it does not know, and its problems are shown as HTML. The dispatcher has checked
Host, origin, permission, query and body before the handler is called.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import attrs
from starlette.responses import Response

from loopkit.errors import Fault
from loopkit_web.access import Permission
from loopkit_web.context import Call

__all__ = ["Endpoint", "Form", "NoQuery", "Reply", "Routes"]


@attrs.frozen
class NoQuery:
    """An endpoint's query that has no parameters."""


@attrs.frozen
class Form:
    """A form as a browser sends it without JavaScript (``application/x-www-form-urlencoded``), in the page's order."""

    fields: tuple[tuple[str, str], ...]

    def get(self, name: str, default: str = "") -> str:
        """Give the last value of a field."""
        return dict(self.fields).get(name, default)

    def getlist(self, name: str) -> list[str]:
        """Give every value of a field, in order."""
        return [value for key, value in self.fields if key == name]


@attrs.frozen(kw_only=True)
class Reply:
    """One way an endpoint answers, for the OpenAPI document."""

    description: str
    content: Mapping[str, Any] = attrs.field(factory=dict)
    """Media type -> the class of what is sent, or None where it is no JSON."""
    headers: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Endpoint:
    """One method of one path."""

    method: Literal["GET", "POST"]
    """GET answers HEAD as well. Every other method is refused."""
    path: str
    """``/agents/{run_id}``: a name in braces stands for one segment. A slash at the end makes no difference."""
    handler: Callable[[Call], Awaitable[Response]]
    permission: Permission | None
    """None: open to everybody, without the access hook being asked."""
    summary: str = ""
    query: type[Any] = NoQuery
    """A frozen attrs class; its fields are the parameters, in camelCase."""
    body: type[Any] | None = None
    """A frozen attrs class (JSON), :class:`Form`, or None: a body is not read."""
    check: Callable[[Call, Mapping[str, Any]], Sequence[Fault]] | None = None
    """Finds what else is wrong with a JSON body; its faults are told together with those of the class."""
    replies: Mapping[int, Reply] = attrs.field(factory=dict)
    problems: frozenset[str] = frozenset()
    """Codes of :data:`loopkit_web.problems.KINDS` that are this endpoint's own."""
    request_headers: tuple[str, ...] = ()
    page: bool = False
    any_host: bool = False
    """True where the Host allowlist does not matter."""


class Routes:
    """The table, looked up by path and method. A literal path wins over one with names."""

    def __init__(self, table: Iterable[Endpoint]) -> None:
        self._literal: dict[str, dict[str, Endpoint]] = {}
        self._patterns: dict[str, tuple[re.Pattern[str], dict[str, Endpoint]]] = {}
        for endpoint in table:
            methods = self._methods(endpoint.path)
            if endpoint.method in methods:
                raise ValueError(f"{endpoint.method} {endpoint.path} stands in the table twice")
            methods[endpoint.method] = endpoint

    def _methods(self, path: str) -> dict[str, Endpoint]:
        if "{" not in path:
            return self._literal.setdefault(path, {})
        pattern = re.compile(_NAME.sub(r"(?P<\1>[^/]+)", path))
        return self._patterns.setdefault(path, (pattern, {}))[1]

    def find(self, path: str) -> tuple[Mapping[str, Endpoint], Mapping[str, str]]:
        """Give the endpoints of a path by method, and the values of its names; none where there is no such path."""
        if methods := self._literal.get(path):
            return methods, {}
        for pattern, methods in self._patterns.values():
            if found := pattern.fullmatch(path):
                return methods, found.groupdict()
        return {}, {}


_NAME: Final = re.compile(r"\{(\w+)\}")
