"""The app in every kind of host app: the same responses, and every address below the mount prefix."""

import os
from collections.abc import Callable
from typing import Any

import anyio
import fastapi
import httpx
import pytest
import starlette.applications
from litestar import Litestar
from litestar import get as litestar_get
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from loopkit import MemoryStore
from loopkit_web import Access, App, create_app, litestar_mount, mounted, routes
from tests.web.app_helpers import client, make_app, namer, serving, started, work

Host = Callable[[App], ASGIApp]


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("the host")


def starlette_host(app: App, **options: Any) -> ASGIApp:
    own = Route("/own", hello, name="static")  # a route name of the app must not resolve to the host's route
    return starlette.applications.Starlette(routes=[own, Mount("/loop", app, **options)])


def starlette_with_routes(app: App) -> ASGIApp:
    return starlette.applications.Starlette(routes=[Route("/own", hello), *routes("/loop", app)])


def nested(app: App) -> ASGIApp:
    inner = starlette.applications.Starlette(routes=[*routes("/loop", app)])
    return starlette.applications.Starlette(routes=[Route("/own", hello), Mount("/deep", inner)])


def fastapi_host(app: App) -> ASGIApp:
    host = fastapi.FastAPI()
    host.add_api_route("/own", lambda: "the host")
    host.mount("/loop", app)
    return host


def litestar_host(app: App) -> ASGIApp:
    @litestar_get("/own")
    async def own() -> str:
        return "the host"

    return Litestar([own, litestar_mount("/loop", app)], logging_config=None)  # type: ignore[return-value]


def django_host(app: App) -> ASGIApp:
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse
    from django.urls import path

    async def own(_: HttpRequest) -> HttpResponse:
        return HttpResponse("the host")

    if not settings.configured:
        os.environ.pop("DJANGO_SETTINGS_MODULE", None)
        settings.configure(ROOT_URLCONF=(path("own", own),), ALLOWED_HOSTS=["*"], MIDDLEWARE=[])
        django.setup()
    return mounted("/loop", app, get_asgi_application())


def stripping_proxy(app: App) -> ASGIApp:
    """Return the app behind a proxy that strips the prefix, on a server with that ``--root-path``."""

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        rest = scope["path"].removeprefix("/loop")
        await app({**scope, "path": "/loop" + rest, "root_path": "/loop"}, receive, send)

    return proxy


HOSTS: dict[str, tuple[Host, str]] = {
    "starlette": (starlette_host, "/loop"),
    "starlette, named": (lambda app: starlette_host(app, name="loop"), "/loop"),
    "starlette, routes": (starlette_with_routes, "/loop"),
    "nested": (nested, "/deep/loop"),
    "fastapi": (fastapi_host, "/loop"),
    "litestar": (litestar_host, "/loop"),
    "django": (django_host, "/loop"),
    "stripping proxy": (stripping_proxy, "/loop"),
    "any ASGI host": (lambda app: mounted("/loop", app, starlette_host(app)), "/loop"),
}


@pytest.mark.parametrize(
    ("kind", "anyio_backend"),
    [(kind, backend) for kind in HOSTS for backend in ("asyncio", "trio") if (kind, backend) != ("django", "trio")],
)
async def test_every_host_serves_the_app_under_its_prefix(kind: str, anyio_backend: str) -> None:
    """Starting, reading, labelling, streaming and errors work, and each address begins with the prefix exactly once."""
    make_host, prefix = HOSTS[kind]
    store = MemoryStore()
    app = make_app(store)
    async with client(make_host(app)) as http:
        body = {"agentName": "namer", "inputs": {"thing": "a cat"}}
        response = await http.post(f"{prefix}/api/workflows", json=body)
        assert response.status_code == 201, response.text
        run = response.json()
        assert response.headers["location"] == f"{prefix}/api/workflows?id={run['id']}"
        assert (await http.get(response.headers["location"])).json() == run
        assert (await http.get(f"{prefix}/api/workflows/")).json()["runs"] == [run]
        labels = {"title": "Of cats", "tags": ["spring"]}
        labelled = await http.patch(f"{prefix}/api/workflows?id={run['id']}", json=labels)
        assert (labelled.status_code, labelled.json()) == (200, {**run, **labels})
        assert (await http.get(f"{prefix}/api/openapi.json")).json()["servers"] == [{"url": prefix}]
        missing = await http.get(f"{prefix}/api/workflows?id=run_x")
        assert (missing.status_code, missing.json()["instance"]) == (404, f"{prefix}/api/workflows")
        assert (await http.get(f"{prefix}/nowhere")).json()["instance"] == f"{prefix}/nowhere"
        await work(store)
        events = await http.get(
            f"{prefix}/api/workflow-events?runId={run['id']}", headers={"Accept": "text/event-stream"}
        )
        assert events.text.count("\nid: ") == len(await store.list_events(run["id"]))


