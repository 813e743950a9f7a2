"""The OpenAPI 3.1 document of an endpoint table, built from the same values that requests are checked with."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from loopkit_web.http.endpoint import DocumentedResponse, Endpoint
from loopkit_web.http.json_schema import SchemaBuilder, repeatable
from loopkit_web.http.problems import KINDS, ProblemCode, ProblemDetails
from loopkit_web.http.site import VERSION

__all__ = ["describe", "problem_codes"]

Document = dict[str, Any]

_PROBLEM: Final = "application/problem+json"
_ANY_ENDPOINT: Final = frozenset({ProblemCode.INTERNAL, ProblemCode.WRONG_HOST})
_STORE_AND_QUERY: Final = frozenset({ProblemCode.STORE_UNAVAILABLE, ProblemCode.BAD_QUERY})
_WITH_PERMISSION: Final = frozenset({ProblemCode.UNAUTHENTICATED, ProblemCode.FORBIDDEN})
_UNSAFE_METHOD: Final = frozenset({ProblemCode.FOREIGN_ORIGIN})
_WITH_BODY: Final = frozenset(
    {ProblemCode.BAD_BODY, ProblemCode.TOO_SLOW, ProblemCode.TOO_LARGE, ProblemCode.WRONG_TYPE, ProblemCode.INVALID}
)


_TAGS: Final[Mapping[str, str]] = {
    "runs": "Runs: list, start, label, cancel and retry them.",
    "journal": "Events and artifacts of runs, as pages or live.",
    "agents": "Agents that runs can be started for, and the runners that work them.",
    "figures": "Counts, scores and metrics.",
    "service": "The app itself.",
}


def describe(table: Iterable[Endpoint], *, base: str = "") -> Document:
    """Return the document of a table's endpoints; pages are left out."""
    schemas = SchemaBuilder()
    paths: dict[str, Document] = {}
    for endpoint in table:
        if not endpoint.page:
            paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "loopkit",
            "version": VERSION,
            "description": "Runs of agents: start, follow, cancel and retry them. Errors are problems (RFC 9457).",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items()],
        "servers": [{"url": base or "/"}],
        "security": [{"bearer": []}, {}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def problem_codes(endpoint: Endpoint) -> frozenset[ProblemCode]:
    """Return the codes of every problem that an endpoint may respond with."""
    codes = endpoint.problems | _STORE_AND_QUERY | _ANY_ENDPOINT
    if endpoint.permission is not None:
        codes |= _WITH_PERMISSION
    if endpoint.method != "GET":
        codes |= _UNSAFE_METHOD
    return codes | _WITH_BODY if endpoint.body is not None else codes


def _operation(endpoint: Endpoint, schemas: SchemaBuilder) -> Document:
    needs = "Needs no credentials" if endpoint.permission is None else f"Needs the permission `{endpoint.permission}`"
    operation: Document = {
        "operationId": endpoint.handler.__name__,
        "tags": [endpoint.tag],
        "summary": endpoint.summary,
        "description": f"{endpoint.summary}. {needs}.",
        "parameters": _parameters(endpoint, schemas),
        "responses": _responses(endpoint, schemas),
    }
    if endpoint.permission is None:
        operation["security"] = []
    if endpoint.body is not None:
        accepted = {"application/json": {"schema": schemas.accepted(endpoint.body)}}
        operation["requestBody"] = {"required": True, "content": accepted}
    return operation


def _parameters(endpoint: Endpoint, schemas: SchemaBuilder) -> list[Document]:
    accepted = schemas.accepted(endpoint.query)
    repeated = repeatable(endpoint.query)
    in_query = [
        _query_parameter(name, schema, required=name in accepted["required"], explode=name in repeated)
        for name, schema in accepted["properties"].items()
    ]
    return in_query + [
        {
            "name": name,
            "in": "header",
            "required": False,
            "description": _HEADER_DESCRIPTIONS[name],
            "schema": _HEADERS[name],
        }
        for name in endpoint.request_headers
    ]


def _query_parameter(name: str, schema: Document, *, required: bool, explode: bool) -> Document:
    """Return a query parameter; one that is not required may also be empty, which counts as absent."""
    parameter: Document = {"name": name, "in": "query", "required": required}
    if "description" in schema:
        parameter["description"] = schema.pop("description")
    if not required:
        parameter["allowEmptyValue"] = True
    if schema.get("type") == "array":
        parameter |= {"style": "form", "explode": explode}
    return parameter | {"schema": _parameter(schema)}


_HEADERS: Final[Mapping[str, Document]] = {
    "Idempotency-Key": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "Last-Event-ID": {"type": "string", "pattern": "^[0-9]{0,18}$"},
    "Location": {"type": "string"},
    "ETag": {"type": "string"},
}


_HEADER_DESCRIPTIONS: Final[Mapping[str, str]] = {
    "Idempotency-Key": "Key under which repeated requests with the same body are one request, for this client.",
    "Last-Event-ID": "Id of the last event received: a stream continues after it.",
}


def _parameter(schema: Document) -> Document:
    """Return the schema of a query parameter: never null, and empty for a filter that is not set."""
    for kind in schema.pop("anyOf", []):
        schema = schema | kind if kind != {"type": "null"} else schema
    if isinstance(schema.get("type"), list):
        schema["type"] = next(kind for kind in schema["type"] if kind != "null")
    if "format" in schema:
        schema["anyOf"] = [{"format": schema.pop("format")}, {"maxLength": 0}]
    elif schema.get("type") == "string" and "enum" not in schema:
        schema["pattern"] = r"^[^\x00]*$"
    return schema


def _responses(endpoint: Endpoint, schemas: SchemaBuilder) -> Document:
    responses = {str(status): _documented(response, schemas) for status, response in sorted(endpoint.responses.items())}
    by_status: dict[int, list[ProblemCode]] = {}
    for code in sorted(problem_codes(endpoint)):
        by_status.setdefault(KINDS[code].status, []).append(code)
    for status, codes in sorted(by_status.items()):
        responses[str(status)] = _problem(codes, schemas)
    return responses


def _documented(response: DocumentedResponse, schemas: SchemaBuilder) -> Document:
    document: Document = {"description": response.description}
    if response.content:
        document["content"] = {
            media: {"schema": schemas.schema(kind) if kind is not None else {"type": "string"}}
            for media, kind in response.content.items()
        }
    if response.headers:
        document["headers"] = {name: {"schema": _HEADERS[name]} for name in response.headers}
    return document


def _problem(codes: Sequence[ProblemCode], schemas: SchemaBuilder) -> Document:
    description = "; ".join(f"`{code}`: {KINDS[code].title}" for code in codes)
    return {"description": description, "content": {_PROBLEM: {"schema": schemas.schema(ProblemDetails)}}}
