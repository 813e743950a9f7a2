"""Access: every route with every method, the default hook, read-only apps, and permissions."""

import itertools
import re
from functools import partial
from typing import Any

import pytest

from loopkit import MemoryStore, UnusableOption, wire
from loopkit.storage import RunQuery
from loopkit_web import Access, LoopbackOnly, Permission, TokenAccess
from loopkit_web.http.access import host_name, host_names, is_loopback
from loopkit_web.http.endpoint import Endpoint, Routes
from tests.web.app_helpers import client, make_app, namer, started, work

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY"]


def filled(endpoint: Endpoint) -> str:
    """Return an endpoint's path with a value in place of each name."""
    return endpoint.path.replace("{", "").replace("}", "")


async def nobody(_: object) -> None:
    return None


def allowing(*permissions: str) -> Any:
    async def hook(_: object) -> Access:
        return Access("Ann", permissions)

    return hook


async def test_without_credentials_every_route_and_method_is_401() -> None:
    """Only health, static files and signing in are public; other responses reveal nothing, and nothing is written."""
    store = MemoryStore()
    app = make_app(store, access=TokenAccess("secret"))
    public = {(endpoint.method, filled(endpoint)) for endpoint in app.table if endpoint.permission is None}
    paths = sorted({filled(endpoint) for endpoint in app.table} | {"/nowhere"})
    async with client(app) as http:
        for path, method in itertools.product(paths, METHODS):
            if (method.replace("HEAD", "GET"), path) in public:
                continue
            response = await http.request(method, path)
            assert response.status_code == 401, (method, path)
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert response.headers["cache-control"] == "no-store"
    assert (await store.list_runs(RunQuery())).runs == ()


async def test_a_hook_that_returns_none_closes_everything() -> None:
    """None from the hook is 401 for every route that needs a permission."""
    async with client(make_app(access=nobody)) as http:
        assert (await http.get("/api/workflows")).status_code == 401
        assert (await http.get("/api/openapi.json")).status_code == 401
        assert (await http.get("/api/health")).json() == {"status": "ok"}


@pytest.mark.parametrize("permission", list(Permission))
async def test_each_route_needs_its_own_permission(permission: Permission) -> None:
    """With one permission, exactly the routes that need it are open; all others are 403."""
    app = make_app(access=allowing(permission))
    async with client(app) as http:
        for endpoint in app.table:
            if endpoint.permission is None:
                continue
            path = filled(endpoint)
            response = await http.request("HEAD" if endpoint.method == "GET" else endpoint.method, path)
            assert (response.status_code == 403) == (endpoint.permission is not permission), endpoint.path


def test_every_unsafe_route_needs_a_permission() -> None:
    """Signing in is the only change in the table that needs no permission."""
    app = make_app(access=TokenAccess("secret"))
    unguarded = {(e.method, e.path) for e in app.table if e.permission is None and e.method != "GET"}
    assert unguarded == {("POST", "/sign-in")}


async def test_reading_twice_leaves_the_store_as_it_was() -> None:
    """No GET changes anything."""
    store = MemoryStore()
    app = make_app(store)
    async with client(app) as http:
        run = await started(http)
        before = [run, *await store.list_events(run["id"])]
        for endpoint in app.table:
            if endpoint.method == "GET":
                path = endpoint.path.replace("{run_id}", run["id"])
                for query in ("", f"?id={run['id']}", f"?runId={run['id']}"):
                    await http.head(path + query)
        (stored,) = (await store.list_runs(RunQuery())).runs
        assert [wire.run(stored), *await store.list_events(run["id"])] == before


async def test_read_only_leaves_nothing_but_viewing() -> None:
    """Changes are refused whatever the hook allows."""
    app = make_app(read_only=True)
    async with client(app) as http:
        assert (await http.get("/api/workflows")).status_code == 200
        for path in ("/api/workflows", "/api/workflow-cancel?id=x", "/api/workflow-retry?id=x"):
            response = await http.post(path, json={})
            assert (response.status_code, response.json()["detail"]) == (403, "This app is read-only.")


