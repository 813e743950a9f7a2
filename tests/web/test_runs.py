"""Runs over HTTP: list, read, start, cancel, retry."""

import base64
import json
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.requests import Request

from loopkit import Agent, InvalidConfig, MemoryStore
from loopkit.core.run import NewRun
from loopkit.storage import RunQuery
from loopkit_web import Access
from tests.web.app_helpers import client, make_app, namer, started, work

RUN_KEYS = {
    "id", "agentName", "cycleId", "status", "currentStage", "currentAttempt", "maxAttempts", "passThreshold",
    "finalScore", "errorMessage", "inputs", "claimedAt", "claimedBy", "heartbeatAt", "cancelRequestedAt", "startedAt",
    "completedAt", "createdAt", "stalled", "retryOf", "bestAttempt",
}  # fmt: skip


async def test_a_started_run_is_queued_and_found_where_the_location_says() -> None:
    """201 has the run with the defaults of the schema, and an address below the mount that returns it again."""
    async with client(make_app(), root_path="/loop") as http:
        response = await http.post(
            "/loop/api/workflows",
            json={
                "agentName": "namer",
                "inputs": {"thing": "a cat"},
                "cycleId": "c",
                "maxAttempts": 2,
                "passThreshold": 1,
            },
        )
        run = response.json()
        assert response.status_code == 201
        assert set(run) >= RUN_KEYS
        assert (run["status"], run["cycleId"], run["maxAttempts"], run["passThreshold"]) == ("queued", "c", 2, 1.0)
        assert run["inputs"] == {"thing": "a cat", "count": 3}
        assert response.headers["location"] == f"/loop/api/workflows?id={run['id']}"
        assert (await http.get(response.headers["location"])).json() == run


async def test_absent_and_null_settings_default_to_those_of_the_agent() -> None:
    """The agent's settings apply if the request has none."""
    async with client(make_app()) as http:
        body = {"agentName": "namer", "inputs": {"thing": "x"}, "cycleId": None, "maxAttempts": None}
        run = (await http.post("/api/workflows", json=body)).json()
        assert (run["maxAttempts"], run["passThreshold"]) == (3, 0.8)


async def test_all_faults_of_a_body_are_reported_together_with_their_pointers() -> None:
    """422 lists unknown fields, wrong types, bounds and faults by the agent's schema; nothing is queued."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        body = {
            "agentName": "namer",
            "inputs": {"count": 0, "b/o~g": 1},
            "maxAttempts": True,
            "passThreshold": 2,
            "more": 1,
        }
        response = await http.post("/api/workflows", json=body)
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    pointers = {fault["pointer"] for fault in response.json()["errors"]}
    assert pointers == {"/inputs/thing", "/inputs/count", "/inputs/b~1o~0g", "/maxAttempts", "/passThreshold", "/more"}
    assert (await store.list_runs(RunQuery())).runs == ()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ("x", ""),
        (None, ""),
        ({}, "/agentName"),
        ({"agentName": "namer"}, "/inputs"),
        ({"agentName": "namer", "inputs": []}, "/inputs"),
        ({"agentName": "namer", "inputs": None}, "/inputs"),
        ({"agentName": 5, "inputs": {"thing": ""}}, "/agentName"),
        ({"agentName": "namer", "inputs": {"thing": "\0"}}, "/inputs/thing"),
        ({"agentName": "namer", "inputs": {"thing": "\ud800"}}, "/inputs/thing"),
        ({"agentName": "namer", "inputs": {"thing": ""}, "cycleId": "\0"}, "/cycleId"),
        ({"agentName": "namer", "inputs": {"thing": ""}, "cycleId": ""}, "/cycleId"),
        ({"agentName": "namer", "inputs": {"thing": ""}, "maxAttempts": 0}, "/maxAttempts"),
        ({"agentName": "namer", "inputs": {"thing": ""}, "maxAttempts": 1.5}, "/maxAttempts"),
        ({"agentName": "namer", "inputs": {"thing": ""}, "maxAttempts": 2**31}, "/maxAttempts"),
        ({"agentName": "namer", "inputs": {"thing": ""}, "passThreshold": "1"}, "/passThreshold"),
        ({"agentName": "namer", "inputs": {"thing": ""}, "passThreshold": -0.1}, "/passThreshold"),
    ],
)
async def test_a_body_with_a_fault_is_422(body: object, pointer: str) -> None:
    """JSON that is not a start request is refused with the pointer of the fault."""
    async with client(make_app()) as http:
        json_type = {"Content-Type": "application/json"}
        response = await http.post("/api/workflows", content=json.dumps(body), headers=json_type)
    assert response.status_code == 422
    assert pointer in [fault["pointer"] for fault in response.json()["errors"]]


async def test_an_unknown_agent_is_404_whatever_else_is_wrong() -> None:
    """An unknown agent takes precedence over faults of the body, some of which only the agent can find."""
    async with client(make_app()) as http:
        response = await http.post("/api/workflows", json={"agentName": "nobody", "inputs": {}, "more": 1})
        assert (response.status_code, response.json()["code"]) == (404, "unknown-agent")


async def test_a_repeated_key_and_body_return_the_same_run_as_it_is_now() -> None:
    """A repeated request starts no second run; the same key with another body is refused."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        body = {"agentName": "namer", "inputs": {"thing": "a cat"}}
        key = {"Idempotency-Key": "one"}
        first = (await http.post("/api/workflows", json=body, headers=key)).json()
        await work(store)
        again = await http.post("/api/workflows", json=body, headers=key)
        assert (again.status_code, again.json()["id"], again.json()["status"]) == (201, first["id"], "passed")
        other = await http.post("/api/workflows", json=body | {"maxAttempts": 9}, headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "key-reused")
        assert len((await http.get("/api/workflows")).json()["runs"]) == 1


