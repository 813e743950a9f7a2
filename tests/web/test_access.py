"""Who may do what: every route by every method, the default hook, read-only, and permissions."""

import itertools
from typing import Any

import pytest

from loopkit import MemoryStore, wire
from loopkit.storage import RunQuery
from loopkit_web import Access, LoopbackOnly, Permission, TokenAccess
from loopkit_web.access import host_name, host_names, is_loopback
from loopkit_web.routing import Endpoint, Routes
from tests.web.apps import client, make_app, namer, started

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY"]


def filled(endpoint: Endpoint) -> str:
    """An endpoint's path, with something in the place of its names."""
    return endpoint.path.replace("{", "").replace("}", "")


async def nobody(_: object) -> None:
    return None


def allowing(*permissions: str) -> Any:
    async def hook(_: object) -> Access:
        return Access("Ann", permissions)

    return hook


async def test_without_credentials_every_route_and_method_is_401() -> None:
    """Nothing but health, the pages' files and signing in is answered, not even what exists; nothing is written."""
    store = MemoryStore()
    app = make_app(store, access=TokenAccess("secret"))
    public = {(endpoint.method, filled(endpoint)) for endpoint in app.table if endpoint.permission is None}
    paths = sorted({filled(endpoint) for endpoint in app.table} | {"/nowhere"})
    async with client(app) as http:
        for path, method in itertools.product(paths, METHODS):
            if (method.replace("HEAD", "GET"), path) in public:
                continue
            answer = await http.request(method, path)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["cache-control"] == "no-store"
    assert (await store.list_runs(RunQuery())).runs == ()


async def test_a_hook_that_knows_nobody_closes_everything() -> None:
    """The hook's None is 401 for every route that asks for a permission."""
    async with client(make_app(access=nobody)) as http:
        assert (await http.get("/api/workflows")).status_code == 401
        assert (await http.get("/api/openapi.json")).status_code == 401
        assert (await http.get("/api/health")).json() == {"status": "ok"}


@pytest.mark.parametrize("permission", list(Permission))
async def test_each_route_asks_for_its_own_permission(permission: Permission) -> None:
    """With one permission alone exactly the routes that ask for it are open; all others are 403."""
    app = make_app(access=allowing(permission))
    async with client(app) as http:
        for endpoint in app.table:
            if endpoint.permission is None:
                continue
            path = filled(endpoint)
            answer = await http.request("HEAD" if endpoint.method == "GET" else endpoint.method, path)
            assert (answer.status_code == 403) == (endpoint.permission is not permission), endpoint.path


def test_every_unsafe_route_asks_for_more_than_nothing() -> None:
    """In the table only signing in is a change that anybody may ask for."""
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
        (kept,) = (await store.list_runs(RunQuery())).runs
        assert [wire.run(kept), *await store.list_events(run["id"])] == before


async def test_read_only_leaves_nothing_but_viewing() -> None:
    """However much the hook allows, no change goes through."""
    app = make_app(read_only=True)
    async with client(app) as http:
        assert (await http.get("/api/workflows")).status_code == 200
        for path in ("/api/workflows", "/api/workflow-cancel?id=x", "/api/workflow-retry?id=x"):
            answer = await http.post(path, json={})
            assert (answer.status_code, answer.json()["detail"]) == (403, "This app is read-only.")


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
    ],
)
async def test_without_a_hook_only_this_machine_itself_gets_in(
    address: str, host: str, headers: dict[str, str], status: int
) -> None:
    """Client and Host must be loopback and no forwarding header there, for reads and changes alike."""
    app = make_app(access=None)
    async with client(app, address=address, host=host, headers=headers) as http:
        assert (await http.get("/api/workflows")).status_code == status
        body = {"agentName": "namer", "inputs": {"thing": "x"}}
        assert (await http.post("/api/workflows", json=body)).status_code == (201 if status == 200 else status)


async def test_the_refusal_says_how_to_open_the_app() -> None:
    """Who is shut out by default is told what to do, as JSON and, in a browser, as a page."""
    async with client(make_app(access=None), host="runs.example") as http:
        assert "access hook" in (await http.get("/api/workflows")).json()["detail"]
        page = await http.get("/", headers={"Accept": "text/html"})
        assert page.status_code == 403
        assert "access hook" in page.text


async def test_a_client_without_an_address_is_not_this_machine() -> None:
    """A Unix socket says nothing about who is behind it."""
    app = make_app(access=None)
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/api/workflows", "query_string": b"", "scheme": "http"}
    await app(scope | {"headers": [(b"host", b"localhost")], "client": None}, _no_body, send)
    assert sent[0]["status"] == 403


async def _no_body() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def test_a_hook_that_fails_lets_nobody_in() -> None:
    """An error in the hook is a 500 that tells nothing, never an open door."""

    async def broken(_: object) -> Access:
        raise RuntimeError("secret words")

    async def odd(_: object) -> Any:
        return True

    for hook in (broken, odd):
        async with client(make_app(access=hook)) as http:
            answer = await http.get("/api/workflows")
            assert answer.status_code == 500
            assert "secret words" not in answer.text


def test_an_access_names_permissions_there_are() -> None:
    """A permission that does not exist is an error where it is written, not a door that stays shut."""
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
def test_a_host_header_gives_one_name(written: str, name: str) -> None:
    """Case, port and brackets do not matter; what is no host gives no name, which nothing equals."""
    assert host_name(written) == name


def test_hosts_are_taken_as_people_write_them() -> None:
    """With or without a port or brackets; anything else is an error at start."""
    assert host_names(["A.example:443", "::1", "10.0.0.1"]) == {"a.example", "::1", "10.0.0.1"}
    for wrong in ("*", "https://a.example", "a/b", ""):
        with pytest.raises(ValueError, match="not the name of a host"):
            host_names([wrong])
    assert not is_loopback("")
    assert LoopbackOnly(["a.example"])


def test_the_table_has_no_row_twice() -> None:
    """Two handlers of one method of one path are an error when the app is made."""
    row = make_app(agents=[namer()]).table[0]
    assert isinstance(row, Endpoint)
    with pytest.raises(ValueError, match="twice"):
        Routes([row, row])
