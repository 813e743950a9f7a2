"""Conversations of prompts: system instructions, turns, objects by a schema, models and seeds by attempt."""

import json
from pathlib import Path
from typing import Any

import pytest

import loopkit
from loopkit.agents.prompt.prompt_stage import PromptStage
from loopkit.core.outcome import Errored, Produced
from loopkit.core.run import Stage
from loopkit.errors import InvalidConfig
from tests.agents.conftest import Serve
from tests.agents.context_helpers import place
from tests.agents.model_server_helpers import MOODS, calls, completion, says
from tests.agents.prompt_helpers import ask, prompt_stage

TURNS = """
- {role: system, content: You name things.}
- {role: user, content: Name a dog.}
- {role: assistant, content: Rex}
- role: user
  content: |
    Name {{ inputs.thing }}.
"""
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "age": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}


def turns_stage(folder: Path, text: str, **settings: Any) -> PromptStage:
    (folder / "turns.yaml").write_text(text)
    return PromptStage(**{"messages": "turns.yaml", "model": "local:tiny", "folder": folder, **settings})


async def test_system_instructions_stand_first(tmp_path: Path, serve: Serve) -> None:
    """They are a template as well; a judge's own instructions stand before them."""
    (tmp_path / "system.md").write_text("You know {{ inputs.thing }}.")
    server = serve(MOODS["well"])
    prompt = prompt_stage(tmp_path, base_url=server.url, system="system.md")
    await ask(prompt)
    await ask(prompt, Stage.EVALUATING, output="x")
    assert server.requests[0].messages == [("system", "You know a cat."), ("user", "Name a cat.")]
    (role, system), question = server.requests[1].messages
    assert (role, question) == ("system", ("user", "Name a cat."))
    assert system.startswith("You judge the work")
    assert system.endswith("\n\nYou know a cat.")


async def test_turns_are_sent_in_their_roles(tmp_path: Path, serve: Serve) -> None:
    """Each is a template; for a judge its instructions are part of the system message that is there."""
    server = serve(MOODS["well"])
    prompt = turns_stage(tmp_path, TURNS, base_url=server.url)
    await ask(prompt)
    await ask(prompt, Stage.EVALUATING, output="x")
    turns = [("user", "Name a dog."), ("assistant", "Rex"), ("user", "Name a cat.\n")]
    assert server.requests[0].messages == [("system", "You name things."), *turns]
    assert server.requests[1].messages[1:] == turns
    assert server.requests[1].messages[0][1].endswith("\n\nYou name things.")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: 1", "turns.yaml:1: must be a list of messages"),
        ("[]", "must have at least one message of the role user"),
        ("- {role: system, content: a}", "must have at least one message of the role user"),
        ("- {role: tool, content: a}", "turns.yaml:1: 0.role: must be one of system, user, assistant"),
        (
            "- {role: user, content: a}\n- {role: user, content: 5}",
            "turns.yaml:2: 1.content: must be text, not a number",
        ),
        ("- {role: user, content: a, name: b}", "turns.yaml:1: 0.name: unknown key"),
        ("- {role: user}", "must be text, not nothing"),
        ("- [", "is not valid YAML"),
        ("- {role: user, content: '{{ nothing }}'}", "the template turns.yaml (message 1) names nothing"),
    ],
)
async def test_turns_that_cannot_be_sent_are_a_problem(tmp_path: Path, text: str, why: str) -> None:
    """Known beforehand, with the place; at the call an error that is not tried again."""
    prompt = turns_stage(tmp_path, text, base_url="http://127.0.0.1:1/v1")
    assert why in str(prompt.problem())
    pauses: list[float] = []
    outcome = await ask(prompt, retries=2, pauses=pauses)
    assert outcome == Errored(str(prompt.problem()))
    assert pauses == []


@pytest.mark.parametrize("mood", ["tool", "json_schema", "text"])
async def test_an_object_is_asked_for_validated_and_kept_as_json(tmp_path: Path, serve: Serve, mood: str) -> None:
    """In the form that the server understands; one that does not fit is asked for again, with the fault."""
    tool = {"id": "1", "type": "function", "function": {"name": "output", "arguments": '{"name": "Tom"}'}}
    good = (
        completion({"content": None, "tool_calls": [tool]}, "tool_calls") if mood == "tool" else says('{"name": "Tom"}')
    )
    server = serve(says('{"nam": "Tom"}'), good)
    prompt = prompt_stage(tmp_path, base_url=server.url, structured=mood, output=SCHEMA)
    assert await ask(prompt, retries=1) == Produced('{"name":"Tom"}', is_json=True)
    correction = server.requests[1].messages[-1][1]
    assert "/nam: is not a known property; /name: is required" in correction
    first = server.requests[0]
    assert first.form == mood
    if mood == "text":
        assert json.dumps(SCHEMA, separators=(",", ":")) in first.messages[0][1]


async def test_an_object_that_never_fits_is_an_error(tmp_path: Path, serve: Serve) -> None:
    """With what the model answered."""
    server = serve(calls({"name": ""}), says("Tom"))
    outcome = await ask(prompt_stage(tmp_path, base_url=server.url, output=SCHEMA))
    assert isinstance(outcome, Errored)
    assert outcome.details == {"answer": 'verdict {"name": ""}'}  # of a tool that was not offered, without text
    outcome = await ask(prompt_stage(tmp_path, base_url=server.url, output=SCHEMA))
    assert isinstance(outcome, Errored)
    assert outcome.details == {"answer": "Tom"}


