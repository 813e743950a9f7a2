"""The OpenAPI document describes what is accepted and sent, as requests generated from it prove."""

from typing import Any, Final

import anyio
import pytest
import schemathesis
from jsonschema import Draft202012Validator
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import Status, events

from loopkit import MemoryStore
from loopkit_web import Streams
from loopkit_web.http.openapi import describe, problem_codes
from loopkit_web.http.problems import KINDS
from tests.length_helpers import count
from tests.web.app_helpers import client, make_app, started, work
from tools.http_reference import ADVICE, PAGE, render

READS = [
    "/api/workflows", "/api/workflows?id={id}", "/api/workflow-events?runId={id}", "/api/agents-config", "/api/stats",
    "/api/workflow-artifacts?runId={id}", "/api/workflow-usage?runId={id}", "/api/runners", "/api/openapi.json",
    "/api/health",
]  # fmt: skip


def validator(document: dict[str, Any], path: str, method: str, status: int) -> Draft202012Validator:
    """Return the validator of one documented response."""
    (content,) = list(document["paths"][path][method]["responses"][str(status)]["content"].values())[:1]
    return Draft202012Validator({**content["schema"], "components": document["components"]})


async def test_every_response_is_as_documented() -> None:
    """Responses of a store with runs and figures match their schemas, and so do problems."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        document = (await http.get("/api/openapi.json")).json()
        run = await started(http)
        await work(store)
        await started(http)
        for address in READS:
            path = address.partition("?")[0]
            response = await http.get(address.format(id=run["id"]))
            validator(document, path, "get", 200).validate(response.json())
        for address, status in (("/api/workflow-retry?id={id}", 201), ("/api/workflow-cancel?id={id}", 409)):
            response = await http.post(address.format(id=run["id"]))
            assert response.status_code == status
            validator(document, address.partition("?")[0], "post", status).validate(response.json())
        invalid = await http.post("/api/workflows", json={})
        validator(document, "/api/workflows", "post", 422).validate(invalid.json())


async def test_the_document_is_that_of_the_mount() -> None:
    """Its server is the mount prefix, so that tools find the paths."""
    async with client(make_app(), root_path="/deep/loop") as http:
        assert (await http.get("/deep/loop/api/openapi.json")).json()["servers"] == [{"url": "/deep/loop"}]
    document = describe(make_app().table)
    assert document["servers"] == [{"url": "/"}]
    assert set(document["paths"]) >= {"/api/workflows", "/api/workflow-events", "/api/health"}
    assert all(path.startswith("/api/") for path in document["paths"])


def test_every_problem_that_is_documented_is_a_kind_of_problem() -> None:
    """The table names only problems that are defined."""
    for endpoint in make_app().table:
        assert problem_codes(endpoint) <= set(KINDS)


BEYOND_THE_DOCUMENT: Final = {
    ("POST /api/workflows", "positive_data_acceptance"): "the inputs of an agent have a schema of their own",
    ("GET /api/workflows", "positive_data_acceptance"): "a cursor is valid only if an earlier page returned it",
    (
        "PATCH /api/workflows",
        "positive_data_acceptance",
    ): "titles and tags are trimmed, and printable",
    ("POST /api/workflow-retry", "positive_data_acceptance"): "a key is valid for one request only",
    ("Stateful tests", "positive_data_acceptance"): "all of them",
}


@pytest.mark.slow
def test_responses_to_generated_requests_are_as_documented() -> None:
    """Valid and invalid requests, alone and in sequences: no 500; status, type, headers and schema as documented."""
    store = MemoryStore()
    app = make_app(store, streams=Streams(poll_seconds=0, lifetime_seconds=0))

    async def prepare() -> None:
        async with client(app) as http:
            await started(http)
            await work(store)
            await started(http)

    anyio.run(prepare)
    examples = count("requests", 10, long=1_000)
    config = SchemathesisConfig.from_dict({"generation": {"max-examples": examples, "deterministic": True}, "seed": 1})
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app, config=config)
    requests, failures = 0, set()
    for event in engine.from_schema(schema).execute():
        assert not isinstance(event, events.NonFatalError | events.FatalError), event
        if isinstance(event, events.ScenarioFinished):
            requests += len(event.recorder.cases)
            failures |= {
                (event.recorder.label, check.name, check.failure_info and str(check.failure_info.failure))
                for checks in event.recorder.checks.values()
                for check in checks
                if check.status is Status.FAILURE and (event.recorder.label, check.name) not in BEYOND_THE_DOCUMENT
            }
    assert not failures
    assert requests > 10 * len({endpoint.path for endpoint in app.table})


def test_the_reference_page_is_the_one_made_from_the_table() -> None:
    """The page is up to date (`python tools/http_reference.py` writes it) and explains every problem."""
    assert PAGE.read_text(encoding="utf-8") == render()
    assert set(ADVICE) == set(KINDS)


def test_the_reference_page_names_types_and_says_what_parameters_are() -> None:
    """An object is no time, lists are lists, in query and body alike, and no parameter lacks its description."""
    page = render()
    for row in (
        "| `budget` | body | object | Limits",
        "| `tags` | body | list of string | Tags",
        "| `tag` | query | list of string | Tag",
        "| `since` | query | time | Earliest",
        "| `runId` | query | string | Required. Id",
    ):
        assert row in page
    assert not [line for line in page.splitlines() if " | query | " in line and line.endswith("|  |")]


def test_operations_and_parameters_are_described() -> None:
    """Every operation has a tag and a description, and every parameter a description."""
    document = describe(make_app().table)
    tags = {tag["name"] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert set(operation["tags"]) <= tags, path
            assert operation["description"], path
            for parameter in operation["parameters"]:
                assert parameter.get("description"), (path, parameter["name"])
                optional_in_query = parameter["in"] == "query" and not parameter["required"]
                assert parameter.get("allowEmptyValue", False) == optional_in_query, (path, parameter["name"])
