"""Agents of agents.yaml whose stages can be loaded here, reasons for the others, and completion of their names."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from loopkit_cli import exits, output
from loopkit_cli.settings import META_KEY

if TYPE_CHECKING:
    from loopkit import Agent


def complete_agent(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of agents that begin with ``incomplete``; none when agents.yaml cannot be loaded."""
    from loopkit import load_agents
    from loopkit.errors import LoopkitError

    try:
        names = load_agents(ctx.meta.get(META_KEY, {}).get("config") or "agents.yaml")
    except LoopkitError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def unusable_agents(agents: "Iterable[Agent]") -> dict[str, str]:
    """Return the agents with a stage that cannot be loaded, each with the reasons."""
    return {agent.name: problem_list(problems) for agent in agents if (problems := agent.problems())}


def usable_agents(agents: "Iterable[Agent]") -> "list[Agent]":
    """Return the agents whose stages can be loaded, and warn of each other one: its runs stay queued.

    Raises:
        Refused: no agent can be used.
    """
    usable = []
    for agent in agents:
        if problems := agent.problems():
            output.note(f"Warning: agent {agent.name!r} is left out: {problem_list(problems)}")
        else:
            usable.append(agent)
    if not usable:
        raise exits.Refused("no agent can be used here: the stages of each have the problems named above")
    return usable


def problem_list(problems: dict[str, str]) -> str:
    """Return the problems of an agent's stages as one text."""
    return "; ".join(f"{stage}: {problem}" for stage, problem in problems.items())
