"""Generator of docs/reference/http.md from the endpoint table: `python tools/http_reference.py`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loopkit_web.api.endpoint_table import API
from loopkit_web.http.endpoint import Endpoint
from loopkit_web.http.openapi import describe, problem_codes
from loopkit_web.http.problems import KINDS

PAGE = Path(__file__).parent.parent / "docs/reference/http.md"

INTRODUCTION = """\
# HTTP

This page is generated from the table that drives routing, validation and permissions
(`python tools/http_reference.py`). `GET /api/openapi.json` comes from the same table and has the schema of every
request and response body. All paths are below the mount point.

JSON has camelCase names; times are `YYYY-MM-DDTHH:MM:SS.mmmZ`. A query parameter without a value counts as absent; an
unknown or repeated one is refused. Bodies are `application/json` in UTF-8, at most 1 MiB. Responses to reads have an
`ETag`; `If-None-Match` gets 304 while nothing has changed.
"""

STREAMS = """\
## Streams

`GET /api/workflow-events` with `Accept: text/event-stream` sends one message per event: `id` is the event's id, `data`
its JSON. Stored events come first, then new ones as they are written. A client that reconnects sends `Last-Event-ID`
(browsers do) or `after`, and misses no event. After the last event of an ended run the stream closes, and further
requests get 204. A stream also closes after ten minutes and when the server stops: reconnect. A process allows 200 open
streams, 16 of them for one named actor; beyond that the response is 503, so poll instead.
"""

PROBLEMS = """\
## Problems

Every response that is not 2xx or 3xx is `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`,
`instance`, `code`, `requestId`, and `errors` with one `{"pointer", "detail"}` per fault. A browser that opens a page
gets the problem as a page. No response repeats the content of a request body. `type` is `urn:loopkit:problem:` and the
code.

| code | status | meaning, and what to do |
|---|---|---|
"""

ADVICE = {
    "bad-query": "A parameter is missing, unknown, repeated or of another type; `errors` lists each.",
    "bad-header": "`Idempotency-Key` or `Last-Event-ID` is invalid.",
    "bad-body": "It is not JSON, repeats a key, has NaN, or is nested too deep.",
    "unauthenticated": "Send `Authorization: Bearer TOKEN`, or sign in; in a mounted app, as the host app requires.",
    "forbidden": "The client does not have the permission, or the app is read-only.",
    "loopback-only": "Neither a token nor an access hook is set, and the request is not from the server's own machine, "
    "or shows a proxy: HTTP/1.0, or a header that proxies add.",
    "foreign-origin": "A page of another origin requested a change. Programs send no `Origin` and pass.",
    "not-found": "No endpoint or page has this path.",
    "run-not-found": "No run has this id; it may have been pruned.",
    "unknown-agent": "`GET /api/agents-config` lists the agents.",
    "method-not-allowed": "`Allow` lists the methods of this path.",
    "too-slow": "The limit is 30 s.",
    "run-ended": "It has passed or failed (`currentStatus`), so it cannot be cancelled.",
    "run-not-ended": "Only an ended run can be retried; `currentStatus` is the status it has.",
    "too-large": "The limit is 1 MiB.",
    "wrong-type": "Send JSON (pages: a plain form) in UTF-8 without a content encoding.",
    "wrong-host": "The `Host` is not allowed: see `serve --allowed-host`, `create_app(allowed_hosts=...)`.",
    "invalid": "JSON, but not what the endpoint or the agent accepts; `errors` lists every fault with its pointer.",
    "key-reused": "Use a new key for a new run.",
    "internal": "The server's log has the error under the request id.",
    "store-unavailable": "Nothing was changed; retry after `Retry-After` seconds. Without `Retry-After` the "
    "database was moved, and `detail` says where to.",
    "page-unavailable": "A page, not the API: it was not ready in time, or would be larger than 1 MB.",
    "too-many-streams": "Poll, or reconnect after `Retry-After` seconds.",
}


def render() -> str:
    """Return the whole page."""
    document = describe(API)
    lines = [INTRODUCTION, "| endpoint | permission | |", "|---|---|---|"]
    for endpoint in API:
        permission = f"`{endpoint.permission}`" if endpoint.permission else "none"
        lines.append(f"| `{endpoint.method} {endpoint.path}` | {permission} | {endpoint.summary} |")
    for endpoint in API:
        lines += _endpoint(endpoint, document["paths"][endpoint.path][endpoint.method.lower()])
    lines += ["", STREAMS, PROBLEMS.rstrip("\n")]
    lines += [f"| `{code}` | {kind.status} | {kind.title}. {ADVICE[code]} |" for code, kind in KINDS.items()]
    return "\n".join(lines) + "\n"


def _endpoint(endpoint: Endpoint, operation: dict[str, Any]) -> Iterator[str]:
    yield from ("", f"## {endpoint.method} {endpoint.path}", "", f"{endpoint.summary}.", "")
    body = operation.get("requestBody")
    fields = dict(body["content"]["application/json"]["schema"]["properties"]) if body else {}
    required = body["content"]["application/json"]["schema"]["required"] if body else []
    inputs = list(operation["parameters"])
    inputs += [
        {"name": name, "in": "body", "required": name in required, "schema": schema} for name, schema in fields.items()
    ]
    if inputs:
        yield from ("| name | in | type | |", "|---|---|---|---|")
    for item in inputs:
        description = item.get("description") or item["schema"].get("description", "")
        note = " ".join(part for part in ("Required." if item["required"] else "", description) if part)
        yield f"| `{item['name']}` | {item['in']} | {_kind(item['schema'])} | {note} |"
    if inputs:
        yield ""
    for status, response in sorted(endpoint.responses.items()):
        yield f"- {status}: {response.description}"
    yield f"- Problems: {', '.join(f'`{code}`' for code in sorted(problem_codes(endpoint)))}"


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " ".join(f"`{value}`" for value in schema["enum"])
    if any(option.get("format") == "date-time" for option in schema.get("anyOf", ())):
        return "time"
    kind = next(kind for kind in _kinds(schema) if kind != "null")
    return f"list of {_kind(schema['items'])}" if kind == "array" else kind


def _kinds(schema: dict[str, Any]) -> list[str]:
    """Return the JSON types that a schema names, those of its alternatives included."""
    kind = schema.get("type")
    if kind is None:
        return [kind for option in schema.get("anyOf", ()) for kind in _kinds(option)]
    return list(kind) if isinstance(kind, list) else [kind]


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
