"""The commands that make runs and work them: init, run, submit, worker."""

import gc
import shlex
from collections.abc import Iterable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import attrs
import click

from loopkit.core.journal import ArtifactType
from loopkit.core.run import NewRun, Run, RunStatus
from loopkit.errors import RunNotClaimable, UnusableOption
from loopkit_cli import exits, output, words
from loopkit_cli.asking import Asked, asking
from loopkit_cli.options import Settings, command, complete_agent, pass_settings, stage_problems
from loopkit_cli.progress import Display, Watch, display, last_event_id

if TYPE_CHECKING:
    from loopkit.agents import Agent
    from loopkit.runner import RunnerStatus
    from loopkit.storage import Storage

# --- init ------------------------------------------------------------------------------------------------------------

STARTER: Final = ("agents.yaml", "hello.py")


@command(
    "init",
    examples="""
        loopkit-cli init
        loopkit-cli init greetings
    """,
)
@click.argument("folder", metavar="[DIR]", default=".")
@pass_settings
def init(settings: Settings, folder: str) -> None:
    """Write a small working agents.yaml with its stages.

    They go into DIR, by default the folder you are in. Nothing is overwritten.
    """
    target = Path(folder)
    paths = [target / name for name in STARTER]
    if there := [str(path) for path in paths if path.exists() or path.is_symlink()]:
        raise exits.Refused(f"{' and '.join(there)} is there already; nothing was written")
    target.mkdir(parents=True, exist_ok=True)
    for path in paths:
        content = resources.files("loopkit_cli").joinpath("starter", path.name).read_text(encoding="utf-8")
        with path.open("x", encoding="utf-8") as file:
            file.write(content)
    if settings.as_json:
        output.write_json({"files": [str(path) for path in paths]})
        return
    for path in paths:
        output.write_line(str(path))
    enter = "" if target == Path() else f"cd {shlex.quote(folder)} && "
    output.note(f"Try it:  {enter}loopkit-cli run hello --input name=World")


# --- run -------------------------------------------------------------------------------------------------------------


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
@asking
@click.option("--workflow-id", metavar="RUN", help="Claim this run, queued or stalled, instead of making one.")
@pass_settings
def run(settings: Settings, agent_name: str, workflow_id: str | None, **options: Any) -> int:
    """Make a run of AGENT and work it here.

    Progress is shown on stderr; the best output goes to stdout. The exit status tells how the run ended: 0 passed,
    1 failed, 3 it could not be claimed or was lost to another runner, 4 cancelled, 128+N released by signal N.
    """
    asked = Asked(**options)
    if workflow_id is not None and asked != Asked():
        raise click.UsageError(
            "--workflow-id takes a run that is there already, with its inputs and limits: "
            "leave out --cycle-id, --input, --inputs, --max-attempts and --pass-threshold"
        )
    agent = settings.agent(agent_name)
    new = asked.one(agent) if workflow_id is None else None
    if problems := stage_problems(agent):
        raise exits.Refused(f"agent {agent.name!r} cannot be run here; {_listed(problems)}")
    return settings.in_store(partial(_run, settings, agent, new or workflow_id))


async def _run(settings: Settings, agent: "Agent", which: NewRun | str | None, store: "Storage") -> int:
    """Make or claim the run, work it, tell how it ended and give the exit status."""
    from loopkit.runner import Stopping, claimant, work
    from loopkit_cli.signals import Signals, surroundings

    stopping, me, after = Stopping(), claimant(settings.heartbeat), 0
    with Signals(stopping, waiting_for="the run goes back to the queue when this stage is finished") as signals:
        if isinstance(which, NewRun):
            held = await store.start(which, me, definition=agent.definition)
        else:
            assert which is not None
            found = await _to_claim(store, agent, which)
            after = await last_event_id(store, which)
            try:
                held = await store.claim_run(me, which, definition=agent.definition)
            except RunNotClaimable:
                left = await store.get_run(which)
                if found.cancel_requested_at is None or found.ended or left.status is not RunStatus.CANCELLED:
                    raise
                await _tell_end(settings, store, left)  # its cancel request was met, and carried out
                return exits.CANCELLED
        with display() as shown, output.stdout_kept_for_the_result():
            shown.tell(f"{held.run.id}  {held.run.agent_name}  {held.run.cycle_id}")
            watch = Watch(store, held.run, shown, after=after)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch.keep_up)
                left = await work(
                    store, agent, held, heartbeat=settings.heartbeat, stopping=stopping, environment=surroundings()
                )
                tasks.cancel_scope.cancel()
            await watch.catch_up()
        await _tell_end(settings, store, left)
    if left.ended:
        return exits.OF_RUN[left.status]
    assert signals.first is not None
    return exits.of_signal(signals.first)


async def _to_claim(store: "Storage", agent: "Agent", run_id: str) -> Run:
    """Give the run that is to be claimed.

    Raises:
        RunNotFound: there is no such run.
        UnusableOption: it is another agent's.
    """
    found = await store.get_run(run_id)
    if found.agent_name != agent.name:
        raise UnusableOption(f"run {run_id} is one of agent {found.agent_name!r}, not of {agent.name!r}")
    return found


