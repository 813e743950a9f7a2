"""The command ``agents``: the configured agents."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from loopkit_cli import exits, output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.settings import Settings

if TYPE_CHECKING:
    from loopkit import Agent, Panel, StageSpec


@command(
    "agents",
    examples="""
        loopkit-cli agents
        loopkit-cli agents --config examples/brief/agents.yaml --json
    """,
)
@pass_settings
def agents(settings: Settings) -> int:
    """List the agents, and whether they can be run here.

    The exit status is 1 when a stage or the lifespan cannot be loaded.
    """
    agents = list(settings.agents().values())
    problems = {agent.name: agent.problems() for agent in agents}
    if settings.as_json:
        output.write_json({"agents": [_agent_document(agent, problems[agent.name]) for agent in agents]})
    else:
        _write_agents(agents, problems)
    is_usable = not any(problems.values()) and not any(agent.lifespan_problem() for agent in agents)
    return exits.DONE if is_usable else exits.REFUSED


def _agent_document(agent: "Agent", problems: dict[str, str]) -> dict[str, Any]:
    stages = {
        name: {"kind": spec.kind, "target": spec.target, "problem": problems.get(name), **_panel_document(spec)}
        for name, spec in agent.stages.items()
    }
    lifespan = None
    if agent.lifespan_name is not None:
        lifespan = {"target": agent.lifespan_name, "problem": agent.lifespan_problem()}
    return {
        "name": agent.name,
        "description": agent.description,
        "maxAttempts": agent.max_attempts,
        "passThreshold": agent.pass_threshold,
        "inputs": agent.inputs,
        "stages": stages,
        "lifespan": lifespan,
    }


def _panel_document(spec: "StageSpec | Panel") -> dict[str, Any]:
    """Return the checks and judges of a panel; nothing for another stage."""
    from loopkit import Panel

    if not isinstance(spec, Panel):
        return {}
    checks = [
        {"name": check.name, "kind": check.stage.kind, "target": check.stage.target, "problem": check.stage.problem()}
        for check in spec.checks
    ]
    judges = [
        {
            "name": judge.name,
            "kind": judge.stage.kind,
            "target": judge.stage.target,
            "problem": judge.stage.problem(),
            "weight": judge.weight,
            "samples": judge.samples,
            "criteria": list(judge.criteria or ()),
        }
        for judge in spec.judges
    ]
    return {"checks": checks, "judges": judges}


def _write_panel(panel: dict[str, Any]) -> None:
    """Write a line for each check and judge."""
    for part in panel.get("checks", ()):
        _write_judge("check", part, "")
    for part in panel.get("judges", ()):
        criteria = f"criteria {', '.join(part['criteria'])}" if part["criteria"] else ""
        samples = f"{part['samples']} samples" if part["samples"] > 1 else ""
        weight = "shadow" if part["weight"] == 0 else f"weight {part['weight']:g}"
        _write_judge("judge", part, ", ".join(filter(None, (weight, samples, criteria))))


def _write_judge(kind: str, part: dict[str, Any], more: str) -> None:
    problem = "" if part["problem"] is None else f"  ✗ {part['problem']}"
    target = f"{part['target']}  ({more})" if more else part["target"]
    output.write_line(f"    {kind} {part['name']}  {part['kind']}  {target}{problem}")


def _write_agents(agents: "Sequence[Agent]", problems: dict[str, dict[str, str]]) -> None:
    for agent in agents:
        output.write_line(f"{agent.name}  {agent.description}".rstrip())
        output.write_line(f"  {agent.max_attempts} attempts, passes at {agent.pass_threshold:g}")
        for name, spec in agent.stages.items():
            _write_part(name, f"{spec.kind:<8} {spec.target}", problems[agent.name].get(name))
            _write_panel(_panel_document(spec))
        if agent.lifespan_name is not None:
            _write_part("lifespan", f"{'python':<8} {agent.lifespan_name}", agent.lifespan_problem())


def _write_part(name: str, target: str, problem: str | None) -> None:
    output.write_line(f"  {name:<9} {target}{'' if problem is None else f'  ✗ {problem}'}")
