"""Runs over HTTP: list, look, start, cancel, retry."""

import json
from pathlib import Path

import anyio
import httpx
import pytest

from loopkit import InvalidConfig, MemoryStore
from loopkit.storage import RunQuery
from loopkit_web import Access
from tests.web.apps import client, make_app, namer, started, work

RUN_KEYS = {
    "id", "agentName", "cycleId", "status", "currentStage", "currentAttempt", "maxAttempts", "passThreshold",
    "finalScore", "errorMessage", "inputs", "claimedAt", "claimedBy", "heartbeatAt", "cancelRequestedAt", "startedAt",
    "completedAt", "createdAt", "stalled", "retryOf", "bestAttempt",
}  # fmt: skip


async def test_a_started_run_is_queued_and_found_where_the_location_says() -> None:
    """201 gives the run, defaults of the schema filled in, and an address below the mount that gives it again."""
    async with client(make_app(), root_path="/loop") as http:
        answer = await http.post(
            "/loop/api/workflows",
            json={
                "agentName": "namer",
                "inputs": {"thing": "a cat"},
                "cycleId": "c",
                "maxAttempts": 2,
                "passThreshold": 1,
            },
        )
        run = answer.json()
        assert answer.status_code == 201
        assert set(run) >= RUN_KEYS
        assert (run["status"], run["cycleId"], run["maxAttempts"], run["passThreshold"]) == ("queued", "c", 2, 1.0)
        assert run["inputs"] == {"thing": "a cat", "count": 3}
        assert answer.headers["location"] == f"/loop/api/workflows?id={run['id']}"
        assert (await http.get(answer.headers["location"])).json() == run


async def test_left_out_and_null_settings_are_the_agent_s() -> None:
    """The agent's limits hold where the request names none."""
    async with client(make_app()) as http:
        body = {"agentName": "namer", "inputs": {"thing": "x"}, "cycleId": None, "maxAttempts": None}
        run = (await http.post("/api/workflows", json=body)).json()
        assert (run["maxAttempts"], run["passThreshold"]) == (3, 0.8)


async def test_all_faults_of_a_body_are_told_at_once_each_with_its_pointer() -> None:
    """422 lists unknown fields, wrong types, bounds and what the agent's schema refuses; nothing is queued."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        body = {
            "agentName": "namer",
            "inputs": {"count": 0, "b/o~g": 1},
            "maxAttempts": True,
            "passThreshold": 2,
            "more": 1,
        }
        answer = await http.post("/api/workflows", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    pointers = {fault["pointer"] for fault in answer.json()["errors"]}
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
    """JSON that is no run to start is refused with the place of the fault, and what was sent is not repeated."""
    async with client(make_app()) as http:
        json_type = {"Content-Type": "application/json"}
        answer = await http.post("/api/workflows", content=json.dumps(body), headers=json_type)
    assert answer.status_code == 422
    assert pointer in [fault["pointer"] for fault in answer.json()["errors"]]


async def test_an_unknown_agent_is_404_whatever_else_is_wrong() -> None:
    """An agent that is not there comes before the body's faults, which only it could tell of."""
    async with client(make_app()) as http:
        answer = await http.post("/api/workflows", json={"agentName": "nobody", "inputs": {}, "more": 1})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown-agent")


async def test_the_same_key_and_body_give_the_same_run_as_it_is_now() -> None:
    """A request sent again makes nothing new; the same key with another body is refused."""
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


async def test_many_requests_of_one_key_at_once_make_one_run() -> None:
    """A double click starts one run, however close together the requests are."""
    async with client(make_app()) as http:
        ids = set()

        async def click() -> None:
            body = {"agentName": "namer", "inputs": {"thing": "a cat"}}
            answer = await http.post("/api/workflows", json=body, headers={"Idempotency-Key": "click"})
            ids.add(answer.json()["id"])

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(click)
        assert len(ids) == 1


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb"])
async def test_an_unusable_key_is_400(key: str) -> None:
    """A key that no database could keep is refused, so that nobody believes to be protected by it."""
    async with client(make_app()) as http:
        body = {"agentName": "namer", "inputs": {"thing": "a cat"}}
        answer = await http.post("/api/workflows", json=body, headers={"Idempotency-Key": key})
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-header")


