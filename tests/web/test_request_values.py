"""Parsing of queries, bodies and forms: strict and within limits."""

import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from loopkit import MemoryStore
from loopkit.storage import RunQuery
from loopkit_web.http import request_values, unread_body
from loopkit_web.http.endpoint import Form
from loopkit_web.http.problems import Refused
from tests.web.app_helpers import client, make_app


async def gone() -> Any:
    return {"type": "http.disconnect"}


JSON = {"Content-Type": "application/json"}
GOOD = b'{"agentName": "namer", "inputs": {"thing": "x"}}'


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"}, {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/jsonp"}, JSON | {"Content-Encoding": "gzip"},
    ],
)  # fmt: skip
async def test_a_body_of_another_type_is_415(headers: dict[str, str]) -> None:
    """Only plain JSON in UTF-8 is accepted, so that a form on another site cannot send one."""
    async with client(make_app()) as http:
        response = await http.post("/api/workflows", content=GOOD, headers=headers)
        assert (response.status_code, response.json()["code"]) == (415, "wrong-type")


@pytest.mark.parametrize(
    "written", ["application/json", "APPLICATION/JSON;charset=UTF-8", 'application/json; charset="utf-8"']
)
async def test_the_json_media_type_may_be_written_in_any_form(written: str) -> None:
    """Case and an explicit charset do not matter."""
    async with client(make_app()) as http:
        assert (await http.post("/api/workflows", content=GOOD, headers={"Content-Type": written})).status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"{'a': 1}", b"nonsense", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1e999}', b'{"a": 1, "a": 2}',
        b'{"a": "\xff"}', b"\xef\xbb\xbf{}", GOOD + b"{}", b'{"a": ' + b"9" * 5000 + b"}", b'"\\"' * 20_000,
        b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000, b"[" + b"0," * 300_000 + b"]",
    ],
    ids=range(17),
)  # fmt: skip
async def test_a_body_that_is_not_acceptable_json_is_400(body: bytes) -> None:
    """Broken, ambiguous, too large or too deep JSON is refused, and not repeated in the response."""
    async with client(make_app()) as http:
        response = await http.post("/api/workflows", content=body, headers=JSON)
    assert (response.status_code, response.json()["code"]) == (400, "bad-body")
    assert len(response.content) < 1000


async def test_the_content_of_an_invalid_body_is_not_repeated() -> None:
    """A secret in an invalid body is in no response."""
    secret = "sk-very-secret"
    async with client(make_app()) as http:
        for body in (f'{{"{secret}": ', json.dumps({"agentName": "namer", "inputs": {"thing": [secret]}}),
                     json.dumps({"agentName": "namer", "inputs": secret}), json.dumps([secret]),
                     json.dumps({"agentName": "namer", "inputs": {"thing": secret * 500}})):  # fmt: skip
            response = await http.post("/api/workflows", content=body, headers=JSON)
            assert response.status_code in (400, 422)
            assert secret not in response.text


async def test_a_declared_length_over_the_bound_is_413_unread() -> None:
    """A declared length over the limit is refused before the body is read."""
    async with client(make_app()) as http:
        response = await http.post("/api/workflows", content=b"x", headers=JSON | {"Content-Length": str(1 << 40)})
        assert (response.status_code, response.json()["code"]) == (413, "too-large")


async def test_an_endless_body_is_refused_while_it_comes_with_flat_memory() -> None:
    """A body without a declared length is refused once the limit is passed; a bounded part of the rest is dropped."""
    sent = 0

    async def gigabyte() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(16_384):
            sent += 1 << 16
            yield bytes(1 << 16)

    store = MemoryStore()
    # httpx's transport would collect the whole body first; this one sends it chunk by chunk.
    app = make_app(store)
    chunks = gigabyte()
    sent_messages: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": await anext(chunks), "more_body": True}

    async def send(message: Any) -> None:
        sent_messages.append(message)

    scope = {"type": "http", "method": "POST", "path": "/api/workflows", "query_string": b"", "scheme": "http"}
    scope |= {"client": ("127.0.0.1", 1), "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")]}
    tracemalloc.start()
    await app(scope, receive, send)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sent_messages[0]["status"] == 413
    assert sent <= (1 << 20) + unread_body._BYTES + (1 << 17)
    assert peak < 8 << 20
    assert (await store.list_runs(RunQuery())).runs == ()


@pytest.mark.parametrize(
    ("receive", "code"), [(anyio.sleep_forever, "too-slow"), (gone, "bad-body")], ids=["never arrives", "ends early"]
)
async def test_a_body_that_does_not_arrive_is_refused(receive: Any, code: str) -> None:
    """A client that does not send its body in time, or disconnects, is refused."""
    request = Request({"type": "http", "headers": [(b"content-type", b"application/json")]}, receive)
    with pytest.raises(Refused) as refused, anyio.fail_after(10):
        await request_values.read_body(request, media_type="application/json", max_bytes=10, seconds=0.01)
    assert refused.value.code == code


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30))  # fmt: skip
def test_all_valid_json_is_read_unchanged(value: Any) -> None:
    """Brackets, commas and quotes inside text are text; the parsed value equals the one sent."""
    assert request_values.parse_json(json.dumps(value).encode()) == value


@given(st.lists(st.tuples(st.text(min_size=1), st.text())))
def test_forms_are_read_as_browsers_send_them(pairs: list[tuple[str, str]]) -> None:
    """Every field in order, repeated ones too; text that no database can store is refused."""
    fields = [(name, value) for name, value in pairs if "\0" not in name + value and (name + value).isprintable()]
    form = request_values.parse_form(urlencode(fields).encode())
    assert form == Form(fields=tuple(fields))
    for name, _ in fields:
        assert form.getlist(name) == [value for key, value in fields if key == name]
        assert form.get(name) == form.getlist(name)[-1]
    assert form.get("never") == ""


@pytest.mark.parametrize("body", [b"a=%00", b"a=%ff", b"a=\xff", b"&".join(b"a=1" for _ in range(3000))])
def test_a_form_that_cannot_be_stored_is_refused(body: bytes) -> None:
    """NUL, broken UTF-8 and thousands of fields are refused."""
    with pytest.raises(Refused):
        request_values.parse_form(body)


def test_as_many_items_as_a_body_can_hold_are_read() -> None:
    """The bound on items refuses nothing that a body of 1 MiB can hold."""
    body = b"[" + b"1," * (2**19 - 2) + b"1]"
    assert len(body) < 2**20
    assert len(request_values.parse_json(body)) == 2**19 - 1
