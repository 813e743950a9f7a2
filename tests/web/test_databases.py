"""The API over each real database: the same responses."""

from collections.abc import Iterator

import pytest

import loopkit
from tests.web.app_helpers import client, listening, make_app, namer, quick_streams, started


@pytest.fixture(params=["sqlite_url", "postgres_url", "libsql_url"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of an empty database of each kind."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


async def test_a_run_s_whole_life_over_http(url: str) -> None:
    """Start with a key, list, stream, work, read, cancel, retry and count: all responses agree."""
    async with loopkit.open_store(url) as store:
        app = make_app(store, streams=quick_streams())
        async with client(app) as http:
            body = {"agentName": "namer", "inputs": {"thing": "a cat"}}
            key = {"Idempotency-Key": "one"}
            run = (await http.post("/api/workflows", json=body, headers=key)).json()
            other = await started(http, "an owl")
            async with listening(app, "/api/workflow-events", f"runId={run['id']}") as stream:
                first = await stream.event()
                await loopkit.Runner(store, [namer()]).drain()
                streamed = [first, *await stream.rest()]
            again = (await http.post("/api/workflows", json=body, headers=key)).json()
            assert (again["id"], again["status"], again["bestAttempt"]) == (run["id"], "passed", 2)
            assert (await http.post("/api/workflows", json=body | {"maxAttempts": 9}, headers=key)).status_code == 422
            async with client(make_app(store, [])) as without_agents:
                again = await without_agents.post("/api/workflows", json=body, headers=key)
                assert (again.status_code, again.json()["id"]) == (201, run["id"])
            events = (await http.get(f"/api/workflow-events?runId={run['id']}")).json()["events"]
            assert [event["id"] for event in events] == [event and event["id"] for event in streamed]
            page = (await http.get("/api/workflows?limit=1&status=passed")).json()
            rest = (await http.get(f"/api/workflows?status=passed&cursor={page['nextCursor']}")).json()
            assert [item["id"] for item in page["runs"] + rest["runs"]] == [other["id"], run["id"]]
            assert (await http.post(f"/api/workflow-cancel?id={run['id']}")).status_code == 409
            retried = (await http.post(f"/api/workflow-retry?id={run['id']}")).json()
            assert (await http.post(f"/api/workflow-cancel?id={retried['id']}")).json()["status"] == "cancelled"
            artifacts = (await http.get(f"/api/workflow-artifacts?runId={run['id']}")).json()["artifacts"]
            assert len(artifacts) == 4
            stats = (await http.get("/api/stats")).json()
            assert stats["counts"] == {"passed": 2, "cancelled": 1}
            assert (await http.get("/api/runners")).json()["runners"][0]["state"] in ("gone", "live")
            assert (await http.get("/api/health")).status_code == 200
            for odd in ("cursor=nonsense", "q=%25_%27%22%3B--", "agent=%27%3BDROP"):
                assert (await http.get(f"/api/workflows?{odd}")).status_code in (200, 400)
            assert (await http.get("/api/workflows?q=%25")).json()["runs"] == []
            assert (await http.get("/api/workflow-artifacts?runId=%27")).status_code == 404
