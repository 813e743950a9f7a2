"""Event streams: opening, limiting, keeping alive and ending them."""

import json

import anyio
from hypothesis import given
from hypothesis import strategies as st

from loopkit import MemoryStore
from loopkit_web import Access, Streams
from loopkit_web.http.event_stream import message
from tests.web.app_helpers import client, listening, make_app, quick_streams, started

EVENTS = "/api/workflow-events"


@given(st.text(), st.one_of(st.none(), st.integers(0)))
def test_nothing_in_the_data_can_end_a_message(text: str, id: int | None) -> None:
    """Whatever the data contains, any line ending too, a message has one data line and is read back unchanged."""
    sent = message({"text": text}, id=id).decode("ascii")
    *lines, data, empty, end = sent.split("\n")
    assert (empty, end) == ("", "")
    assert lines == ([] if id is None else [f"id: {id}"])
    assert len(data.splitlines()) == 1
    assert json.loads(data.removeprefix("data: ")) == {"text": text}


async def test_a_client_that_disconnects_frees_its_stream() -> None:
    """A stream stops counting as open as soon as its client disconnects, even during a wait."""
    streams = Streams(poll_seconds=3600)
    app = make_app(streams=streams)
    async with client(app) as http:
        run = await started(http)
        async with listening(app, EVENTS, f"runId={run['id']}") as stream:
            await stream.event()
            assert streams.open == 1
            stream.hang_up()
            await stream.ended.wait()
        assert streams.open == 0


async def test_stopping_ends_every_stream_and_refuses_new_ones() -> None:
    """After ``stop`` open streams end, a new one gets 503 with Retry-After, and other requests still work."""
    streams = quick_streams()
    app = make_app(streams=streams)
    async with client(app) as http:
        run = await started(http)
        async with (
            listening(app, EVENTS, f"runId={run['id']}") as events,
            listening(app, "/api/workflow-stream") as changes,
        ):
            await events.event()
            await changes.message()
            streams.stop()
            await events.rest()
            await changes.rest()
        response = await http.get("/api/workflow-stream")
        assert (response.status_code, response.headers["retry-after"]) == (503, "10")
        assert (await http.get("/api/workflows")).status_code == 200
        streams.resume()
        async with listening(app, EVENTS, f"runId={run['id']}") as stream:
            assert await stream.event()


async def test_streams_are_limited_for_the_app_and_for_each_named_actor() -> None:
    """One named actor cannot open all streams, and all actors together not more than the limit: the response is 503."""

    async def by_header(request: object) -> Access:
        return Access(request.headers.get("x-actor"), ["view", "start"])  # type: ignore[attr-defined]

    app = make_app(access=by_header, streams=quick_streams(limit=3, limit_per_actor=1))
    stream = "/api/workflow-stream"
    async with client(app) as http, listening(app, stream, x_actor="ann") as ann:
        await ann.message()
        refused = await http.get(stream, headers={"X-Actor": "ann"})
        assert (refused.status_code, refused.json()["code"]) == (503, "too-many-streams")
        async with listening(app, stream) as nobody, listening(app, stream) as another:
            await nobody.message()
            await another.message()
            assert (await http.get(stream, headers={"X-Actor": "bob"})).status_code == 503
        async with listening(app, stream, x_actor="bob") as bob:
            assert await bob.message() == {"": "open"}


async def test_a_quiet_stream_is_pinged_and_ends_after_its_lifetime() -> None:
    """Comments keep proxies from closing a quiet stream; after its lifetime the client must authenticate again."""
    app = make_app(streams=Streams(poll_seconds=0.001, ping_seconds=0.001, lifetime_seconds=3600))
    async with client(app) as http, listening(app, EVENTS, f"runId={(await started(http))['id']}") as stream:
        await stream.event()
        assert await stream.message() == {"": "ping"}
    app = make_app(streams=quick_streams(lifetime_seconds=0))
    async with listening(app, "/api/workflow-stream") as stream:
        assert await stream.rest() == []


async def test_a_client_that_accepts_nothing_is_disconnected() -> None:
    """A send that does not finish is abandoned, and its stream no longer counts as open."""
    streams = quick_streams(send_seconds=0.05)
    app = make_app(MemoryStore(), streams=streams)
    scope = {"type": "http", "method": "GET", "path": "/api/workflow-stream", "query_string": b"", "scheme": "http"}
    scope |= {"headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1)}

    async def send(sent: dict[str, object]) -> None:
        if sent["type"] == "http.response.body":
            await anyio.sleep_forever()

    with anyio.fail_after(10):
        await app(scope, anyio.sleep_forever, send)  # type: ignore[arg-type]
    assert streams.open == 0
