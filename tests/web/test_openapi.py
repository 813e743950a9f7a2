"""The OpenAPI document: it is what is checked and what is sent, proved by requests made from it."""

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
from loopkit_web.openapi import describe, problem_codes
from loopkit_web.problems import KINDS
from tests.settings import count
from tests.web.apps import client, make_app, started, work
from tools.http_reference import ADVICE, PAGE, render

REPLIES = [
    "/api/workflows", "/api/workflows?id={id}", "/api/workflow-events?runId={id}", "/api/agents-config", "/api/stats",
    "/api/workflow-artifacts?runId={id}", "/api/runners", "/api/openapi.json", "/api/health",
]  # fmt: skip


def validator(document: dict[str, Any], path: str, method: str, status: int) -> Draft202012Validator:
    """The validator of one documented reply."""
    (content,) = list(document["paths"][path][method]["responses"][str(status)]["content"].values())[:1]
    return Draft202012Validator({**content["schema"], "components": document["components"]})


async def test_every_reply_is_as_documented() -> None:
    """Replies of a store with runs, a runner and stalled figures fit their schemas, problems too."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        document = (await http.get("/api/openapi.json")).json()
        run = await started(http)
        await work(store)
        await started(http)
        for address in REPLIES:
            path = address.partition("?")[0]
            answer = await http.get(address.format(id=run["id"]))
            validator(document, path, "get", 200).validate(answer.json())
        for address, status in (("/api/workflow-retry?id={id}", 201), ("/api/workflow-cancel?id={id}", 409)):
            answer = await http.post(address.format(id=run["id"]))
            assert answer.status_code == status
            validator(document, address.partition("?")[0], "post", status).validate(answer.json())
        invalid = await http.post("/api/workflows", json={})
        validator(document, "/api/workflows", "post", 422).validate(invalid.json())


async def test_the_document_is_that_of_the_mount() -> None:
    """Its server is the prefix the app is mounted at, so that tools find the paths."""
    async with client(make_app(), root_path="/deep/loop") as http:
        assert (await http.get("/deep/loop/api/openapi.json")).json()["servers"] == [{"url": "/deep/loop"}]
    document = describe(make_app().table)
    assert document["servers"] == [{"url": "/"}]
    assert set(document["paths"]) >= {"/api/workflows", "/api/workflow-events", "/api/health"}
    assert all(path.startswith("/api/") for path in document["paths"])


def test_every_problem_that_is_documented_is_a_kind_of_problem() -> None:
    """The table names no problem that there is not."""
    for endpoint in make_app().table:
        assert problem_codes(endpoint) <= set(KINDS)


BEYOND_THE_DOCUMENT: Final = {
    ("POST /api/workflows", "positive_data_acceptance"): "what inputs an agent takes is its own to say",
    ("GET /api/workflows", "positive_data_acceptance"): "a cursor is good only from the page before",
    ("POST /api/workflow-retry", "positive_data_acceptance"): "a key is good for one request alone",
    ("Stateful tests", "positive_data_acceptance"): "all of them",
}


@pytest.mark.slow
def test_requests_made_from_the_document_are_answered_by_it() -> None:
    """Right and wrong requests, alone and in sequences: no 500; status, type, headers and schema as documented."""
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
    """`python tools/http_reference.py` was run after the last change; it explains every problem."""
    assert PAGE.read_text(encoding="utf-8") == render()
    assert set(ADVICE) == set(KINDS)
