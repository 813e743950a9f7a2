"""What is checked of every request before anybody looks at it, and the headers that every answer bears."""

import itertools

import pytest

from loopkit import MemoryStore
from loopkit.storage import RunQuery
from loopkit_web import TokenAccess
from tests.web.apps import client, make_app, started

CHANGES = ["/api/workflows", "/api/workflow-cancel?id=run_x", "/api/workflow-retry?id=run_x"]

OURS = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "https://seen-by-the-browser.example"},  # a proxy changed the Host
    {"Origin": "http://runs.example"},
    {"Origin": "http://runs.example:80"},
    {"Origin": "https://trusted.example", "Sec-Fetch-Site": "cross-site"},
]
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://runs.example"},
    {"Sec-Fetch-Site": "odd"},
    {"Sec-Fetch-Site": ""},
    {"Origin": "http://evil.example"},
    {"Origin": "https://runs.example"},
    {"Origin": "http://runs.example:8700"},
    {"Origin": "http://runs.example.evil.example"},
    {"Origin": "http://evil.example/http://runs.example"},
    {"Origin": "http://user@runs.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://[evil"},
    {"Origin": "http://runs.example:99999"},
]


@pytest.mark.parametrize("headers", OURS, ids=str)
async def test_changes_by_our_pages_and_by_programs_pass(headers: dict[str, str]) -> None:
    """The app's own origin, a trusted one, and what is no browser may ask for changes."""
    app = make_app(trusted_origins=["https://trusted.example"])
    async with client(app, host="runs.example", headers=headers) as http:
        await started(http)
        for path in CHANGES[1:]:
            assert (await http.post(path)).status_code == 404


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_changes_by_another_origin_are_403_on_every_route(headers: dict[str, str]) -> None:
    """A foreign page changes nothing, with or without a token, by whatever method; reading stays possible."""
    store = MemoryStore()
    bearer = {"Authorization": "Bearer secret"}
    for access in ({}, {"access": TokenAccess("secret")}):
        app = make_app(store, **access)
        unsafe = {endpoint.path for endpoint in app.table if endpoint.method == "POST"} | {"/nowhere"}
        async with client(app, host="runs.example", headers=headers | bearer) as http:
            for path, method in itertools.product(sorted(unsafe), ["POST", "PUT", "DELETE", "PATCH"]):
                answer = await http.request(method, path, json={"agentName": "namer", "inputs": {"thing": "x"}})
                assert (answer.status_code, answer.json()["code"]) == (403, "foreign-origin"), (method, path)
            assert (await http.get("/api/workflows")).status_code == 200
    assert (await store.list_runs(RunQuery())).runs == ()


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("runs.example", 200),
        ("RUNS.example:8700", 200),
        ("localhost", 200),
        ("127.0.0.1:8700", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("runs.example.evil.example", 421),
        ("evil-runs.example", 421),
        ("10.0.0.5", 421),
    ],
)
async def test_another_host_is_421(host: str, status: int) -> None:
    """With an allowlist only its names and loopback are answered, by every endpoint; health always."""
    app = make_app(allowed_hosts=["runs.example"])
    async with client(app, host=host) as http:
        for method, path in [
            ("GET", "/api/workflows"),
            ("GET", "/api/agents-config"),
            ("HEAD", "/api/workflow-stream"),
        ]:
            assert (await http.request(method, path)).status_code == status
        body = {"agentName": "namer", "inputs": {"thing": "x"}}
        assert (await http.post("/api/workflows", json=body)).status_code == (201 if status == 200 else 421)
        assert (await http.get("/api/health")).status_code == 200


@pytest.mark.parametrize("headers", [[], [(b"host", b"localhost"), (b"host", b"evil.example")], [(b"host", b"a b")]])
async def test_no_host_or_two_are_421(headers: list[tuple[bytes, bytes]]) -> None:
    """A request that does not say one name plainly is not answered."""
    app = make_app(allowed_hosts=[])
    statuses = []

    async def send(message: dict[str, object]) -> None:
        statuses.append(message.get("status"))

    scope = {"type": "http", "method": "GET", "path": "/api/workflows", "query_string": b"", "scheme": "http"}
    await app(scope | {"headers": headers, "client": ("127.0.0.1", 1)}, _nothing, send)  # type: ignore[arg-type]
    assert statuses[0] == 421


async def _nothing() -> dict[str, object]:
    return {"type": "http.disconnect"}


async def test_every_answer_bears_the_headers_errors_too() -> None:
    """Policy, nosniff, frames, referrer, caching and a request id are on every route, status and method."""
    app = make_app()
    async with client(app) as http:
        run = await started(http)
        answers = [await http.request("HEAD", endpoint.path) for endpoint in app.table if endpoint.method == "GET"]
        answers += [
            await http.get(f"/api/workflows?id={run['id']}"),
            await http.get("/nowhere"),
            await http.get("/nowhere", headers={"Accept": "text/html"}),
            await http.delete("/api/workflows"),
            await http.post("/api/workflows", content="x"),
            await http.post("/api/workflows", headers={"Origin": "http://evil.example"}),
            await http.post(f"/api/workflow-cancel?id={run['id']}"),
        ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "require-trusted-types-for 'script'; trusted-types loopkit" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        html = answer.headers.get("content-type", "").startswith("text/html")
        assert answer.headers["referrer-policy"] == ("same-origin" if html else "no-referrer")
        assert "cache-control" in answer.headers
        assert len(answer.headers["x-request-id"]) == 16
        assert "access-control-allow-origin" not in answer.headers
    assert len({answer.headers["x-request-id"] for answer in answers}) == len(answers)


async def test_who_may_frame_the_pages_can_be_set() -> None:
    """A host that shows the dashboard in a frame of its own can say so."""
    async with client(make_app(frame_ancestors="'self'")) as http:
        answer = await http.get("/api/health")
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]
        assert "x-frame-options" not in answer.headers