@pytest.mark.parametrize("make_host", [starlette_with_routes, nested, django_host, litestar_host])
async def test_the_bare_prefix_leads_into_the_app(make_host: Host) -> None:
    """The prefix without a slash serves or redirects to the app, by an address without scheme and host."""
    prefix = "/deep/loop" if make_host is nested else "/loop"
    async with client(make_host(make_app(read_only=True))) as http:
        response = await http.get(prefix)
        if response.is_redirect:
            assert response.headers["location"].startswith(prefix)
        assert "://" not in response.headers.get("location", "")


async def test_two_apps_in_one_process_share_nothing() -> None:
    """Each app has its own store, agents, access hook and streams."""

    async def viewer(_: Request) -> Access:
        return Access("Bob", ["view"])

    first, second = MemoryStore(), MemoryStore()
    apps = [Mount("/one", make_app(first)), Mount("/two", make_app(second, [namer("other")], access=viewer))]
    async with client(starlette.applications.Starlette(routes=apps)) as http:
        body = {"agentName": "namer", "inputs": {"thing": "x"}}
        assert (await http.post("/one/api/workflows", json=body)).status_code == 201
        assert (await http.post("/two/api/workflows", json=body)).status_code == 403
        assert (await http.get("/two/api/workflows")).json()["runs"] == []
        assert (await http.get("/two/api/agents-config")).json()["agents"][0]["name"] == "other"


@pytest.mark.parametrize(
    ("root_path", "base_path", "prefix"),
    [
        ("", None, ""), ("/", None, ""), ("/a/", None, "/a"), ("//evil.example", None, "/evil.example"),
        ("/a b", None, "/a%20b"), ("", "/base", "/base"), ("/a", "/base/", "/base"), ("/a", "", ""),
    ],
)  # fmt: skip
async def test_addresses_begin_with_the_prefix_and_never_with_a_host(
    root_path: str, base_path: str | None, prefix: str
) -> None:
    """``base_path`` takes precedence over ``root_path``; neither can make an address point to another host."""
    app = make_app(base_path=base_path)
    async with client(app, root_path=root_path) as http:
        body = {"agentName": "namer", "inputs": {"thing": "x"}}
        response = await http.post("/api/workflows", json=body, headers={"X-Forwarded-Prefix": "/forged"})
        assert response.headers["location"].startswith(f"{prefix}/api/workflows?id=run_")


@pytest.mark.parametrize("prefix", ["", "/", "loop"])
def test_a_prefix_is_a_path(prefix: str) -> None:
    """An empty prefix needs no mount, and a prefix without a leading slash would match nothing."""
    for mount in (routes, litestar_mount):
        with pytest.raises(ValueError, match="a prefix must be a path"):
            mount(prefix, make_app())


@pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated")
@pytest.mark.parametrize("path", ["/loop/api/workflows", "/api/v1/loop/api/workflows"])
async def test_fastapi_s_own_root_path_is_part_of_every_address(path: str) -> None:
    """Behind a proxy that strips FastAPI's ``root_path`` or keeps it, addresses begin with it."""
    host = fastapi.FastAPI(root_path="/api/v1")
    host.mount("/loop", make_app())
    async with client(host) as http:
        response = await http.post(path, json={"agentName": "namer", "inputs": {"thing": "x"}})
        assert response.headers["location"].startswith("/api/v1/loop/api/workflows?id=")