def changed_agents() -> list[list[Agent]]:
    """Agents after which a request for ``namer`` means something else, or nothing."""
    default = {"type": "object", "properties": {"tone": {"default": "warm"}}}
    narrow = {"type": "object", "required": ["more"]}
    changed: list[dict[str, Any]] = [{"max_attempts": 9}, {"inputs": default}, {"inputs": narrow}]
    return [*([Agent(name="namer", produce=str, evaluate=lambda context: 1.0, **values)] for values in changed), []]


@pytest.mark.parametrize("agents", changed_agents())
async def test_a_key_is_known_although_its_agent_has_changed(agents: list[Agent]) -> None:
    """What counts is the body as it was sent; the agent is not asked again, and need not be there any more."""
    store, body, key = MemoryStore(), {"agentName": "namer", "inputs": {"thing": "a cat"}}, {"Idempotency-Key": "one"}
    async with client(make_app(store)) as http:
        first = (await http.post("/api/workflows", json=body, headers=key)).json()
    async with client(make_app(store, agents)) as http:
        again = await http.post("/api/workflows", json=body, headers=key)
        assert (again.status_code, again.json()["id"]) == (201, first["id"])
        others: list[dict[str, Any]] = [{"inputs": {"thing": "a dog"}}, {"maxAttempts": 3}, {"agentName": "other"}]
        for other in others:
            refused = await http.post("/api/workflows", json=body | other, headers=key)
            assert (refused.status_code, refused.json()["code"]) == (422, "key-reused")


async def test_a_key_of_an_older_loopkit_is_known() -> None:
    """It stored a digest of the request with what the agent had added to it: inputs and limits by default."""
    store = MemoryStore()
    inputs = {"thing": "a cat", "tone": "warm"}
    [first] = await store.submit(
        [NewRun(agent_name="namer", inputs=inputs, max_attempts=3, pass_threshold=0.7, idempotency_key="one")]
    )
    body, key = {"agentName": "namer", "inputs": {"thing": "a cat"}}, {"Idempotency-Key": "one"}
    async with client(make_app(store, [])) as http:
        again = await http.post("/api/workflows", json=body, headers=key)
        assert (again.status_code, again.json()["id"]) == (201, first.id)
        others: list[dict[str, Any]] = [{"inputs": {"thing": "a dog"}}, {"maxAttempts": 9}, {"cycleId": "c"}]
        for other in others:
            assert (await http.post("/api/workflows", json=body | other, headers=key)).status_code == 422


