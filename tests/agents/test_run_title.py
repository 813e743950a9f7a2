"""Titles that agents give to their runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import loopkit
from loopkit.agents.agent import Agent
from loopkit.errors import InvalidConfig
from tests.runner.agent_helpers import small_agent

FILE = """\
agents:
  writer:
    title: {title}
    inputs:
      type: object
      properties: {{topic: {{type: string}}, size: {{type: integer}}}}
    produce: {{python: "no.module:produce"}}
    evaluate: {{python: "no.module:evaluate"}}
"""


def load(folder: Path, title: str) -> Agent:
    (folder / "agents.yaml").write_text(FILE.format(title=title))
    return loopkit.load_agents(folder / "agents.yaml")["writer"]


@pytest.mark.parametrize(
    ("title", "inputs", "expected"),
    [
        ('"{{ inputs.topic }}"', {"topic": "Öl"}, "Öl"),
        ('"{{ inputs.topic|upper }} ({{ inputs.size }})"', {"topic": "a", "size": 7}, "A (7)"),
        ('"{{ inputs.topic }}"', {"topic": "x" * 300}, "x" * 200),
        ('"{{ inputs.topic }}"', {"topic": "two\nlines"}, "two lines"),
        ('"{{ inputs.topic }}"', {"topic": "{{ 7 * 7 }}"}, "{{ 7 * 7 }}"),
        ('"{{ inputs.topic }}"', {"topic": " \n "}, None),
        ('"{{ inputs.topic }}"', {}, None),
        ('"{{ inputs.size / 0 }}"', {"size": 1}, None),
        ('"{{ inputs.topic.nothing.there }}"', {"topic": "a"}, None),
        ("Plain text", {}, "Plain text"),
    ],
)
def test_a_title_of_the_file_is_filled_with_the_inputs(
    tmp_path: Path, title: str, inputs: dict[str, Any], expected: str | None
) -> None:
    """A template of the inputs; one that fails, or gives nothing, gives no title and no error."""
    assert loopkit.new_run(load(tmp_path, title), inputs).title == expected


@pytest.mark.parametrize(
    ("title", "message"),
    [
        ('"{{ output }}"', "names output; it may name: inputs"),
        ('"{{ nobody }}"', "names nobody; it may name: inputs, and their parts"),
        ('"{{ inputs.tpoic }}"', "names inputs.tpoic"),
        ('"{{ inputs.topic"', "the template cannot be read: line 1: "),
        ("\"{% include 'x' %}\"", "`include` is not allowed"),
        ("7", "must be text, not a number"),
        ("[a]", "must be text, not a list"),
    ],
)
def test_what_is_wrong_is_found_when_the_file_is_loaded(tmp_path: Path, title: str, message: str) -> None:
    """The error names the file, the line and the key."""
    with pytest.raises(InvalidConfig) as caught:
        load(tmp_path, title)
    assert message in str(caught.value)
    assert (caught.value.line, caught.value.key) == (3, "agents.writer.title")


def test_a_title_in_python_is_text_or_a_callable() -> None:
    """Text stands as it is; a callable gets a copy of the inputs, defaults filled in."""

    def title(inputs: Mapping[str, Any]) -> str:
        text = f"On {inputs['topic']}, {inputs['length']}"
        dict.clear(inputs)  # type: ignore[arg-type]
        return text

    schema = {"type": "object", "properties": {"length": {"default": 3}}}
    agent = small_agent(title=title, inputs=schema)
    new = loopkit.new_run(agent, {"topic": "cats"})
    assert (new.title, new.inputs) == ("On cats, 3", {"topic": "cats", "length": 3})
    assert loopkit.new_run(small_agent(title="{{ inputs.topic }}")).title == "{{ inputs.topic }}"
    assert loopkit.new_run(small_agent()).title is None
    assert loopkit.new_run(agent, {"topic": "cats"}, title="Mine").title == "Mine"


@pytest.mark.parametrize(
    "title", [lambda inputs: 1 / 0, lambda inputs: None, lambda inputs: 7, lambda: "x"], ids="abcd"
)
def test_a_callable_that_fails_gives_no_title(title: Any) -> None:
    """No run is refused for want of a title."""
    assert loopkit.new_run(small_agent(title=title), {}).title is None


def test_other_titles_are_refused() -> None:
    """What is neither text nor callable, or is async, is an error when the agent is made."""

    async def title(inputs: Mapping[str, Any]) -> str:
        return "x"

    for wrong in (7, title):
        with pytest.raises(InvalidConfig, match="title"):
            small_agent(title=wrong)


def test_a_title_is_no_part_of_the_definition() -> None:
    """It decides nothing about how a run goes."""
    produce, evaluate = (lambda context: "x"), (lambda context: 1.0)
    agents = [Agent(name="a", produce=produce, evaluate=evaluate, title=title) for title in (None, "T", "U")]
    assert len({agent.definition for agent in agents}) == 1