async def test_models_and_seeds_go_by_the_draft(tmp_path: Path, serve: Serve) -> None:
    """The last model serves all later drafts or revisions; each draft has the next seed."""
    server = serve(says("Tom"))
    prompt = prompt_stage(tmp_path, base_url=server.url, model=["x:one", "x:two"], seed=7)
    for attempt in (1, 2, 3):
        await ask(prompt.for_agent(place("produce", drafts=2)), attempt=attempt)
    for attempt in (3, 4, 5):
        await ask(prompt.for_agent(place("revise", drafts=2)), Stage.REVISING, attempt=attempt)
    sent = [(request.body["model"], request.body["seed"]) for request in server.requests]
    assert sent == [("one", 7), ("two", 8), ("two", 9), ("one", 7), ("two", 7), ("two", 7)]


async def test_models_of_an_agent_without_revise_go_on_with_its_attempts(tmp_path: Path, serve: Serve) -> None:
    """Its produce makes the revisions too, and none of them goes back to a model that was left behind."""
    server = serve(says("Tom"))
    stage = loopkit.StageSpec(prompt_stage(tmp_path, base_url=server.url, model=["x:one", "x:two", "x:three"]))
    agent = loopkit.Agent(name="a", produce=stage, evaluate=lambda _: 0.1, max_attempts=5, drafts=2)
    await loopkit.run(agent, {"thing": "a cat"})
    assert [request.body["model"] for request in server.requests] == ["one", "two", "three", "three", "three"]


@pytest.mark.parametrize("setting", [{"output": SCHEMA}, {"model": ["x:one", "x:two"]}])
def test_what_does_not_go_with_a_judge_is_refused(tmp_path: Path, setting: dict[str, Any]) -> None:
    """When the agent is made; in a file with its line."""
    stage = loopkit.StageSpec(prompt_stage(tmp_path, **setting))
    loopkit.Agent(name="a", produce=stage, revise=stage, evaluate=lambda _: 1.0)
    with pytest.raises(InvalidConfig) as caught:
        loopkit.Agent(name="a", produce=stage, evaluate=stage)
    assert caught.value.key == f"evaluate.{next(iter(setting))}"
    values = json.dumps({"prompt": "prompt.md", "model": "x:m", **setting})
    (tmp_path / "agents.yaml").write_text(f"agents:\n  a:\n    produce: {values}\n    evaluate: {values}\n")
    with pytest.raises(InvalidConfig, match=r"agents\.yaml:4: agents\.a\.evaluate\."):
        loopkit.load_agents(tmp_path / "agents.yaml")


def test_an_agent_tells_its_prompts_which_inputs_there_are(tmp_path: Path) -> None:
    """A name that the schema does not have is a problem of the stage, and one that it has may be left out."""
    inputs = {"type": "object", "properties": {"topic": {"type": "string"}}}
    stage = loopkit.StageSpec(prompt_stage(tmp_path, "{{ inputs.thing }}", base_url="http://127.0.0.1:1/v1"))
    agent = loopkit.Agent(name="a", produce=stage, evaluate=stage, inputs=inputs)
    expected = "the template prompt.md names inputs.thing, which the inputs' schema does not have; it has: topic"
    assert {name: spec.problem() for name, spec in agent.stages.items()} == {"produce": expected, "evaluate": expected}


@pytest.mark.parametrize(
    ("settings", "environment", "why"),
    [
        ({"api_key_env": "TEST_KEY"}, {}, "the environment variable TEST_KEY (api_key_env) is not set"),
        ({"api_key_env": "TEST_KEY"}, {"TEST_KEY": "sk-1\n"}, "TEST_KEY (api_key_env) has a line end in it"),
        ({"api_key_env": "TEST_KEY"}, {"TEST_KEY": " sk-1"}, "TEST_KEY (api_key_env) begins or ends with a blank"),
        ({"api_key_env": "TEST_KEY"}, {"TEST_KEY": "sk-ü"}, "has a character that no HTTP header can carry"),
        (
            {"model": "openai-chat:m"},
            {},
            "set the environment variable OPENAI_API_KEY, or name another one in api_key_env",
        ),
        ({"model": "openai-chat:m"}, {"OPENAI_API_KEY": "sk-1\r\n"}, "openai-chat:m's provider has a line end in it"),
        ({"model": "nosuchprovider:m"}, {}, "nosuchprovider"),
        ({"model": "mistral:m"}, {"MISTRAL_API_KEY": "x"}, "mistral"),  # its package is not installed
        ({"model": ["openai-chat:m", "nosuchprovider:m"]}, {"OPENAI_API_KEY": "x"}, "nosuchprovider"),
        ({"model": "openai-chat:m"}, {"OPENAI_API_KEY": "x"}, None),
    ],
)
def test_what_keeps_requests_from_being_made_is_a_problem(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, Any],
    environment: dict[str, str],
    why: str | None,
) -> None:
    """A key that is missing or cannot be sent, a provider that is unknown or not installed: without a request."""
    for name in ("TEST_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    problem = prompt_stage(tmp_path, **settings).problem()
    assert problem is None if why is None else why in str(problem)
    assert "sk-1" not in str(problem)
