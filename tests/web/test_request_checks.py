"""Checks of Host and Origin of every request, and the security headers of every response."""

import itertools

import pytest

from loopkit import MemoryStore
from loopkit.storage import RunQuery
from loopkit_web import TokenAccess
from tests.web.app_helpers import client, make_app, started

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
async def test_changes_by_own_pages_and_by_programs_pass(headers: dict[str, str]) -> None:
    """The app's own origin, a trusted one, and clients that are not browsers may request changes."""
    app = make_app(trusted_origins=["https://trusted.example"])
    async with client(app, host="runs.example", headers=headers) as http:
        await started(http)
        for path in CHANGES[1:]:
            assert (await http.post(path)).status_code == 404


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_changes_by_another_origin_are_403_on_every_route(headers: dict[str, str]) -> None:
    """A page of another origin changes nothing, with or without a token, by any method; reads still pass."""
    store = MemoryStore()
    bearer = {"Authorization": "Bearer secret"}
    for access in ({}, {"access": TokenAccess("secret")}):
        app = make_app(store, **access)
        unsafe = {endpoint.path for endpoint in app.table if endpoint.method == "POST"} | {"/nowhere"}
        async with client(app, host="runs.example", headers=headers | bearer) as http:
            for path, method in itertools.product(sorted(unsafe), ["POST", "PUT", "DELETE", "PATCH"]):
                response = await http.request(method, path, json={"agentName": "namer", "inputs": {"thing": "x"}})
                assert (response.status_code, response.json()["code"]) == (403, "foreign-origin"), (method, path)
            assert (await http.get("/api/workflows")).status_code == 200
    assert (await store.list_runs(RunQuery())).runs == ()


async def test_a_refused_origin_is_told_beside_the_host_it_was_compared_with() -> None:
    """A proxy that drops the port from the host is found in the answer, and so is the setting that helps."""
    async with client(make_app(), host="runs.example", headers={"Origin": "http://runs.example:8080"}) as http:
        detail = (await http.post("/api/workflows", json={})).json()["detail"]
    assert "The request comes from http://runs.example:8080, and this app is http://runs.example here." in detail
    assert "trusted_origins" in detail
    async with client(make_app(), host="runs.example", headers={"Sec-Fetch-Site": "cross-site"}) as http:
        assert "comes from" not in (await http.post("/api/workflows", json={})).json()["detail"]


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
    """With an allowlist every endpoint accepts only its names and loopback names; health accepts any."""
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
    """A request without exactly one valid Host is refused."""
    app = make_app(allowed_hosts=[])
    statuses = []

    async def send(message: dict[str, object]) -> None:
        statuses.append(message.get("status"))

    scope = {"type": "http", "method": "GET", "path": "/api/workflows", "query_string": b"", "scheme": "http"}
    await app(scope | {"headers": headers, "client": ("127.0.0.1", 1)}, _nothing, send)  # type: ignore[arg-type]
    assert statuses[0] == 421


async def _nothing() -> dict[str, object]:
    return {"type": "http.disconnect"}


async def test_every_response_has_the_security_headers_errors_too() -> None:
    """Policy, nosniff, frames, referrer, caching and a request id are on every route, status and method."""
    app = make_app()
    async with client(app) as http:
        run = await started(http)
        responses = [await http.request("HEAD", endpoint.path) for endpoint in app.table if endpoint.method == "GET"]
        responses += [
            await http.get(f"/api/workflows?id={run['id']}"),
            await http.get("/nowhere"),
            await http.get("/nowhere", headers={"Accept": "text/html"}),
            await http.delete("/api/workflows"),
            await http.post("/api/workflows", content="x"),
            await http.post("/api/workflows", headers={"Origin": "http://evil.example"}),
            await http.post(f"/api/workflow-cancel?id={run['id']}"),
        ]
    for response in responses:
        policy = response.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "require-trusted-types-for 'script'; trusted-types loopkit" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        html = response.headers.get("content-type", "").startswith("text/html")
        assert response.headers["referrer-policy"] == ("same-origin" if html else "no-referrer")
        assert "cache-control" in response.headers
        assert len(response.headers["x-request-id"]) == 16
        assert "access-control-allow-origin" not in response.headers
    assert len({response.headers["x-request-id"] for response in responses}) == len(responses)


async def test_the_sources_that_may_frame_the_pages_can_be_set() -> None:
    """A host app may allow its own pages to show the dashboard in a frame."""
    async with client(make_app(frame_ancestors="'self'")) as http:
        response = await http.get("/api/health")
        assert "frame-ancestors 'self'" in response.headers["content-security-policy"]
        assert "x-frame-options" not in response.headers
