"""Stages that are prompts, against a small server: requests, verdicts, failures, templates."""

import logging
import sys
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from loopkit.agents.stages.threads import call_in_thread
from loopkit.agents.template import MAX_TEMPLATE_BYTES
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Produced
from loopkit.core.run import Stage
from loopkit.errors import InvalidConfig
from tests.agents.conftest import Serve
from tests.agents.context_helpers import Lines
from tests.agents.model_server_helpers import Answer, ModelServer, calls, completion, fails, says
from tests.agents.prompt_helpers import ask, prompt_stage

CANARY = "sk-canary-0123456789"


async def test_the_filled_template_is_sent_and_the_answer_is_the_output(tmp_path: Path, serve: Serve) -> None:
    """One request, with the model's name, the settings and the key; the text that comes back is kept exactly."""
    server, lines = serve(says(" Tom \n")), Lines()
    prompt = prompt_stage(
        tmp_path,
        base_url=server.url,
        api_key_env="TEST_KEY",
        temperature=0.5,
        max_tokens=100,
        seed=7,
        extra_body={"top_k": 3, "nested": {"a": [1]}},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_KEY", CANARY)
        assert await ask(prompt, sink=lines) == Produced(" Tom \n")
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {CANARY}"
    assert request.messages == [("user", "Name a cat.")]
    sent = {key: request.body.get(key) for key in ("model", "temperature", "seed", "top_k", "nested", "tools")}
    assert sent == {"model": "tiny", "temperature": 0.5, "seed": 7, "top_k": 3, "nested": {"a": [1]}, "tools": None}
    assert 100 in (request.body.get("max_tokens"), request.body.get("max_completion_tokens"))
    assert lines == [("local:tiny answered", {"input_tokens": 11, "output_tokens": 7})]


async def test_tokens_that_the_server_did_not_report_are_not_logged(tmp_path: Path, serve: Serve) -> None:
    """Its answer is logged without numbers: zeros would not be true."""
    server, lines = serve(completion({"content": "Tom"}, "stop", usage=None)), Lines()
    assert await ask(prompt_stage(tmp_path, base_url=server.url), sink=lines) == Produced("Tom")
    assert lines == [("local:tiny answered", {})]


async def test_no_other_services_key_is_sent(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that has no key configured does not get the one in the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    server = serve(says("Tom"))
    assert await ask(prompt_stage(tmp_path, base_url=server.url)) == Produced("Tom")
    assert CANARY not in str(server.requests)


async def test_a_provider_is_taken_by_its_name(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a base_url the provider's own settings count, with its key from the variable that is named."""
    server = serve(says("Tom"))
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "usual")
    monkeypatch.setenv("TEST_KEY", "special")
    assert await ask(prompt_stage(tmp_path, model="openai-chat:tiny")) == Produced("Tom")
    assert await ask(prompt_stage(tmp_path, model="openai-chat:tiny", api_key_env="TEST_KEY")) == Produced("Tom")
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer usual", "Bearer special"]


@pytest.mark.parametrize("finish", ["stop", "length"])
async def test_an_output_that_was_cut_off_is_kept_and_says_so(tmp_path: Path, serve: Serve, finish: str) -> None:
    """The text is evaluated like any other output; the journal says that it was cut off."""
    lines = Lines()
    prompt = prompt_stage(tmp_path, base_url=serve(says("Tom and", finish)).url)
    assert await ask(prompt, sink=lines) == Produced("Tom and")
    assert any("cut off" in line for line in lines.texts) == (finish == "length")


VERDICT = {"score": 7, "feedback": "shorter"}


@pytest.mark.parametrize(
    "answer",
    [
        calls(VERDICT),
        calls({**VERDICT, "more": 1}),
        says('{"score": 7, "feedback": "shorter"}'),
        says('```json\n{"score": 7, "feedback": "shorter"}\n```\n'),
    ],
    ids=["tool", "tool with more", "text", "fenced text"],
)
async def test_a_verdict_is_a_whole_number_divided_by_ten(tmp_path: Path, serve: Serve, answer: Answer) -> None:
    """By the tool that was offered, or as JSON from a server that knows no tools."""
    server = serve(answer)
    outcome = await ask(prompt_stage(tmp_path, base_url=server.url), Stage.EVALUATING)
    assert outcome == Evaluated(Evaluation(0.7, "shorter"))
    (request,) = server.requests
    assert [tool["function"]["name"] for tool in request.body["tools"]] == ["verdict"]
    (role, instructions), question = request.messages
    assert (role, question) == ("system", ("user", "Name a cat."))
    assert "0 (useless) to 10 (perfect)" in instructions


@pytest.mark.parametrize(("score", "value"), [(0, 0.0), (3, 0.3), (10, 1.0)])
async def test_the_whole_range_of_verdicts(tmp_path: Path, serve: Serve, score: int, value: float) -> None:
    """0 is the worst and 10 the best."""
    prompt = prompt_stage(tmp_path, base_url=serve(calls({"score": score, "feedback": ""})).url)
    assert await ask(prompt, Stage.EVALUATING) == Evaluated(Evaluation(value))


@pytest.mark.parametrize(
    ("answer", "says_why"),
    [
        (says("It is good."), "not one clear JSON object"),
        (says(""), "holds no text"),
        (says("7"), "not one clear JSON object"),
        (says('{"score": 7'), "not one clear JSON object"),
        (calls('{"score": 7, "feed'), "not a JSON object"),
        (calls({"feedback": "a"}), "whole number"),
        (calls({"score": 11, "feedback": "a"}), "whole number"),
        (calls({"score": -1, "feedback": "a"}), "whole number"),
        (calls({"score": 7.5, "feedback": "a"}), "whole number"),
        (calls({"score": True, "feedback": "a"}), "whole number"),
        (calls({"score": "7", "feedback": "a"}), "whole number"),
        (calls({"score": 7}), "feedback that is nothing, not text"),
        (calls({"score": 7, "feedback": ["a"]}), "feedback that is a list, not text"),
        (calls(VERDICT, "length"), "cut off"),
        (says('{"score": 7, "feedback": "shorter"}', "length"), "cut off"),
    ],
)
async def test_a_malformed_verdict_is_an_error_with_its_own_retries(
    tmp_path: Path, serve: Serve, answer: Answer, says_why: str
) -> None:
    """A judge that cannot be understood never counts as a score; the retries of the stage ask again."""
    server = serve(answer, answer, says('{"score": 7, "feedback": "shorter"}'))
    prompt = prompt_stage(tmp_path, base_url=server.url)
    outcome = await ask(prompt, Stage.EVALUATING)
    assert isinstance(outcome, Errored)
    assert says_why in outcome.message
    assert await ask(prompt, Stage.EVALUATING, retries=1) == Evaluated(Evaluation(0.7, "shorter"))
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "says_why"),
    [
        (fails(429, "slow down"), "status 429: slow down"),
        (fails(500, "out of order"), "status 500: out of order"),
        (Answer(200, b"<html>"), "did not answer"),
        (Answer(200, b"{}"), "did not answer"),
        (says(""), "no text"),
        (says(None), "no text"),
    ],
)
async def test_an_answer_that_is_none_is_an_error(tmp_path: Path, serve: Serve, answer: Answer, says_why: str) -> None:
    """One request a try: retries are the stage's own, and each is logged."""
    server, lines = serve(answer), Lines()
    outcome = await ask(prompt_stage(tmp_path, base_url=server.url), retries=1, sink=lines)
    assert isinstance(outcome, Errored)
    assert says_why in outcome.message
    assert len(outcome.message) < 1_000
    assert len(server.requests) == 2
    assert any("Try 1 of 2 failed" in line for line in lines.texts)


