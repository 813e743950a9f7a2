"""The command ``run``: a run made or claimed, and worked here to its end with live progress."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import click

from loopkit.core.journal import ArtifactType
from loopkit.core.run import NewRun, Run, RunStatus
from loopkit.errors import RunNotClaimable, UnusableOption
from loopkit_cli import display_text, exits, output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.display import EventDisplay, display
from loopkit_cli.new_run_options import NewRunOptions, new_run_options
from loopkit_cli.run_ids import find_run_to_change
from loopkit_cli.settings import Settings
from loopkit_cli.usable_agents import complete_agent, problem_list

if TYPE_CHECKING:
    from loopkit import Agent
    from loopkit.storage import Storage


@command(
    "run",
    examples="""
        loopkit-cli run hello --input name=World
        loopkit-cli run brief --input document=@report.md --max-attempts 5
        loopkit-cli run brief --inputs inputs.json --json > run.json
        loopkit-cli run brief --workflow-id run_06anf0q3n1dbr2wk3gvsm9t8xe
    """,
)
@click.argument("agent_name", metavar="AGENT", shell_complete=complete_agent)
@new_run_options
@click.option(
    "--workflow-id",
    metavar="RUN",
    help="Claim this queued or stalled run instead of making one; an id, its beginning, or last.",
)
@pass_settings
def run(settings: Settings, agent_name: str, workflow_id: str | None, **options: Any) -> int:
    """Make a run of AGENT and work it here.

    Progress is shown on stderr; the best output goes to stdout. The exit status is 0 when the run passed, 1 failed,
    3 it could not be claimed or was lost to another runner, 4 cancelled, 128+N released by signal N.
    """
    wanted = NewRunOptions(**options)
    if workflow_id is not None and wanted != NewRunOptions():
        raise click.UsageError(
            "--workflow-id takes an existing run, with its inputs and limits: "
            "leave out --cycle-id, --input, --inputs, --max-attempts, --pass-threshold, --title, --tag and --budget"
        )
    agent = settings.agent(agent_name)
    new = wanted.to_run(agent) if workflow_id is None else None
    if problems := agent.problems():
        raise exits.Refused(f"agent {agent.name!r} cannot be run here: {problem_list(problems)}")
    return settings.in_store(partial(_run, settings, agent, new or workflow_id))


async def _run(settings: Settings, agent: "Agent", which: NewRun | str | None, store: "Storage") -> int:
    """Enter the lifespan of the agent, and run it."""
    from loopkit.agents.stages.lifespan import open_deps

    async with open_deps([agent]) as deps:
        return await _run_with(deps, settings, agent, which, store)


async def _run_with(
    deps: Mapping[str, Any], settings: Settings, agent: "Agent", which: NewRun | str | None, store: "Storage"
) -> int:
    """Make or claim the run, work it, write how it ended, and return the exit status."""
    from loopkit.journal_reader import read_newest_event
    from loopkit.runner import Stopping, claimant, work_run
    from loopkit_cli.signals import Signals, signal_aware_environment

    stopping, runner_name, after = Stopping(), claimant(settings.heartbeat), 0
    with Signals(stopping, waiting_for="the run goes back to the queue when this stage is finished") as signals:
        if isinstance(which, NewRun):
            held = await store.start(which, runner_name, definition=agent.definition)
        else:
            assert which is not None
            candidate = await _run_of_agent(store, agent, which)
            which = candidate.id
            newest = await read_newest_event(store, which)
            after = newest.id if newest is not None else 0
            try:
                held = await store.claim_run(runner_name, which, definition=agent.definition)
            except RunNotClaimable:
                left = await store.get_run(which)
                if candidate.cancel_requested_at is None or candidate.ended or left.status is not RunStatus.CANCELLED:
                    raise
                await _write_end(settings, store, left)  # the claim met its cancel request and carried it out
                return exits.CANCELLED
        with display() as shown:
            shown.add_line(f"{held.run.id}  {held.run.agent_name}  {held.run.cycle_id}")
            event_display = EventDisplay(store, held.run, shown, after=after)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(event_display.keep_up)
                left = await work_run(
                    store,
                    agent,
                    held,
                    heartbeat=settings.heartbeat,
                    stopping=stopping,
                    environment=signal_aware_environment(),
                    deps=deps,
                )
                tasks.cancel_scope.cancel()
            await event_display.catch_up()
        await _write_end(settings, store, left)
    if left.ended:
        return exits.OF_RUN[left.status]
    assert signals.first is not None
    return exits.of_signal(signals.first)


async def _run_of_agent(store: "Storage", agent: "Agent", run_id: str) -> Run:
    """Return the run to claim.

    Raises:
        RunNotFound: there is no such run.
        UnusableOption: the run is of another agent.
    """
    run = await find_run_to_change(store, run_id)
    if run.agent_name != agent.name:
        raise UnusableOption(f"run {run.id} is of agent {run.agent_name!r}, not of {agent.name!r}")
    return run


async def _write_end(settings: Settings, store: "Storage", left: Run) -> None:
    """Write the result of a run to stdout; how it ended, and the commands to go on with, to stderr."""
    artifacts = [] if left.best_attempt is None else await store.list_artifacts(left.id)
    best = next(
        (a for a in artifacts if a.artifact_type is ArtifactType.OUTPUT and a.attempt == left.best_attempt), None
    )
    if settings.as_json:
        output.write_json(await _document(store, left))
    elif best is not None:
        output.write_content(best.content)
    output.note(f"\n{display_text.ending(left)}")
    if best is not None:
        output.note(f"  best output  {best.filename}")
    output.note(f"  run          {left.id}")
    for number, line in enumerate(display_text.next_commands(left)):
        output.note(f"  {'' if number else 'next':<11}  loopkit-cli {line}{settings.repeated}")


async def _document(store: "Storage", run: Run) -> dict[str, Any]:
    """Return the run as JSON, with the output and the evaluation of its best attempt beside its fields."""
    from loopkit import wire
    from loopkit.api import read_result

    result = await read_result(store, run)
    evaluation = None if result.evaluation is None else dict(result.evaluation)
    return {**wire.run(run), "output": result.output, "evaluation": evaluation}