async def test_fastapi_dependencies_do_not_guard_a_mount_but_the_hook_does() -> None:
    """Dependencies of the host do not apply to a mounted app; its access hook does."""

    def deny() -> None:
        raise fastapi.HTTPException(401)

    async def knows(request: Request) -> Access | None:
        return Access("Ann", ["view"]) if request.headers.get("x-user") == "ann" else None

    host = fastapi.FastAPI(dependencies=[fastapi.Depends(deny)])
    host.mount("/loop", make_app(access=knows))
    async with client(host) as http:
        assert (await http.get("/loop/api/workflows")).status_code == 401
        assert (await http.get("/loop/api/workflows", headers={"X-User": "ann"})).status_code == 200


async def test_a_host_s_middleware_and_user_reach_the_hook() -> None:
    """The hook gets the request as the host passes it on, ``request.user`` and ``request.state`` included."""

    async def hook(request: Request) -> Access | None:
        return Access(request.state.user, ["view", "start"])

    inner = make_app(access=hook)

    async def with_user(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["user"] = "Ann"
        await inner(scope, receive, send)

    async with client(with_user) as http:
        run = await started(http)
        events = (await http.get(f"/api/workflow-events?runId={run['id']}")).json()["events"]
        assert events[0]["metadata"]["actor"] == "Ann"


async def test_the_lifespan_is_optional(sqlite_url: str) -> None:
    """A store given by its URL is opened on first use or by the lifespan, closed by the lifespan, and can reopen."""
    app = create_app(sqlite_url, [namer()], access=None)
    async with client(app) as http:
        for _ in range(2):
            async with app.lifespan(), app.lifespan():
                assert (await http.get("/api/workflows")).status_code == 200
        assert (await http.get("/api/workflows")).status_code == 200
        await app.aclose()
        await app.aclose()


def test_a_store_by_its_url_serves_in_any_event_loop(sqlite_url: str) -> None:
    """Hosts and tests that create an event loop per request can use the store in each."""
    app = make_app(sqlite_url)

    async def read() -> int:
        async with client(app) as http:
            return (await http.get("/api/workflows")).status_code

    assert [anyio.run(read, backend=backend) for backend in ("asyncio", "asyncio", "trio")] == [200, 200, 200]
    with TestClient(app) as http:
        assert http.get("/api/workflows").status_code == 200
    assert TestClient(app).get("/api/workflows").status_code == 200
    anyio.run(app.aclose)


async def test_a_database_that_cannot_be_opened_is_503_and_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Health is 503, and no response reveals the URL of the database."""
    async with client(make_app("sqlite:////nowhere/at/all.db")) as http:
        for path in ("/api/health", "/api/workflows"):
            response = await http.get(path)
            assert (response.status_code, response.headers["retry-after"]) == (503, "5")
            assert "nowhere" not in response.text
    assert "/nowhere/at" in caplog.text


async def test_websockets_are_closed() -> None:
    """The app does not support WebSockets."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await make_app()({"type": "websocket", "path": "/"}, anyio.sleep_forever, send)  # type: ignore[arg-type]
    assert sent == ["websocket.close"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_real_server_behind_a_stripping_proxy(anyio_backend: str) -> None:
    """Addresses begin with uvicorn's ``--root-path``, which the proxy strips; a stream ends when the app stops."""
    app = make_app()
    async with serving(app, root_path="/loop") as address, httpx.AsyncClient(base_url=address) as http:
        run = await started(http)
        await http.post(f"/api/workflow-cancel?id={run['id']}")
        again = await http.post(f"/api/workflow-retry?id={run['id']}")
        assert again.headers["location"].startswith("/loop/api/workflows?id=")
        events = f"/api/workflow-events?runId={again.json()['id']}"
        async with http.stream("GET", events, headers={"Accept": "text/event-stream"}) as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == ": open"
            app.streams.stop()
            assert [line async for line in lines][-2].startswith("data:")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_client_that_disconnects_frees_its_stream_on_a_real_server(anyio_backend: str) -> None:
    """Closing the connection ends the stream even if nothing happens in the run."""
    app = make_app()
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as http:
        run = await started(http)
        events = f"/api/workflow-events?runId={run['id']}"
        for _ in range(app.streams.limit + 1):  # each needs that an earlier one has ended
            async with http.stream("GET", events, headers={"Accept": "text/event-stream"}) as stream:
                assert stream.status_code == 200
