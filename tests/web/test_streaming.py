"""How streams are kept open, bounded and ended."""

import json

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopkit import MemoryStore
from loopkit_web import Access, Streams
from loopkit_web.streaming import message
from tests.web.apps import client, listening, make_app, quick_streams, started

EVENTS = "/api/workflow-events"


@given(st.text(), st.one_of(st.none(), st.integers(0)))
def test_nothing_in_the_data_can_end_a_message(text: str, id: int | None) -> None:
    """Whatever the data hold, line ends of every kind too, a message is one data line and comes back equal."""
    sent = message({"text": text}, id=id).decode("ascii")
    *lines, data, empty, end = sent.split("\n")
    assert (empty, end) == ("", "")
    assert lines == ([] if id is None else [f"id: {id}"])
    assert len(data.splitlines()) == 1
    assert json.loads(data.removeprefix("data: ")) == {"text": text}


async def test_a_client_that_hangs_up_frees_its_place() -> None:
    """The place of a stream is free again as soon as its client has gone, in the middle of a wait too."""
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


async def test_stopping_ends_every_stream_and_opens_no_more() -> None:
    """After ``stop`` the open streams end by themselves, and a new one is told to come later; the rest still works."""
    streams = quick_streams()
    app = make_app(streams=streams)
    async with client(app) as http:
        run = await started(http)
        async with listening(app, EVENTS, f"runId={run['id']}") as one, listening(app, "/api/workflow-stream") as two:
            await one.event()
            await two.message()
            streams.stop()
            await one.rest()
            await two.rest()
        answer = await http.get("/api/workflow-stream")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
        assert (await http.get("/api/workflows")).status_code == 200
        streams.resume()
        async with listening(app, EVENTS, f"runId={run['id']}") as stream:
            assert await stream.event()


async def test_places_are_bounded_for_all_and_for_each_named_actor() -> None:
    """One named actor cannot take all places, and all together not more than there are; the answer is 503."""

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
            assert "retry" in await bob.message()


async def test_a_quiet_stream_is_pinged_and_ends_after_its_lifetime() -> None:
    """Comments keep proxies from closing a quiet stream; in the end the client has to come back and say who it is."""
    app = make_app(streams=Streams(poll_seconds=0.001, ping_seconds=0.001, lifetime_seconds=3600))
    async with client(app) as http, listening(app, EVENTS, f"runId={(await started(http))['id']}") as stream:
        await stream.event()
        assert await stream.message() == {"": "ping"}
    app = make_app(streams=quick_streams(lifetime_seconds=0))
    async with listening(app, "/api/workflow-stream") as stream:
        assert await stream.rest() == []


async def test_a_client_that_takes_nothing_is_let_go() -> None:
    """A send that does not end is given up, and the place is free."""
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


async def test_a_read_is_shared_for_a_poll_and_each_event_loop_has_its_own() -> None:
    """Within a poll the same value is given, also to those who ask at once; an error is nobody else's."""
    streams = Streams(poll_seconds=3600)
    reads = 0

    async def read() -> int:
        nonlocal reads
        reads += 1
        await anyio.lowlevel.checkpoint()
        if reads == 1:
            raise RuntimeError
        return reads

    with pytest.raises(RuntimeError):
        await streams.look("key", read)
    assert [await streams.look("key", read) for _ in range(3)] == [2, 2, 2]
    for number in range(1000):
        await streams.look(number, read)
    assert len(streams._looks) <= 512
