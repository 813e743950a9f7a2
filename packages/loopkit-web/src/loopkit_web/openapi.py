"""The OpenAPI 3.1 document, made of the endpoint table; what it says is what is checked and sent."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from starlette.responses import Response

from loopkit_web.context import VERSION, Call
from loopkit_web.problems import KINDS
from loopkit_web.replies import ProblemReply, json_reply
from loopkit_web.routing import Endpoint, Reply
from loopkit_web.schema import Reflector

__all__ = ["describe", "get_openapi"]

Document = dict[str, Any]

_PROBLEM: Final = "application/problem+json"
_EVERYWHERE: Final = frozenset({"internal", "wrong-host"})
_READING: Final = frozenset({"store-unavailable", "bad-query"})
_GUARDED: Final = frozenset({"unauthenticated", "forbidden"})
_CHANGING: Final = frozenset({"foreign-origin"})
_TAKING_JSON: Final = frozenset({"bad-body", "too-slow", "too-large", "wrong-type", "invalid"})


async def get_openapi(call: Call) -> Response:
    """``GET /api/openapi.json``: the description of this app under the prefix it is mounted at."""
    return json_reply(call, describe(call.site.table, base=call.base))


def describe(table: Iterable[Endpoint], *, base: str = "") -> Document:
    """Give the document of a table's endpoints, pages left out."""
    reflector = Reflector()
    paths: dict[str, Document] = {}
    for endpoint in table:
        if not endpoint.page:
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, reflector)
    return {
        "openapi": "3.1.0",
        "info": {"title": "loopkit", "version": VERSION, "license": {"name": "MIT", "identifier": "MIT"}},
        "servers": [{"url": base or "/"}],
        "security": [{"bearer": []}, {}],
        "paths": paths,
        "components": {
            "schemas": reflector.components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def problem_codes(endpoint: Endpoint) -> frozenset[str]:
    """Give every problem that an endpoint may answer with."""
    codes = endpoint.problems | _READING | _EVERYWHERE
    if endpoint.permission is not None:
        codes |= _GUARDED
    if endpoint.method != "GET":
        codes |= _CHANGING
    return codes | _TAKING_JSON if endpoint.body is not None else codes


def _operation(endpoint: Endpoint, reflector: Reflector) -> Document:
    operation: Document = {
        "operationId": endpoint.handler.__name__,
        "summary": endpoint.summary,
        "parameters": _parameters(endpoint, reflector),
        "responses": _responses(endpoint, reflector),
    }
    if endpoint.permission is None:
        operation["security"] = []
    if endpoint.body is not None:
        accepted = {"application/json": {"schema": reflector.accepted(endpoint.body)}}
        operation["requestBody"] = {"required": True, "content": accepted}
    return operation


def _parameters(endpoint: Endpoint, reflector: Reflector) -> list[Document]:
    accepted = reflector.accepted(endpoint.query)
    in_query = [
        {"name": name, "in": "query", "required": name in accepted["required"], "schema": _parameter(schema)}
        | ({"style": "form", "explode": False} if schema.get("type") == "array" else {})
        for name, schema in accepted["properties"].items()
    ]
    return in_query + [
        {"name": name, "in": "header", "required": False, "schema": _HEADERS[name]} for name in endpoint.request_headers
    ]


_HEADERS: Final[Mapping[str, Document]] = {
    "Idempotency-Key": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "Last-Event-ID": {"type": "string", "pattern": "^[0-9]{0,18}$"},
    "Location": {"type": "string"},
    "ETag": {"type": "string"},
}


def _parameter(schema: Document) -> Document:
    """Give the schema of a parameter: in a query nothing is null, and an empty filter is none."""
    for kind in schema.pop("anyOf", []):
        schema = schema | kind if kind != {"type": "null"} else schema
    if isinstance(schema.get("type"), list):
        schema["type"] = next(kind for kind in schema["type"] if kind != "null")
    if "format" in schema:
        schema["anyOf"] = [{"format": schema.pop("format")}, {"maxLength": 0}]
    elif schema.get("type") == "string" and "enum" not in schema:
        schema["pattern"] = r"^[^\x00]*$"
    return schema


def _responses(endpoint: Endpoint, reflector: Reflector) -> Document:
    responses = {str(status): _reply(reply, reflector) for status, reply in sorted(endpoint.replies.items())}
    by_status: dict[int, list[str]] = {}
    for code in sorted(problem_codes(endpoint)):
        by_status.setdefault(KINDS[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = _problem(codes, reflector)
    return responses


def _reply(reply: Reply, reflector: Reflector) -> Document:
    document: Document = {"description": reply.description}
    if reply.content:
        document["content"] = {
            media: {"schema": reflector.schema(kind) if kind is not None else {"type": "string"}}
            for media, kind in reply.content.items()
        }
    if reply.headers:
        document["headers"] = {name: {"schema": _HEADERS[name]} for name in reply.headers}
    return document


def _problem(codes: Sequence[str], reflector: Reflector) -> Document:
    words = "; ".join(f"`{code}`: {KINDS[code].title}" for code in codes)
    return {"description": words, "content": {_PROBLEM: {"schema": reflector.schema(ProblemReply)}}}