async def test_a_list_is_newest_first_and_goes_on_by_its_cursor() -> None:
    """Pages follow each other without a gap or a double, and the last says so."""
    async with client(make_app()) as http:
        ids = [(await started(http, f"{number}"))["id"] for number in range(5)]
        first = (await http.get("/api/workflows", params={"limit": 3})).json()
        second = (await http.get("/api/workflows", params={"limit": 3, "cursor": first["nextCursor"]})).json()
    assert [run["id"] for page in (first, second) for run in page["runs"]] == ids[::-1]
    assert second["nextCursor"] is None


@pytest.mark.parametrize(("limit", "given"), [("0", 1), ("-7", 1), ("3", 3), ("", 4), ("99999999999999999999", 4)])
async def test_a_limit_is_clamped(limit: str, given: int) -> None:
    """A limit out of bounds is the nearest one inside; an empty one is the usual one."""
    async with client(make_app()) as http:
        for number in range(4):
            await started(http, f"{number}")
        assert len((await http.get(f"/api/workflows?limit={limit}")).json()["runs"]) == given


async def test_filters_choose_and_empty_ones_are_none() -> None:
    """Status, agent and text narrow the list; a filter without a value does not."""
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
    """What cannot be meant is refused in words, never guessed. (An empty id is a list's filter that is none.)"""
    async with client(make_app()) as http:
        answer = await http.get(f"/api/workflows?{query}")
    if query == "id=":
        assert answer.json()["runs"] == []
    else:
        assert (answer.status_code, answer.json()["code"]) == (400, "bad-query")


async def test_a_run_that_is_not_there_is_404_everywhere() -> None:
    """Every look and every verb says the same of a run that nobody made."""
    async with client(make_app()) as http:
        answers = [
            await http.get("/api/workflows?id=run_x"),
            await http.get("/api/workflow-events?runId=run_x"),
            await http.get("/api/workflow-events?runId=run_x", headers={"Accept": "text/event-stream"}),
            await http.get("/api/workflow-artifacts?runId=run_x"),
            await http.post("/api/workflow-cancel?id=run_x"),
            await http.post("/api/workflow-retry?id=run_x"),
        ]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "run-not-found")}


async def test_cancelling_and_retrying_answer_by_the_run_s_state() -> None:
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


async def test_who_asked_stands_in_the_events() -> None:
    """Start, cancel and retry are told with the name that the access hook gave."""

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
    """An ETag that still holds saves the body; a change, or other permissions, make another."""
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


async def test_artifacts_and_agents_are_as_they_are() -> None:
    """Artifacts come by attempt with their content; agents with their schema."""
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
    """HEAD of every readable address has the headers of GET and nothing more, streams too."""
    async with client(make_app()) as http:
        run = await started(http)
        for path in (
            "/api/workflows",
            "/api/health",
            f"/api/workflow-events?runId={run['id']}",
            "/api/workflow-stream",
        ):
            answer: httpx.Response = await http.head(path, headers={"Accept": "text/event-stream"})
            assert (answer.status_code, answer.content) == (200, b"")


async def test_agents_are_given_as_a_list_a_mapping_or_a_file(tmp_path: Path) -> None:
    """However they are given, the same agents can be started; a file that does not hold is an error at once."""
    file = tmp_path / "agents.yaml"
    file.write_text('agents: {namer: {produce: {command: ["true"]}, evaluate: {command: ["true"]}}}')
    for agents in ([namer()], {"namer": namer()}, file, str(file)):
        async with client(make_app(agents=agents)) as http:
            assert [one["name"] for one in (await http.get("/api/agents-config")).json()["agents"]] == ["namer"]
            await started(http)
    with pytest.raises(InvalidConfig):
        make_app(agents=tmp_path / "nothing.yaml")