@pytest.mark.parametrize(
    ("address", "host", "headers", "status"),
    [
        ("127.0.0.1", "localhost:8700", {}, 200),
        ("127.8.9.1", "127.0.0.1", {}, 200),
        ("::1", "[::1]:8700", {}, 200),
        ("::ffff:127.0.0.1", "app.localhost", {}, 200),
        ("10.0.0.5", "localhost", {}, 403),
        ("testclient", "localhost", {}, 403),
        ("127.0.0.1", "runs.example", {}, 403),
        ("127.0.0.1", "localhost.evil.example", {}, 403),
        ("127.0.0.1", "127.0.0.1.evil.example", {}, 403),
        ("127.0.0.1", "10.0.0.5", {}, 403),
        ("127.0.0.1", "localhost", {"X-Forwarded-For": "10.0.0.1"}, 403),
        ("127.0.0.1", "localhost", {"X-Forwarded-Host": "a"}, 403),
        ("127.0.0.1", "localhost", {"X-Forwarded-Prefix": ""}, 403),
        ("127.0.0.1", "localhost", {"Forwarded": "for=10.0.0.1"}, 403),
        ("127.0.0.1", "localhost", {"X-Real-IP": "10.0.0.1"}, 403),
        ("127.0.0.1", "localhost", {"Via": "1.1 proxy"}, 403),
        ("127.0.0.1", "localhost", {"CF-Connecting-IP": "10.0.0.1"}, 403),
        ("127.0.0.1", "localhost", {"CF-Ray": "1"}, 403),
        ("127.0.0.1", "localhost", {"CDN-Loop": "cloud"}, 403),
        ("127.0.0.1", "localhost", {"True-Client-IP": "10.0.0.1"}, 403),
        ("127.0.0.1", "localhost", {"Fastly-Client-IP": "10.0.0.1"}, 403),
        ("127.0.0.1", "localhost", {"X-Azure-ClientIP": "10.0.0.1"}, 403),
        ("127.0.0.1", "localhost", {"X-Original-Forwarded-For": "10.0.0.1"}, 403),
        ("127.0.0.1", "localhost", {"X-Envoy-External-Address": "10.0.0.1"}, 403),
    ],
)
async def test_without_a_hook_only_requests_from_this_machine_pass(
    address: str, host: str, headers: dict[str, str], status: int
) -> None:
    """Client and Host must be loopback, without a header that proxies add, for reads and changes alike."""
    app = make_app(access=None)
    async with client(app, address=address, host=host, headers=headers) as http:
        assert (await http.get("/api/workflows")).status_code == status
        body = {"agentName": "namer", "inputs": {"thing": "x"}}
        assert (await http.post("/api/workflows", json=body)).status_code == (201 if status == 200 else status)


async def test_the_refusal_says_how_to_open_the_app() -> None:
    """A client refused by default learns what to do, as JSON and, in a browser, as a page."""
    async with client(make_app(access=None), host="runs.example") as http:
        assert "access hook" in (await http.get("/api/workflows")).json()["detail"]
        page = await http.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 403
        assert "access hook" in page.text


@pytest.mark.parametrize("version", ["0.9", "1.0", "1.1", "2", "3"])
async def test_without_a_hook_a_request_over_http_1_0_is_refused(version: str) -> None:
    """nginx's plainest ``proxy_pass`` adds no header and names its upstream as Host, but speaks HTTP/1.0."""
    refused = version in ("0.9", "1.0")
    app = make_app(access=None)
    scope = {"type": "http", "method": "GET", "path": "/api/workflows", "query_string": b"", "scheme": "http"}
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    host = {"headers": [(b"host", b"127.0.0.1:8700")], "client": ("127.0.0.1", 4000)}
    await app(scope | host | {"http_version": version}, _no_body, send)
    assert sent[0]["status"] == (403 if refused else 200)
    assert (b"--token" in sent[1]["body"]) == refused


async def test_a_refused_proxy_is_named_with_what_to_do() -> None:
    """The detail names the header that the proxy added, and the token."""
    async with client(make_app(access=None), headers={"X-Forwarded-For": "10.0.0.1"}) as http:
        detail = (await http.get("/api/workflows")).json()["detail"]
    assert "X-Forwarded-For" in detail
    assert "--token" in detail


async def test_a_client_without_an_address_is_not_this_machine() -> None:
    """A Unix socket does not identify its client."""
    app = make_app(access=None)
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/api/workflows", "query_string": b"", "scheme": "http"}
    await app(scope | {"headers": [(b"host", b"localhost")], "client": None}, _no_body, send)
    assert sent[0]["status"] == 403


async def _no_body() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def test_a_hook_that_fails_refuses_the_request() -> None:
    """An error in the hook is a 500 without details; the request is not let through."""

    async def broken(_: object) -> Access:
        raise RuntimeError("secret words")

    async def odd(_: object) -> Any:
        return True

    for hook in (broken, odd):
        async with client(make_app(access=hook)) as http:
            response = await http.get("/api/workflows")
            assert response.status_code == 500
            assert "secret words" not in response.text


