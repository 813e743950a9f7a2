"""The command agents, and errors in agents.yaml."""

from typing import Any

import pytest

from tests.cli.conftest import Program


def test_agents_are_listed_with_their_stages(cli: Program) -> None:
    """In the shape of the API, and whether each stage can be loaded."""
    agents = {agent["name"]: agent for agent in cli.good("agents", "--json").json["agents"]}
    writer: dict[str, Any] = agents["writer"]
    assert (writer["description"], writer["maxAttempts"], writer["passThreshold"]) == ("Writes on a topic.", 3, 0.8)
    assert writer["inputs"]["required"] == ["topic"]
    assert writer["stages"]["produce"]["problem"] is None
    assert "writer  Writes on a topic." in cli.good("agents").lines


def test_a_stage_that_cannot_be_loaded_is_found(cli: Program) -> None:
    """Status 1; all agents are listed, and which stage it is."""
    (cli.folder / "agents.yaml").write_text(
        'agents: {lost: {produce: {python: "no.such:f"}, evaluate: {python: "tests.cli.stage_helpers:produce"}}}'
    )
    done = cli("agents", "--json")
    assert done.status == 1
    stages = done.json["agents"][0]["stages"]
    assert stages["evaluate"]["problem"] is None
    assert "no.such" in stages["produce"]["problem"]
    done = cli("agents")
    assert done.status == 1
    assert "✗" in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "agents.yaml"),
        ("agents: [", "agents.yaml"),
        ("agents: {a: {prodce: {}}}", "prodce"),
        ("agents: {a: {produce: {python: 7}, evaluate: {python: 'a:b'}}}", "produce"),
    ],
)
def test_a_configuration_that_does_not_hold_is_a_usage_error(cli: Program, text: str | None, said: str) -> None:
    """Status 2, with the file and the key, from every command that reads it."""
    config = cli.folder / "agents.yaml"
    config.unlink()
    if text is not None:
        config.write_text(text)
    for command in (["agents", "--json"], ["run", "a"], ["submit", "a"], ["worker"]):
        told = cli.refused(2, *command)
        assert "agents.yaml" in told
        assert said in told


def test_a_panel_is_listed_with_its_checks_and_judges(cli: Program) -> None:
    """Each has a line with what it is called with, and its own problem."""
    (cli.folder / "facts.md").write_text("Judge {{ output }}")
    (cli.folder / "agents.yaml").write_text(
        """
agents:
  brief:
    produce: {python: "tests.cli.stage_helpers:produce"}
    evaluate:
      checks: [{name: sources, python: "tests.cli.stage_helpers:produce"}, {name: prose, command: [./no-vale]}]
      judges:
        - {name: style, python: "tests.cli.stage_helpers:produce", weight: 0, samples: 2}
"""
    )
    done = cli("agents", "--json")
    assert done.status == 1
    evaluate = done.json["agents"][0]["stages"]["evaluate"]
    assert (evaluate["kind"], evaluate["target"]) == ("panel", "sources, prose, style")
    assert [(check["name"], check["kind"]) for check in evaluate["checks"]] == [
        ("sources", "python"),
        ("prose", "command"),
    ]
    assert "no-vale" in evaluate["checks"][1]["problem"]
    assert evaluate["judges"] == [
        {
            "name": "style",
            "kind": "python",
            "target": "tests.cli.stage_helpers:produce",
            "problem": None,
            "weight": 0,
            "samples": 2,
            "criteria": [],
        }
    ]
    lines = cli("agents").lines
    assert "    check sources  python  tests.cli.stage_helpers:produce" in lines
    assert "    judge style  python  tests.cli.stage_helpers:produce  (shadow, 2 samples)" in lines
