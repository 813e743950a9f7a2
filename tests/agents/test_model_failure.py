"""Failed requests to a model: which are made again, how many, and after what time."""

import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from loopkit.agents.agent import StageSpec
from loopkit.agents.prompt.model_failure import retry_after_seconds
from loopkit.core.outcome import Errored, Produced
from loopkit.core.run import Stage
from tests.agents.conftest import Serve
from tests.agents.context_helpers import Lines
from tests.agents.model_server_helpers import MOODS, Answer, fails, says
from tests.agents.prompt_helpers import ask, prompt_stage


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("by_name", [False, True], ids=["base_url", "provider"])
async def test_retries_are_all_requests_that_are_made_again(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, retries: int, by_name: bool
) -> None:
    """N retries are N + 1 requests, however the model is named: the library makes none of its own."""
    server = serve(fails(500, "out of order"))
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    named = {"model": "openai-chat:tiny"} if by_name else {"base_url": server.url}
    outcome = await ask(prompt_stage(tmp_path, **named), retries=retries)
    assert outcome == Errored("the model did not answer: status 500: out of order")
    assert len(server.requests) == retries + 1


def test_a_prompt_is_tried_three_times_by_default(tmp_path: Path) -> None:
    """Other stages are tried once."""
    assert StageSpec(prompt_stage(tmp_path)).retries == 2
    assert StageSpec(lambda _: "").retries == 0


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_a_passing_failure_is_asked_again(tmp_path: Path, serve: Serve, status: int) -> None:
    """The next answer counts, and the journal has a line for the failed one."""
    server, lines = serve(fails(status), says("Tom")), Lines()
    assert await ask(prompt_stage(tmp_path, base_url=server.url), retries=1, sink=lines) == Produced("Tom")
    assert len(server.requests) == 2
    assert lines.texts[0] == f"Try 1 of 2 failed and will be made again: the model did not answer: status {status}: no"


async def test_a_server_that_is_not_reached_is_named(tmp_path: Path) -> None:
    """With the reason, and without what is secret in its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    outcome = await ask(prompt_stage(tmp_path, base_url=f"http://me:secret@127.0.0.1:{port}/v1?key=secret"))
    place = f"http://***:***@127.0.0.1:{port}/v1?key=***"
    assert outcome == Errored(f"the model did not answer: cannot connect to {place}: Connection refused")
    outcome = await ask(prompt_stage(tmp_path, base_url="http://no-such-host.invalid/v1"))
    assert isinstance(outcome, Errored)
    before, _, reason = outcome.message.rpartition(": ")
    assert before == "the model did not answer: cannot connect to http://no-such-host.invalid/v1"
    assert "Error" not in reason


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
async def test_a_lasting_failure_is_not_asked_again(tmp_path: Path, serve: Serve, status: int) -> None:
    """A wrong key, an unknown model or a request that is too long stays so."""
    server = serve(fails(status, "never"))
    outcome = await ask(prompt_stage(tmp_path, base_url=server.url), retries=3)
    assert outcome == Errored(f"the model did not answer: status {status}: never")
    assert len(server.requests) == 1


async def test_a_spent_quota_is_not_asked_again(tmp_path: Path, serve: Serve) -> None:
    """It is a 429 like any other, but for its code."""
    server = serve(MOODS["quota spent"])
    outcome = await ask(prompt_stage(tmp_path, base_url=server.url), retries=3)
    assert isinstance(outcome, Errored)
    assert "pay first" in outcome.message
    assert len(server.requests) == 1


@pytest.mark.parametrize("stage", [Stage.PRODUCING, Stage.EVALUATING])
@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"choices": []}', b"[]"])
async def test_a_response_that_cannot_be_read_is_asked_again(
    tmp_path: Path, serve: Serve, body: bytes, stage: Stage
) -> None:
    """It may come from a proxy, or from a server that is just starting."""
    server = serve(Answer(200, body))
    outcome = await ask(prompt_stage(tmp_path, base_url=server.url), stage, retries=1)
    assert isinstance(outcome, Errored)
    assert outcome.message.startswith("the model did not answer: ")
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 1.0), ("600", 60.0), ("soon", 1.0), (None, 1.0), ("-5", 1.0), ("nan", 1.0)],
)
async def test_retry_after_is_waited_for(tmp_path: Path, serve: Serve, header: str | None, seconds: float) -> None:
    """As many seconds as the server says, 60 at most; never less than the usual pause, which is one second here."""
    headers = {} if header is None else {"Retry_After": header}
    server, pauses = serve(fails(429, **headers), says("Tom")), list[float]()
    assert await ask(prompt_stage(tmp_path, base_url=server.url), retries=1, pauses=pauses) == Produced("Tom")
    assert pauses == [seconds]


async def test_retry_after_may_be_a_date(tmp_path: Path, serve: Serve) -> None:
    """The time until then is waited, whether the date names its zone or not."""
    server, pauses = serve(MOODS["429 with a date"]), list[float]()
    await ask(prompt_stage(tmp_path, base_url=server.url), retries=1, pauses=pauses)
    assert len(pauses) == 1
    assert 5 < pauses[0] <= 30
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    text = format_datetime(now + timedelta(seconds=12), usegmt=True)
    assert retry_after_seconds({"Retry-After": text}, now=now) == 12
    assert retry_after_seconds({"retry-after": "Fri Jan  2 03:04:15 2026"}, now=now) == 10
    assert retry_after_seconds({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, now=now) == 0


async def test_the_wait_is_outside_of_the_timeout(tmp_path: Path, serve: Serve) -> None:
    """A stage with a timeout of seconds may wait for longer between its tries: each try has the whole timeout."""
    server, pauses = serve(MOODS["429 with seconds"], says("Tom")), list[float]()
    prompt = prompt_stage(tmp_path, base_url=server.url)
    assert await ask(prompt, retries=1, pauses=pauses, timeout=timedelta(seconds=5)) == Produced("Tom")
    assert pauses == [7.0]


async def test_a_template_that_fails_is_not_tried_again(tmp_path: Path, serve: Serve) -> None:
    """It would fail in the same way, and nothing is sent."""
    server, pauses = serve(says("Tom")), list[float]()
    outcome = await ask(
        prompt_stage(tmp_path, "{{ output.a }}", base_url=server.url), output="x", retries=2, pauses=pauses
    )
    assert isinstance(outcome, Errored)
    assert (pauses, server.requests) == ([], [])
