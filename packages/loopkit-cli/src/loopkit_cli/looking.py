"""The commands that look and change nothing: list, show, events, artifacts, agents."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from loopkit.core.journal import Artifact
from loopkit.core.run import Run, RunStatus
from loopkit_cli import exits, output, words
from loopkit_cli.options import Settings, command, complete_agent, pass_settings, stage_problems
from loopkit_cli.progress import follow, journal
from loopkit_cli.saving import save

if TYPE_CHECKING:
    from loopkit.agents import Agent
    from loopkit.storage import Storage


@command(
    "list",
    examples="""
        loopkit-cli list
        loopkit-cli list --status running --agent brief
        loopkit-cli list --limit 200 --json
    """,
)
@click.option(
    "--status",
    metavar="S",
    type=click.Choice(list(RunStatus), case_sensitive=False),
    help="Only runs in this status: queued, running, passed, failed or cancelled.",
)
@click.option("--agent", metavar="A", shell_complete=complete_agent, help="Only runs of this agent.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, 200, clamp=True),
    default=50,
    show_default=True,
    help="How many runs to give, at most 200.",
)
@click.option("--cursor", metavar="C", help="Go on where the page before ended.")
@pass_settings
def list_(settings: Settings, status: RunStatus | None, agent: str | None, limit: int, cursor: str | None) -> None:
    """List runs, newest first."""
    from loopkit import wire
    from loopkit.storage import RunQuery

    statuses = frozenset[RunStatus]() if status is None else frozenset({status})
    query = RunQuery(statuses=statuses, agent=agent or None, limit=limit, cursor=cursor or None)
    page = settings.in_store(lambda store: store.list_runs(query))
    if settings.as_json:
        output.write_json({"runs": [wire.run(run) for run in page.runs], "nextCursor": page.next_cursor})
        return
    now = datetime.now(UTC)
    headings = ("RUN", "AGENT", "STATUS", "CYCLE", "CREATED", "WORKED FOR")
    output.write_table(headings, (_row(run, now) for run in page.runs))
    if page.next_cursor is not None:
        output.note(f"There are more: loopkit-cli list --cursor {page.next_cursor}")


def _row(run: Run, now: datetime) -> tuple[str, ...]:
    created = words.moment(run.created_at)
    return run.id, run.agent_name, run.headline, run.cycle_id, created, words.duration(run, now)


@command(
    "show",
    examples="""
        loopkit-cli show run_06anf0q3n1dbr2wk3gvsm9t8xe
        loopkit-cli show run_06anf0q3n1dbr2wk3gvsm9t8xe --json
    """,
)
@click.argument("run_id", metavar="RUN")
@pass_settings
def show(settings: Settings, run_id: str) -> None:
    """Show one run: its status, score, inputs and what it made."""
    from loopkit import wire
    from loopkit.core import plain

    run = settings.in_store(lambda store: store.get_run(run_id))
    if settings.as_json:
        output.write_json(wire.run(run))
        return
    for name, value in words.facts(run, datetime.now(UTC)):
        output.write_line(f"{name:<11} {value}")
    for name, value in plain.mapping(run.inputs).items():
        text = value if isinstance(value, str) else plain.dumps(value)
        output.write_line(f"{'input':<11} {name} = {output.shorten(output.clean_line(text), words.MAX_FEEDBACK)}")


@command(
    "events",
    examples="""
        loopkit-cli events run_06anf0q3n1dbr2wk3gvsm9t8xe
        loopkit-cli events run_06anf0q3n1dbr2wk3gvsm9t8xe --follow
    """,
)
@click.argument("run_id", metavar="RUN")
@click.option("--follow", "following", is_flag=True, help="Wait for more, until the run has ended.")
@pass_settings
def events(settings: Settings, run_id: str, following: bool) -> None:
    """Show the journal of a run, oldest first."""
    settings.in_store(partial(_follow if following else _events, settings, run_id))


async def _events(settings: Settings, run_id: str, store: "Storage") -> None:
    from loopkit import wire

    found = [event async for event in journal(store, run_id)]
    if settings.as_json:
        output.write_json({"events": [wire.event(event) for event in found]})
        return
    for event in found:
        output.write_line(words.event(event))


async def _follow(settings: Settings, run_id: str, store: "Storage") -> None:
    from loopkit import wire

    async for event in follow(store, run_id):
        if settings.as_json:
            output.write_json_line(wire.event(event))
        else:
            output.write_line(words.event(event))


@command(
    "artifacts",
    examples="""
        loopkit-cli artifacts run_06anf0q3n1dbr2wk3gvsm9t8xe
        loopkit-cli artifacts run_06anf0q3n1dbr2wk3gvsm9t8xe --save brief
    """,
)
@click.argument("run_id", metavar="RUN")
@click.option("--save", "folder", metavar="DIR", help="Write each artifact to a file in DIR; nothing is overwritten.")
@pass_settings
def artifacts(settings: Settings, run_id: str, folder: str | None) -> None:
    """List what a run made, or save it to files."""
    from loopkit import wire

    kept = settings.in_store(lambda store: store.list_artifacts(run_id))
    saved = [] if folder is None else save(kept, folder)
    if settings.as_json:
        output.write_json({"artifacts": [wire.artifact(artifact) for artifact in kept]})
    elif folder is None:
        output.write_table(("ATTEMPT", "WHAT", "FILE", "SIZE", "CREATED"), map(_artifact_row, kept))
    else:
        for path in saved:
            output.write_line(path)


def _artifact_row(artifact: Artifact) -> tuple[str, ...]:
    size = f"{len(artifact.content.encode())} B"
    kind = artifact.artifact_type.value
    return str(artifact.attempt), kind, artifact.filename, size, words.moment(artifact.created_at)


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

    The exit status is 1 if a stage of one cannot be loaded.
    """
    known = list(settings.agents().values())
    problems = {agent.name: stage_problems(agent) for agent in known}
    if settings.as_json:
        output.write_json({"agents": [_agent_document(agent, problems[agent.name]) for agent in known]})
    else:
        _tell_agents(known, problems)
    return exits.REFUSED if any(problems.values()) else exits.DONE


def _agent_document(agent: "Agent", problems: dict[str, str]) -> dict[str, Any]:
    stages = {
        name: {"kind": spec.kind, "target": spec.target, "problem": problems.get(name)}
        for name, spec in agent.stages.items()
    }
    return {
        "name": agent.name,
        "description": agent.description,
        "maxAttempts": agent.max_attempts,
        "passThreshold": agent.pass_threshold,
        "inputs": agent.inputs,
        "stages": stages,
    }


def _tell_agents(known: "Sequence[Agent]", problems: dict[str, dict[str, str]]) -> None:
    for agent in known:
        output.write_line(f"{agent.name}  {agent.description}".rstrip())
        output.write_line(f"  {agent.max_attempts} attempts, passes at {agent.pass_threshold:g}")
        for name, spec in agent.stages.items():
            problem = problems[agent.name].get(name)
            output.write_line(f"  {name:<9} {spec.kind:<8} {spec.target}{'' if problem is None else f'  ✗ {problem}'}")
