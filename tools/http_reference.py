"""Writes docs/reference/http.md from the endpoint table itself: `python tools/http_reference.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loopkit_web.endpoints import API
from loopkit_web.openapi import describe, problem_codes
from loopkit_web.problems import KINDS
from loopkit_web.routing import Endpoint

PAGE = Path(__file__).parent.parent / "docs/reference/http.md"

INTRODUCTION = """\
# HTTP

Made from the table that drives routing, validation and permissions (`python tools/http_reference.py`). The same table
gives `GET /api/openapi.json`, which has the schema of every body and reply. All paths are below the mount point.

JSON has camelCase names, times are `YYYY-MM-DDTHH:MM:SS.mmmZ`. A parameter without a value counts as left out; one that
is unknown or doubled is refused. Bodies are `application/json` in UTF-8, at most 1 MiB. Reads bear an `ETag`;
`If-None-Match` gets 304 while nothing has changed.
"""

STREAMS = """\
## Streams

`GET /api/workflow-events` with `Accept: text/event-stream` sends one message an event: `id` is the event's id, `data`
its JSON. First come those that are there, then what happens. A client that comes back sends `Last-Event-ID` (browsers
do) or `after`, and misses nothing. After the last event of an ended run the stream closes, and who asks
again gets 204. A stream also closes after ten minutes and when the server stops: come back. 200 streams may be open in
a process, 16 of them by one named actor; beyond that the answer is 503, so poll instead.
"""

PROBLEMS = """\
## Problems

Whatever is not 2xx or 3xx is `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`, `instance`,
`code`, `requestId`, and `errors` with one `{"pointer", "detail"}` a fault. A browser that opened a page gets
the same as a page. Nothing of a body is ever repeated. `type` is `urn:loopkit:problem:` and the code.

| code | status | what it means, and what to do |
|---|---|---|
"""

ADVICE = {
    "bad-query": "A parameter is missing, unknown, doubled or of another type; `errors` has each.",
    "bad-header": "`Idempotency-Key` or `Last-Event-ID` is not usable.",
    "bad-body": "The body is not JSON: it does not parse, has a key twice, NaN, or is nested too deep.",
    "unauthenticated": "Send `Authorization: Bearer TOKEN`, or sign in; in a mounted app, as its host does.",
    "forbidden": "Who asks may not do this, or the app is read-only.",
    "loopback-only": "No token and no access hook is set, and the request is not from the machine itself.",
    "foreign-origin": "A page of another origin asked for a change. Programs send no `Origin` and pass.",
    "not-found": "There is no such address.",
    "run-not-found": "No run has that id; it may have been pruned.",
    "unknown-agent": "`GET /api/agents-config` lists the agents there are.",
    "method-not-allowed": "`Allow` names the methods of the address.",
    "too-slow": "The body did not come within 30 s.",
    "run-ended": "It has passed or failed, as `currentStatus` says: nothing is left to cancel.",
    "run-not-ended": "Only an ended run can be retried; `currentStatus` says where it is.",
    "too-large": "Send less: inputs may have 1 MiB.",
    "wrong-type": "Send JSON (pages: a plain form) in UTF-8 without a content encoding.",
    "wrong-host": "The `Host` is none of those allowed: `serve --allowed-host`, `create_app(allowed_hosts=...)`.",
    "invalid": "JSON, but not what the address or the agent takes; `errors` has every fault with its pointer.",
    "key-reused": "The key came before with another request. Take a new key for a new run.",
    "internal": "A fault of the server. Its log has it under the request id.",
    "store-unavailable": "Nothing was changed; ask again after `Retry-After` seconds.",
    "too-many-streams": "Poll, or come back after `Retry-After` seconds.",
}


def render() -> str:
    """Give the whole page."""
    document = describe(API)
    lines = [INTRODUCTION, "| | permission | |", "|---|---|---|"]
    for endpoint in API:
        asked = f"`{endpoint.permission}`" if endpoint.permission else "none"
        lines.append(f"| `{endpoint.method} {endpoint.path}` | {asked} | {endpoint.summary} |")
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
    named = [(one["name"], one["in"], one["schema"], one["required"]) for one in operation["parameters"]]
    named += [(name, "body", schema, name in required) for name, schema in fields.items()]
    if named:
        yield from ("| name | in | type | |", "|---|---|---|---|")
    for name, place, schema, needed in named:
        yield f"| `{name}` | {place} | {_kind(schema)} | {'required' if needed else schema.get('description', '')} |"
    if named:
        yield ""
    for status, reply in sorted(endpoint.replies.items()):
        yield f"- {status}: {reply.description}"
    yield f"- Problems: {', '.join(f'`{code}`' for code in sorted(problem_codes(endpoint)))}"


def _kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"{_kind(schema['items'])}, with commas between"
    if "anyOf" in schema:
        return "time"
    kind = schema.get("type")
    return next(one for one in kind if one != "null") if isinstance(kind, list) else str(kind)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
