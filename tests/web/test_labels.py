"""Titles and tags over HTTP."""

from typing import Any

import pytest

from loopkit import MemoryStore
from loopkit_web import Access
from tests.web.app_helpers import client, make_app, started, work

START = {"agentName": "namer", "inputs": {"thing": "a cat"}}


async def test_a_run_is_started_with_labels() -> None:
    """They are trimmed and sorted; without any the run has none."""
    async with client(make_app()) as http:
        body = {**START, "title": " A cat ", "tags": ["b", " a", "b"]}
        run = (await http.post("/api/workflows", json=body)).json()
        assert (run["title"], run["tags"]) == ("A cat", ["a", "b"])
        assert (await http.get(f"/api/workflows?id={run['id']}")).json() == run
        plain = (await http.post("/api/workflows", json={**START, "title": None, "tags": None})).json()
        assert (plain["title"], plain["tags"]) == (None, [])


BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"title": ""}, ["/title"]),
    ({"title": "x" * 201}, ["/title"]),
    ({"title": "a\nb"}, ["/title"]),
    ({"title": 7}, ["/title"]),
    ({"tags": "a"}, ["/tags"]),
    ({"tags": ["a", "b", "c", ""]}, ["/tags/3"]),
    ({"tags": ["a", 7]}, ["/tags/1"]),
    ({"tags": ["x" * 51, "\0"], "title": " "}, ["/tags/0", "/tags/1", "/title"]),
    ({"tags": [f"t{number}" for number in range(21)]}, ["/tags"]),
]


@pytest.mark.parametrize(("labels", "pointers"), BAD, ids=str)
async def test_bad_labels_are_refused_with_their_places(labels: dict[str, Any], pointers: list[str]) -> None:
    """422 with a fault for each, in POST and PATCH; nothing is queued or changed."""
    async with client(make_app()) as http:
        run_id = (await started(http))["id"]
        before = (await http.get(f"/api/workflows?id={run_id}")).json()
        for response in (
            await http.post("/api/workflows", json={**START, **labels}),
            await http.patch(f"/api/workflows?id={run_id}", json=labels),
        ):
            assert response.status_code == 422
            assert sorted(fault["pointer"] for fault in response.json()["errors"]) == pointers
        assert (await http.get("/api/workflows")).json()["runs"] == [before]


async def test_labels_change_in_every_state() -> None:
    """PATCH replaces the tags, null clears the title, and what is left out stays; no event is written."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        run_id = (await started(http))["id"]
        url = f"/api/workflows?id={run_id}"
        first = await http.patch(url, json={"title": "T", "tags": ["b", "a"]})
        assert first.status_code == 200
        assert (first.json()["title"], first.json()["tags"]) == ("T", ["a", "b"])
        assert (await http.patch(url, json={})).json() == first.json() == (await http.get(url)).json()
        await work(store)
        ended = (await http.get(url)).json()
        assert ended["status"] == "passed"
        events = (await http.get(f"/api/workflow-events?runId={run_id}")).json()
        assert (await http.patch(url, json={"tags": ["c"]})).json() == {**ended, "tags": ["c"]}
        assert (await http.patch(url, json={"title": None, "tags": []})).json() == {**ended, "title": None, "tags": []}
        assert (await http.get(f"/api/workflow-events?runId={run_id}")).json() == events


async def test_requests_that_cannot_be_changes() -> None:
    """400, 404, 413, 415 and 422, as for POST."""
    async with client(make_app()) as http:
        run_id = (await started(http))["id"]
        url = f"/api/workflows?id={run_id}"
        assert (await http.patch("/api/workflows?id=run_unknown", json={})).status_code == 404
        assert (await http.patch("/api/workflows", json={})).status_code == 400
        assert (await http.patch(url, content=b"{", headers={"Content-Type": "application/json"})).status_code == 400
        assert (await http.patch(url, content=b"title=x")).status_code == 415
        large = b'{"title": "' + b"x" * (2 << 20) + b'"}'
        assert (await http.patch(url, content=large, headers={"Content-Type": "application/json"})).status_code == 413
        wrong: list[Any] = [[], "title", {"status": "passed"}, {"tags": None}]
        assert {(await http.patch(url, json=body)).status_code for body in wrong} == {422}
        foreign = await http.patch(url, json={}, headers={"Origin": "http://elsewhere.example"})
        assert foreign.status_code == 403


async def test_only_who_may_start_runs_may_label_them() -> None:
    """Without ``start`` it is 403; without ``view`` the response shows no run."""
    allowed = {"start", "view"}

    async def access(_: object) -> Access:
        return Access(actor="ann", allow=frozenset(allowed))

    async with client(make_app(access=access)) as http:
        run_id = (await started(http))["id"]
        url = f"/api/workflows?id={run_id}"
        allowed.remove("view")
        assert (await http.patch(url, json={"title": "T"})).json() == {"id": run_id, "status": "queued"}
        allowed.clear()
        allowed.add("view")
        assert (await http.patch(url, json={"title": "U"})).status_code == 403
        assert (await http.get(url)).json()["title"] == "T"


async def test_lists_are_filtered_by_tags_and_reason() -> None:
    """A repeated ``tag`` asks for all of them; an empty one is none; an unknown reason is a malformed query."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        bodies = [{**START, "tags": tags} for tags in (["a"], ["a", "b"], [])]
        ids = [(await http.post("/api/workflows", json=body)).json()["id"] for body in bodies]

        async def listed(query: str) -> list[str]:
            response = await http.get(f"/api/workflows?{query}")
            assert response.status_code == 200, response.text
            return [run["id"] for run in response.json()["runs"]]

        assert await listed("tag=a&tag=b") == [ids[1]]
        assert sorted(await listed("tag=a&tag=")) == sorted(ids[:2])
        assert sorted(await listed("tag=&reason=")) == sorted(ids)
        assert await listed("reason=score_passed") == []
        await work(store)
        assert sorted(await listed("reason=score_passed")) == sorted(ids)
        assert await listed("reason=score_passed&tag=b&status=passed") == [ids[1]]
        assert (await http.get("/api/workflows?reason=bored")).status_code == 400
        assert (await http.get("/api/workflows?" + "&".join(f"tag=t{n}" for n in range(21)))).status_code == 400
        assert (await http.get("/api/workflows?agent=a&agent=b")).status_code == 400


async def test_a_key_is_that_of_the_body() -> None:
    """The same key and body give the same run, whatever its labels are by then; other labels are another body."""
    async with client(make_app()) as http:
        body, key = {**START, "title": "T", "tags": ["a"]}, {"Idempotency-Key": "k"}
        run = (await http.post("/api/workflows", json=body, headers=key)).json()
        changed = (await http.patch(f"/api/workflows?id={run['id']}", json={"title": "U", "tags": []})).json()
        again = await http.post("/api/workflows", json=body, headers=key)
        assert (again.status_code, again.json()) == (201, changed)
        for other in ({"title": "U"}, {"tags": ["b"]}):
            assert (await http.post("/api/workflows", json={**body, **other}, headers=key)).status_code == 422
        assert len((await http.get("/api/workflows")).json()["runs"]) == 1
