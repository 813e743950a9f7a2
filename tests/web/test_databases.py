"""The API over each real database: the same responses."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import loopkit
from loopkit.stores.sql.move import move_database
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


async def test_a_moved_database_is_named(sqlite_url: str, tmp_path: Path) -> None:
    """A change says where the runs are now and not that it may be sent again; reads go on until the next opening."""
    async with loopkit.open_store(sqlite_url) as store:
        app = make_app(store)
        async with client(app) as http:
            run = await started(http)
            await move_database(
                sqlite_url,
                f"sqlite:///{tmp_path}/new.db",
                name="sqlite:///new.db",
                stalled_after=timedelta(seconds=120),
            )
            for path in (f"/api/workflow-cancel?id={run['id']}", "/api/workflows"):
                body = {"agentName": "namer", "inputs": {"thing": "a cat"}} if path == "/api/workflows" else None
                response = await http.post(path, json=body)
                assert (response.status_code, response.json()["code"]) == (503, "store-unavailable")
                detail = "Nothing was changed: this database was moved to sqlite:///new.db; use that one."
                assert response.json()["detail"] == detail
                assert "retry-after" not in response.headers
            page = await http.post(f"/agents/{run['id']}/cancel", headers={"Accept": "text/html"})
            assert "moved to sqlite:///new.db" in page.text
            assert (await http.get("/api/workflows")).status_code == 200
    async with client(make_app(sqlite_url)) as http:
        assert "moved to sqlite:///new.db" in (await http.get("/api/workflows")).json()["detail"]