async def _tell_end(settings: Settings, store: "Storage", left: Run) -> None:
    """Write the result of a run to stdout; say how it was left, and what can be done next, on stderr."""
    kept = [] if left.best_attempt is None else await store.list_artifacts(left.id)
    best = next((a for a in kept if a.artifact_type is ArtifactType.OUTPUT and a.attempt == left.best_attempt), None)
    if settings.as_json:
        from loopkit import wire

        output.write_json(wire.run(left))
    elif best is not None:
        output.write_content(best.content)
    output.note(f"\n{words.ending(left)}")
    if best is not None:
        output.note(f"  best output  {best.filename}")
    output.note(f"  run          {left.id}")
    for number, line in enumerate(words.next_commands(left)):
        output.note(f"  {'' if number else 'next':<11}  loopkit-cli {line}{settings.repeated}")


# --- submit ----------------------------------------------------------------------------------------------------------


@command(
    "submit",
    examples="""
        loopkit-cli submit hello --input name=World
        loopkit-cli submit brief --batch documents.jsonl --max-attempts 5
        generate-inputs | loopkit-cli submit brief --batch - --json
    """,
)
@click.argument("agent_name", metavar="AGENT", shell_complete=complete_agent)
@asking
@click.option("--batch", metavar="FILE", help="Queue a run for each line, a JSON object with its inputs; - is stdin.")
@pass_settings
def submit(settings: Settings, agent_name: str, batch: str | None, **options: Any) -> None:
    """Queue runs of AGENT for workers.

    Their ids are printed, one a line. Of a batch all lines are queued or none; blank lines are skipped, and --input
    adds to every line, and wins over it.
    """
    asked = Asked(**options)
    if batch is not None and asked.source is not None:
        raise click.UsageError("--batch and --inputs both say what the inputs are: give one of them")
    agent = settings.agent(agent_name)
    new = [asked.one(agent)] if batch is None else asked.batch(agent, batch)
    runs = settings.in_store(lambda store: store.submit(new))
    if settings.as_json:
        from loopkit import wire

        output.write_json({"runs": [wire.run(one) for one in runs]})
        return
    for one in runs:
        output.write_line(one.id)


# --- worker ----------------------------------------------------------------------------------------------------------


@command(
    "worker",
    examples="""
        loopkit-cli worker
        loopkit-cli worker --concurrency 32 --agent brief --agent hello
        loopkit-cli worker --drain
    """,
)
@click.option(
    "--concurrency", metavar="N", type=click.IntRange(1, 10_000), default=8, show_default=True, help="Runs at once."
)
@click.option(
    "--agent", "names", metavar="A", multiple=True, shell_complete=complete_agent, help="Only runs of this agent."
)
@click.option("--drain", is_flag=True, help="Stop when no run can be claimed any more.")
@pass_settings
def worker(settings: Settings, concurrency: int, names: tuple[str, ...], drain: bool) -> None:
    """Claim runs and work them until told to stop.

    Queued and stalled runs are claimed, the oldest first. SIGINT or SIGTERM: no new runs, those under way go back to
    the queue when their stages are finished; a second one ends the stages.
    """
    known = settings.agents()
    chosen = [settings.agent(name) for name in dict.fromkeys(names)] if names else list(known.values())
    settings.in_store(partial(_work, settings, workable(chosen), concurrency, drain))


async def _work(settings: Settings, agents: "list[Agent]", concurrency: int, drain: bool, store: "Storage") -> None:
    from loopkit.runner import Runner, Stopping
    from loopkit_cli.signals import Signals, surroundings

    stopping = Stopping()
    runner = Runner(
        store,
        agents,
        concurrency=concurrency,
        heartbeat=settings.heartbeat,
        stopping=stopping,
        environment=surroundings(),
    )
    status = runner.status
    gc.freeze()  # what is loaded by now stays: the collector need not go through it again and again
    with (
        Signals(stopping, waiting_for="no new runs; those under way go back when their stages are finished"),
        display() as shown,
        output.stdout_kept_for_the_result(),
    ):
        shown.tell(f"working runs of {', '.join(agent.name for agent in agents)}, {concurrency} at once")
        shown.update(lambda: words.tally(status))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_tell_changes, status, shown)
            await (runner.drain() if drain else runner.serve())
            tasks.cancel_scope.cancel()
        shown.tell(words.tally(status))
    if settings.as_json:
        output.write_json(attrs.asdict(status))


async def _tell_changes(status: "RunnerStatus", shown: Display) -> None:
    """Where no line can change in place, write a new one at most once a second."""
    told = words.tally(status)
    while not shown.moves:
        await anyio.sleep(1)
        if (now := words.tally(status)) != told:
            shown.tell(told := now)


def workable(agents: "Iterable[Agent]") -> "list[Agent]":
    """Give the agents whose stages can be loaded; runs of the others stay queued for a runner that can.

    Raises:
        Refused: none can be worked.
    """
    workable = []
    for agent in agents:
        if problems := stage_problems(agent):
            output.note(f"Warning: agent {agent.name!r} is left out; {_listed(problems)}")
        else:
            workable.append(agent)
    if not workable:
        raise exits.Refused("there is no agent whose runs could be worked here")
    return workable


def _listed(problems: dict[str, str]) -> str:
    return "; ".join(f"{stage}: {problem}" for stage, problem in problems.items())