async def test_a_hook_that_is_not_async_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A hook may be any callable that gives an awaitable, so the first request shows one that does not."""

    def plain(_: object) -> Any:
        return Access("Ann", ["view"])

    async def odd(_: object) -> Any:
        return True

    for hook, sentence in ((plain, "access hook must be async"), (odd, "Access or None, not bool")):
        async with client(make_app(access=hook)) as http:
            assert (await http.get("/api/workflows")).status_code == 500
        assert caplog.records[-1].exc_info is not None
        assert sentence in str(caplog.records[-1].exc_info[1])


class Guard:
    """Hook with an async ``__call__``."""

    async def __call__(self, _: object) -> Access:
        return Access("Ann", ["view"])

    async def named(self, _: object, name: str) -> Access:
        return Access(name, ["view"])


async def test_every_awaitable_callable_is_a_hook() -> None:
    """Objects, partials, methods, and functions that pass on to an async one."""
    guard = Guard()
    for hook in (guard, partial(guard.named, name="Ann"), lambda request: guard.named(request, "Ann")):
        async with client(make_app(access=hook)) as http:
            assert (await http.get("/api/workflows")).status_code == 200


@pytest.mark.parametrize("hook", ["token", True, Access("Ann", ["view"]), TokenAccess, Guard], ids=str)
def test_what_cannot_be_called_is_no_hook(hook: Any) -> None:
    """It is refused when the app is created, with the form of a hook."""
    with pytest.raises(UnusableOption, match=r"access must be a function, async def access\(request\)"):
        make_app(access=hook)


def test_one_text_is_no_collection() -> None:
    """Its letters would be taken for the entries."""
    with pytest.raises(ValueError, match=r"allow must be a collection of permissions, such as \['view'\]"):
        Access("Ann", "view")
    for option in ("allowed_hosts", "trusted_origins"):
        with pytest.raises(ValueError, match=r"must be a collection, such as \['https://x\.example'\]"):
            make_app(**{option: "https://x.example"})


@pytest.mark.parametrize("origin", ["tools.example", "tools.example:443", "https://tools.example/", "https://"])
def test_a_trusted_origin_is_what_a_browser_sends(origin: str) -> None:
    """Any other would never be equal to the Origin of a request."""
    with pytest.raises(ValueError, match="is not an origin; write the scheme and the host"):
        make_app(trusted_origins=[origin])


def test_an_access_has_only_known_permissions() -> None:
    """An unknown permission is an error where the access is created, not a refusal later."""
    assert Access("Ann", ["view"]).allow == {Permission.VIEW}
    with pytest.raises(ValueError, match="veiw"):
        Access("Ann", ["veiw"])
    with pytest.raises(TypeError):
        Access(7, [])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("Example.COM:80", "example.com"), ("example.com.", "example.com"), ("[::1]:8700", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"), ("a_b-c.d", "a_b-c.d"), ("", ""), (":80", ""), ("a b", ""), ("a/b", ""),
        ("a@b", ""), ("::1", ""), ("[::1", ""), ("a:b", ""), ("a:123456", ""), ("[zz]", ""), ("[:::]", ""), ("ä", ""),
    ],
)  # fmt: skip
def test_a_host_header_has_one_name(written: str, name: str) -> None:
    """Case, port and brackets do not matter; an invalid host has the name "", which is never allowed."""
    assert host_name(written) == name


def test_allowed_hosts_may_have_ports_and_brackets() -> None:
    """A host name may have a port or brackets; anything else is an error when the app is created."""
    assert host_names(["A.example:443", "::1", "10.0.0.1"]) == {"a.example", "::1", "10.0.0.1"}
    for invalid in ("*", "https://a.example", "a/b", ""):
        with pytest.raises(ValueError, match="is not a host name"):
            host_names([invalid])
    assert not is_loopback("")
    LoopbackOnly(["a.example"])


def test_the_table_has_no_row_twice() -> None:
    """Two handlers for one method of one path are an error when the app is created."""
    row = make_app(agents=[namer()]).table[0]
    assert isinstance(row, Endpoint)
    with pytest.raises(ValueError, match="twice"):
        Routes([row, row])


async def test_without_the_permission_to_view_nothing_shows_a_run() -> None:
    """Who may change runs but not view them gets ids and statuses, never inputs, scores or errors."""
    store = MemoryStore()
    async with client(make_app(store)) as http:
        queued, ended = await started(http, "canary"), await started(http, "canary")
        await work(store)
        again = await started(http, "canary")
    assert queued["id"] != ended["id"]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for permission, method, path, body, status in (
        ("start", "GET", f"/agents/start?from={ended['id']}", "", 403),
        ("start", "GET", "/agents/start", "", 200),
        ("cancel", "POST", "/bulk/cancel", f"id={again['id']}", 403),
        ("retry", "POST", "/bulk/retry", f"id={ended['id']}", 403),
        ("cancel", "POST", f"/api/workflow-cancel?id={again['id']}", "", 202),
        ("retry", "POST", f"/api/workflow-retry?id={ended['id']}", "", 201),
        ("cancel", "POST", "/bulk/cancel", f"id={again['id']}&confirmed=1", 303),
    ):
        async with client(make_app(store, access=allowing(permission)), headers=form) as http:
            response = await http.request(method, path, content=body)
        assert response.status_code == status, path
        assert "canary" not in response.text, path
        assert "0.9" not in re.sub(r":\d\d\.\d+Z", "", response.text), path  # the page tells what time it is
        if status in (201, 202):
            assert set(response.json()) == {"id", "status"}


async def test_a_repeated_start_without_the_permission_to_view_shows_only_the_status() -> None:
    """The first response contains what the client sent; a later one must not show how the run went."""
    store = MemoryStore()
    async with client(make_app(store, access=allowing("start")), headers={"Idempotency-Key": "k"}) as http:
        first = await started(http)
        await work(store)
        again = await started(http)
    assert first["inputs"] == {"thing": "a cat", "count": 3}
    assert again == {"id": first["id"], "status": "passed"}