async def test_an_idempotency_key_is_the_actors_own() -> None:
    """Two actors may use one key for different requests; clients without a name share theirs."""
    store = MemoryStore()

    async def by_header(request: Request) -> Access:
        return Access(request.headers.get("x-actor"), ["view", "start", "retry"])

    async with client(make_app(store, access=by_header)) as http:

        async def start(thing: str, actor: str | None) -> httpx.Response:
            headers = {"Idempotency-Key": "one"} | ({} if actor is None else {"X-Actor": actor})
            body = {"agentName": "namer", "inputs": {"thing": thing}}
            return await http.post("/api/workflows", json=body, headers=headers)

        ids = {actor: (await start(f"{actor}", actor)).json()["id"] for actor in ("ann", "bob", None)}
        assert len(set(ids.values())) == 3
        assert {actor: (await start(f"{actor}", actor)).json()["id"] for actor in ids} == ids
        assert (await start("other", "ann")).status_code == 422
        await work(store)
        retried = set()
        for actor in ("ann", "bob", "ann"):
            headers = {"Idempotency-Key": "retry", "X-Actor": actor}
            response = await http.post(f"/api/workflow-retry?id={ids['ann']}", headers=headers)
            retried.add(response.json()["id"])
        assert len(retried) == 2


async def test_concurrent_requests_with_one_key_start_one_run() -> None:
    """A double click starts one run, however close the requests are."""
    async with client(make_app()) as http:
        ids = set()

        async def click() -> None:
            body = {"agentName": "namer", "inputs": {"thing": "a cat"}}
            response = await http.post("/api/workflows", json=body, headers={"Idempotency-Key": "click"})
            ids.add(response.json()["id"])

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(click)
        assert len(ids) == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb"])
async def test_an_unusable_key_is_400(key: str) -> None:
    """A key that no database can store is refused, so that no client relies on it."""
    async with client(make_app()) as http:
        body = {"agentName": "namer", "inputs": {"thing": "a cat"}}
        response = await http.post("/api/workflows", json=body, headers={"Idempotency-Key": key})
        assert (response.status_code, response.json()["code"]) == (400, "bad-header")


async def test_a_list_is_newest_first_and_continues_at_its_cursor() -> None:
    """Pages follow each other without a gap or a repetition, and the last has no cursor."""
    async with client(make_app()) as http:
        ids = [(await started(http, f"{number}"))["id"] for number in range(5)]
        first = (await http.get("/api/workflows", params={"limit": 3})).json()
        second = (await http.get("/api/workflows", params={"limit": 3, "cursor": first["nextCursor"]})).json()
    assert [run["id"] for page in (first, second) for run in page["runs"]] == ids[::-1]
    assert second["nextCursor"] is None


@pytest.mark.parametrize("path", ["/api/workflows?", "/api/workflow-events?runId={id}&"])
async def test_the_document_states_which_limits_are_accepted(path: str) -> None:
    """The greatest and the least are clamped; beyond them a limit is 400."""
    async with client(make_app()) as http:
        address = path.format(id=(await started(http))["id"])
        document = (await http.get("/api/openapi.json")).json()
        parameters = document["paths"][path.partition("?")[0]]["get"]["parameters"]
        [schema] = [parameter["schema"] for parameter in parameters if parameter["name"] == "limit"]
        for limit, status in ((schema["minimum"], 200), (schema["maximum"], 200), (schema["maximum"] + 1, 400)):
            assert (await http.get(f"{address}limit={limit}")).status_code == status


@pytest.mark.parametrize(
    ("limit", "length"), [("0", 1), ("-7", 1), ("3", 3), ("3.0", 3), ("", 4), ("99999999999999999999", 4)]
)
async def test_a_limit_is_clamped(limit: str, length: int) -> None:
    """A limit out of bounds becomes the nearest bound; an empty one is the default."""
    async with client(make_app()) as http:
        for number in range(4):
            await started(http, f"{number}")
        assert len((await http.get(f"/api/workflows?limit={limit}")).json()["runs"]) == length


async def test_filters_select_runs_and_empty_filters_do_not() -> None:
    """Status, agent, text and time filter the list; a filter without a value does not."""
    store = MemoryStore()
    async with client(make_app(store, [namer(), namer("other")])) as http:
        mine = await started(http)
        await work(store)
        body = {"agentName": "other", "inputs": {"thing": "x"}}
        other = (await http.post("/api/workflows", json=body)).json()

        async def ids(query: str) -> list[str]:
            return [run["id"] for run in (await http.get(f"/api/workflows?{query}")).json()["runs"]]

        assert await ids("status=passed") == [mine["id"]]
        assert await ids("status=passed,queued") == [other["id"], mine["id"]]
        assert await ids("agent=other&status=") == [other["id"]]
        assert await ids(f"q={mine['id'][:30]}") == [mine["id"]]
        assert await ids("since=2999-01-01") == []
        assert await ids("status=&agent=&limit=&cursor=") == [other["id"], mine["id"]]


