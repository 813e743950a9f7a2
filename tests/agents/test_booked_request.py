"""Requests to models in the book: open before they are sent, and completed with what they gave."""

import socket
from pathlib import Path
from typing import Any

import pytest

from loopkit.agents.prompt.model_request import Endpoint, build_model
from loopkit.core.ledger.calls import CallState, ModelCall
from loopkit.core.outcome import Errored, Outcome, Produced
from loopkit.core.run import Stage
from tests.agents.model_server_helpers import MOODS, Answer, ModelServer, Request, completion, says
from tests.agents.prompt_helpers import ask, prompt_stage
from tests.agents.usage_helpers import Book, plain


def call(state: CallState = CallState.ANSWERED, **fields: Any) -> ModelCall:
    return ModelCall(
        **{"id": "", "stage": Stage.PRODUCING, "attempt": 1, "model": "local:tiny", "state": state, **fields}
    )


async def asked(folder: Path, server_url: str, book: Book, stage: Stage = Stage.PRODUCING, **settings: Any) -> Outcome:
    """Call a prompt stage with a book."""
    own = {key: settings.pop(key) for key in ("timeout", "retries", "judge", "sample") if key in settings}
    return await ask(prompt_stage(folder, base_url=server_url, **settings), stage, book=book, **own)


async def test_a_request_is_booked_before_it_is_sent(tmp_path: Path) -> None:
    """When the server has it, it is in the book as unanswered and without a price."""
    book = Book()
    seen: list[list[ModelCall]] = []

    def answer(_: Request) -> Answer:
        seen.append(list(book.writes))
        return says("A name")

    with ModelServer([answer]) as server:
        await asked(tmp_path, server.url, book)
    assert [plain(writes) for writes in seen] == [[call(CallState.UNANSWERED)]]
    assert plain(book.calls) == [call(input_tokens=11, output_tokens=7, cached_tokens=0)]
    assert book.calls[0].seconds is not None


async def test_own_servers_have_no_list_price(tmp_path: Path) -> None:
    """Whatever their models are called; ``price`` gives them one."""
    with ModelServer([says("A name")]) as server:
        for price, nanos in ((None, None), ({"input": 1, "output": 2}, 25_000), ({"input": 0, "output": 0}, 0)):
            book = Book()
            await asked(tmp_path, server.url, book, model="openai:gpt-4o", price=price)
            assert [one.cost_nanos for one in book.calls] == [nanos]


async def test_cached_tokens_have_their_price(tmp_path: Path) -> None:
    """They are part of the input tokens."""
    details = {"cached_tokens": 400}
    usage = {"prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 1001, "prompt_tokens_details": details}
    book = Book()
    with ModelServer([completion({"content": "A name"}, "stop", usage=usage)]) as server:
        await asked(tmp_path, server.url, book, price={"input": 1, "output": 1, "cached": 0.5})
    assert plain(book.calls) == [call(input_tokens=1000, output_tokens=1, cached_tokens=400, cost_nanos=801_000)]


@pytest.mark.parametrize(
    ("mood", "state", "nanos"),
    [
        ("401", CallState.FAILED, 0),
        ("500", CallState.FAILED, 0),
        ("quota spent", CallState.FAILED, 0),
        ("empty choices", CallState.ANSWERED, None),
        ("malformed", CallState.ANSWERED, None),
        ("usage null", CallState.ANSWERED, None),
        ("slow", CallState.UNANSWERED, None),
    ],
)
async def test_what_a_request_came_to(tmp_path: Path, mood: str, state: CallState, nanos: int | None) -> None:
    """One that was refused costs nothing; an answer that cannot be read is one, and what it cost is not known."""
    build_model(Endpoint(model="x:y", base_url="http://127.0.0.1", api_key_env=None), None)  # loads the library
    book = Book()
    with ModelServer([MOODS[mood]]) as server:
        await asked(tmp_path, server.url, book, timeout=3 if mood == "slow" else 60, price={"input": 1, "output": 1})
    assert plain(book.calls) == [call(state, cost_nanos=nanos)]


async def test_a_request_that_never_connected_costs_nothing(tmp_path: Path) -> None:
    """Nobody listens at that port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    book = Book()
    assert isinstance(await asked(tmp_path, f"http://127.0.0.1:{port}/v1", book), Errored)
    assert plain(book.calls) == [call(CallState.FAILED, cost_nanos=0)]


async def test_a_cut_connection_is_unanswered(tmp_path: Path) -> None:
    """The server may have made and billed its answer."""
    book = Book()
    with ModelServer([Answer(200, b"{", headers={"Content-Length": "100"})]) as server:
        await asked(tmp_path, server.url, book, timeout=60)
    assert plain(book.calls) == [call(CallState.UNANSWERED)]


async def test_a_missing_key_is_no_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is booked."""
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    book = Book()
    assert isinstance(await asked(tmp_path, "http://127.0.0.1:9/v1", book, api_key_env="NO_SUCH_KEY"), Errored)
    assert book.writes == []


async def test_a_missing_key_of_a_provider_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, and the error says in the terms of the settings what to do."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    book = Book()
    outcome = await ask(prompt_stage(tmp_path, model="openai-chat:m"), book=book, retries=2)
    assert outcome == Errored(
        "there is no key for openai-chat:m: set the environment variable OPENAI_API_KEY, or name another one in "
        "api_key_env"
    )
    assert plain(book.calls) == [call(CallState.FAILED, cost_nanos=0, model="openai-chat:m")]


async def test_every_try_of_a_judge_is_booked(tmp_path: Path) -> None:
    """With its judge, its sample, and the number of its try: as many as the server has seen."""
    book = Book()
    with ModelServer([MOODS["plain text only"]]) as server:
        await asked(
            tmp_path, server.url, book, Stage.EVALUATING, model="local:judge", retries=2, judge="facts", sample=3
        )
    common: dict[str, Any] = {"stage": Stage.EVALUATING, "judge": "facts", "sample": 3, "model": "local:judge"}
    assert plain(book.calls) == [
        call(CallState.FAILED, cost_nanos=0, try_number=1, **common),
        call(CallState.FAILED, cost_nanos=0, try_number=2, **common),
        call(input_tokens=11, output_tokens=7, cached_tokens=0, try_number=3, **common),
    ]
    assert len(server.requests) == 3


@pytest.mark.parametrize("tokens", [10**13, 2**80])
async def test_usage_that_cannot_be_true_was_not_reported(tmp_path: Path, tokens: int) -> None:
    """The answer counts, and its call is an answered one without tokens, which spends a budget."""
    usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": 2}
    book = Book()
    with ModelServer([completion({"content": "A name"}, "stop", usage=usage)]) as server:
        outcome = await asked(tmp_path, server.url, book, price={"input": 1, "output": 1})
    assert outcome == Produced("A name")
    assert plain(book.calls) == [call()]