async def test_a_server_that_is_not_there_is_an_error(tmp_path: Path, serve: Serve) -> None:
    """The message says that nobody answered."""
    with ModelServer([says("Tom")]) as server:
        url = server.url
    outcome = await ask(prompt_stage(tmp_path, base_url=url))
    assert isinstance(outcome, Errored)
    assert outcome.message.startswith("the model did not answer: ")


async def test_a_slow_answer_is_given_up_and_its_connection_closed(tmp_path: Path, serve: Serve) -> None:
    """The request ends with the stage: nobody pays for an answer that nobody waits for."""
    began = threading.Event()
    server = serve(Answer(200, b"", wait=began))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, prompt_stage(tmp_path, base_url=server.url))
        await call_in_thread(partial(began.wait, 60))
        tasks.cancel_scope.cancel()
    assert await call_in_thread(partial(server.disconnected.wait, 60))


async def test_an_answer_that_comes_too_late_is_an_error(tmp_path: Path, serve: Serve) -> None:
    """The timeout of the stage holds for prompts too."""
    prompt = prompt_stage(tmp_path, base_url=serve(Answer(200, b"", wait=threading.Event())).url)
    assert await ask(prompt, timeout=timedelta(seconds=0.2)) == Errored("timed out after 0.2 s")


async def test_a_key_is_told_to_nobody_else(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where the server repeats it in its error: no log line, no error and no logger has it."""
    monkeypatch.setenv("TEST_KEY", CANARY)
    server, lines = serve(fails(401, f"Incorrect API key provided: {CANARY}")), Lines()
    prompt = prompt_stage(tmp_path, base_url=server.url, api_key_env="TEST_KEY")
    with caplog.at_level(logging.DEBUG, "loopkit"):
        outcome = await ask(prompt, retries=1, sink=lines)
    assert isinstance(outcome, Errored)
    assert "[key]" in outcome.message
    visible = f"{outcome} {lines} {caplog.text} {prompt!r} {prompt.target} {prompt.definition} {prompt.problem()}"
    assert CANARY not in visible


@pytest.mark.parametrize("value", [None, ""])
async def test_a_key_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    """The variable is named before any request is made."""
    if value is not None:
        monkeypatch.setenv("TEST_KEY", value)
    outcome = await ask(prompt_stage(tmp_path, base_url="http://127.0.0.1:1/v1", api_key_env="TEST_KEY"))
    assert outcome == Errored("the environment variable TEST_KEY (api_key_env) is not set")


async def test_an_unknown_provider_is_an_error(tmp_path: Path) -> None:
    """The library's words say which it is."""
    outcome = await ask(prompt_stage(tmp_path, model="nobody:tiny"))
    assert isinstance(outcome, Errored)
    assert "nobody:tiny" in outcome.message


async def test_without_the_extra_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The problem is known beforehand, and is the error of the call."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "pydantic_ai"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "pydantic_ai", None)
    prompt = prompt_stage(tmp_path, base_url="http://127.0.0.1:1/v1")
    assert prompt.problem() == "prompts need the package pydantic-ai-slim: install loopkit with the extra llm"
    outcome = await ask(prompt)
    assert isinstance(outcome, Errored)
    assert outcome.message.startswith("prompts need the package pydantic-ai-slim: install loopkit with the extra llm")


@pytest.mark.parametrize(
    ("content", "says_why"),
    [
        (None, "cannot read the template prompt.md: No such file or directory"),
        (b"\xff", "the template prompt.md is not UTF-8"),
        (b"{{ nothing }}", "the template prompt.md names nothing; it may name: run_id"),
        (b"x" * (MAX_TEMPLATE_BYTES + 1), f"the template prompt.md is larger than {MAX_TEMPLATE_BYTES} bytes"),
    ],
    ids=["missing", "encoding", "name", "size"],
)
async def test_a_template_that_cannot_be_used_is_a_problem(
    tmp_path: Path, content: bytes | None, says_why: str
) -> None:
    """Known beforehand, and the stage's error when it is called; the agent's digest can be made all the same."""
    prompt = prompt_stage(tmp_path, base_url="http://127.0.0.1:1/v1")
    if content is None:
        (tmp_path / "prompt.md").unlink()
    else:
        (tmp_path / "prompt.md").write_bytes(content)
    problem = prompt.problem()
    assert problem is not None
    assert problem.startswith(says_why)
    outcome = await ask(prompt)
    assert isinstance(outcome, Errored)
    assert outcome.message == problem
    assert prompt.definition


def test_what_is_told_of_a_prompt(tmp_path: Path) -> None:
    """The file and the model; its definition changes with the template's text and with every setting."""
    prompt = prompt_stage(tmp_path, "One", base_url="http://127.0.0.1:1/v1")
    assert (prompt.kind, prompt.target, prompt.problem()) == ("prompt", "prompt.md (local:tiny)", None)
    prompt = prompt_stage(tmp_path, "One")
    definition = prompt.definition
    assert prompt_stage(tmp_path, "One").definition == definition
    assert prompt.definition == definition
    changes: list[dict[str, Any]] = [{"template": "Two"}, {"seed": 1}, {"model": "local:other"}, {"extra_body": {}}]
    others = {prompt_stage(tmp_path, **{"template": "One", **change}).definition for change in changes}
    assert len({definition, *others}) == 5


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"model": "tiny"}, "model"),
        ({"model": "local:"}, "model"),
        ({"model": ":tiny"}, "model"),
        ({"model": []}, "model"),
        ({"model": ["local:tiny", "tiny"]}, "model"),
        ({"messages": "m.yaml"}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"system": ""}, "system"),
        ({"structured": "yaml"}, "structured"),
        ({"output": {"type": "array"}}, "output"),
        ({"output": {"properties": {"a": {"type": "word"}}}}, "output.properties.a.type"),
        ({"output": "text"}, "output"),
        ({"base_url": "file:///etc/passwd"}, "base_url"),
        ({"base_url": 5}, "base_url"),
        ({"api_key_env": ""}, "api_key_env"),
        ({"temperature": "warm"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"seed": True}, "seed"),
        ({"extra_body": []}, "extra_body"),
        ({"extra_body": {"a": {1}}}, "extra_body"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, settings: dict[str, Any], key: str) -> None:
    """The error names the setting."""
    with pytest.raises(InvalidConfig) as caught:
        prompt_stage(tmp_path, **settings)
    assert caught.value.key == key