@pytest.mark.parametrize(
    "query",
    [
        "status=done", "limit=x", "limit=1.5", "limit=1&limit=2", "cursor=nonsense", "unknown=1", "since=yesterday",
        "stalled=maybe", "agent=%00", "agent=%ff", "order=by", "id=", "a=1&" * 3000,
    ],
)  # fmt: skip
async def test_a_malformed_query_is_400(query: str) -> None:
    """An invalid query is refused, never interpreted. (An empty id is a filter that is not set.)"""
    async with client(make_app()) as http:
        response = await http.get(f"/api/workflows?{query}")
    if query == "id=":
        assert response.json()["runs"] == []
    else:
        assert (response.status_code, response.json()["code"]) == (400, "bad-query")


async def test_an_unknown_run_is_404_everywhere() -> None:
    """Every read and every change responds the same for a run that does not exist."""
    async with client(make_app()) as http:
        responses = [
            await http.get("/api/workflows?id=run_x"),
            await http.get("/api/workflow-events?runId=run_x"),
            await http.get("/api/workflow-events?runId=run_x", headers={"Accept": "text/event-stream"}),
            await http.get("/api/workflow-artifacts?runId=run_x"),
            await http.post("/api/workflow-cancel?id=run_x"),
            await http.post("/api/workflow-retry?id=run_x"),
        ]
    assert {(response.status_code, response.json()["code"]) for response in responses} == {(404, "run-not-found")}


async def test_cancel_and_retry_depend_on_the_status_of_the_run() -> None:
    """Cancel is 202 until a run has passed or failed, then 409; retry is 409 until it has ended, then 201."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        early = await http.post(f"/api/workflow-retry?id={run['id']}")
        assert (early.status_code, early.json()["currentStatus"]) == (409, "queued")
        for _ in range(2):
            cancelled = await http.post(f"/api/workflow-cancel?id={run['id']}")
            assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
        again = await http.post(f"/api/workflow-retry?id={run['id']}")
        assert (again.status_code, again.json()["retryOf"]) == (201, run["id"])
        assert again.headers["location"] == f"/api/workflows?id={again.json()['id']}"
        await work(store)
        late = await http.post(f"/api/workflow-cancel?id={again.json()['id']}")
        assert (late.status_code, late.json()["currentStatus"]) == (409, "passed")


async def test_the_actor_is_recorded_in_the_events() -> None:
    """The events of start, cancel and retry have the name that the access hook returned."""

    async def ann(_: object) -> Access:
        return Access("Ann", ["view", "start", "cancel", "retry"])

    async with client(make_app(access=ann)) as http:
        run = await started(http)
        await http.post(f"/api/workflow-cancel?id={run['id']}")
        again = (await http.post(f"/api/workflow-retry?id={run['id']}")).json()

        async def actors(run_id: str) -> list[str | None]:
            events = (await http.get(f"/api/workflow-events?runId={run_id}")).json()["events"]
            return [(event["metadata"] or {}).get("actor") for event in events]

        assert (await actors(run["id"]))[:2] == ["Ann", "Ann"]
        assert (await actors(again["id"]))[0] == "Ann"


async def test_reads_that_did_not_change_are_304() -> None:
    """A current ETag saves the body; a change of the data, or other permissions, give another ETag."""
    store = MemoryStore()

    async def viewer(_: object) -> Access:
        return Access(None, ["view"])

    async with client(make_app(store)) as http, client(make_app(store, access=viewer)) as other:
        run = await started(http)
        of_run = [f"/api/workflows?id={run['id']}", f"/api/workflow-events?runId={run['id']}"]
        for path in (*of_run, "/api/workflows", "/api/agents-config", "/api/runners", "/api/stats"):
            tag = (await http.get(path)).headers["etag"]
            same = await http.get(path, headers={"If-None-Match": f'"x", {tag}'})
            assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
            assert (await other.get(path)).headers["etag"] != tag
        tag = (await http.get("/api/workflows")).headers["etag"]
        await work(store)
        assert (await http.get("/api/workflows", headers={"If-None-Match": tag})).status_code == 200


async def test_artifacts_have_their_content_and_agents_their_schema() -> None:
    """Artifacts are in the order of the attempts; agents have everything a start form needs."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run = await started(http)
        await work(store)
        artifacts = (await http.get(f"/api/workflow-artifacts?runId={run['id']}")).json()["artifacts"]
        agents = (await http.get("/api/agents-config")).json()["agents"]
    assert [artifact["filename"] for artifact in artifacts] == [
        "attempt-1.md", "attempt-1.eval.json", "attempt-2.md", "attempt-2.eval.json",
    ]  # fmt: skip
    assert artifacts[0]["content"] == "A name for a cat"
    assert agents[0] == {
        "name": "namer",
        "description": "Names things.",
        "maxAttempts": 3,
        "passThreshold": 0.8,
        "inputs": namer().inputs,
    }


async def test_head_is_get_without_the_body() -> None:
    """HEAD of every readable address has the headers of GET and no body, streams too."""
    async with client(make_app()) as http:
        run = await started(http)
        for path in (
            "/api/workflows",
            "/api/health",
            f"/api/workflow-events?runId={run['id']}",
            "/api/workflow-stream",
        ):
            response: httpx.Response = await http.head(path, headers={"Accept": "text/event-stream"})
            assert (response.status_code, response.content) == (200, b"")


async def test_agents_may_be_a_list_a_mapping_or_a_file(tmp_path: Path) -> None:
    """Every form gives the same agents; an invalid file is an error when the app is created."""
    file = tmp_path / "agents.yaml"
    file.write_text('agents: {namer: {produce: {command: ["true"]}, evaluate: {command: ["true"]}}}')
    for agents in ([namer()], {"namer": namer()}, file, str(file)):
        async with client(make_app(agents=agents)) as http:
            assert [agent["name"] for agent in (await http.get("/api/agents-config")).json()["agents"]] == ["namer"]
            await started(http)
    with pytest.raises(InvalidConfig):
        make_app(agents=tmp_path / "nothing.yaml")


def _cursor(document: str) -> str:
    return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x", "\u20ac", _cursor("{}"), _cursor("[" * 9000 + "]" * 9000), _cursor('[1,"created",NaN,"run_1"]'),
        _cursor('[1,"created",Infinity,"run_1"]'), _cursor('[1,"created",1' + "0" * 400 + ',"run_1"]'),
        _cursor('[1,"created",1e300,"run_1"]'), _cursor('[1,"created",1,"\\ud800"]'),
        _cursor('[1,"created",1,"\\u0000"]'), _cursor('[1,"created",true,"run_1"]'), _cursor('[1,"created",1,2]'),
    ],
)  # fmt: skip
async def test_a_cursor_that_no_page_gave_is_400(tmp_path: Path, cursor: str) -> None:
    """A made-up cursor is a malformed query, whatever it contains, and no failure of the database."""
    for store in (MemoryStore(), f"sqlite:///{tmp_path}/runs.db"):
        app = make_app(store)
        async with client(app) as http:
            response = await http.get("/api/workflows", params={"cursor": cursor})
            assert (response.status_code, response.json()["code"]) == (400, "bad-query")
        await app.aclose()


async def test_an_etag_is_compared_weakly_and_may_stand_in_any_header_line() -> None:
    """A cache may drop ``W/`` or send several lines; 304 repeats ETag, Vary and Cache-Control of the 200."""
    async with client(make_app()) as http:
        response = await http.get("/api/workflows")
        tag = response.headers["etag"]
        for lines in ([tag], [tag.removeprefix("W/")], ['"x"', f'"y", {tag}'], ["*"]):
            same = await http.get("/api/workflows", headers=[("If-None-Match", line) for line in lines])
            assert same.status_code == 304, lines
            for name in ("etag", "vary", "cache-control"):
                assert same.headers[name] == response.headers[name]
        other = await http.get("/api/workflows", headers={"If-None-Match": '"x"'})
        assert other.status_code == 200


async def test_the_instance_of_a_problem_is_a_uri_reference() -> None:
    """What a URI may not contain is percent-encoded (RFC 9457, section 3.1.5)."""
    async with client(make_app(), root_path="/loop") as http:
        for path in ("/nope/%20%22%3Cx%3E", "/nope/%0D%0Ax", "/nope/%E2%82%AC", "/a%2520b", "/a:b@c"):
            assert (await http.get(f"/loop{path}")).json()["instance"] == f"/loop{path}"
