"""The command ``worker``: claim and work runs until told to stop."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import click

from loopkit_cli import display_text, exits, output
from loopkit_cli.base_command import command, pass_settings
from loopkit_cli.display import PlainDisplay, display
from loopkit_cli.drain_report import Left, read_left
from loopkit_cli.logs import LogFormat, log_options, write_log_lines
from loopkit_cli.settings import Settings
from loopkit_cli.streams import stdin_closed_to_stages
from loopkit_cli.usable_agents import complete_agent, unusable_agents, usable_agents
from loopkit_cli.value_types import Address, Processes

if TYPE_CHECKING:
    from loopkit import Agent
    from loopkit.runner import Metrics, RunnerStatus
    from loopkit.storage import Storage

logger = logging.getLogger("loopkit_cli")


@command(
    "worker",
    examples="""
        loopkit-cli worker
        loopkit-cli worker --concurrency 32 --agent brief --agent hello
        loopkit-cli worker --processes auto --concurrency 64
        loopkit-cli worker --drain
        loopkit-cli worker --log-format json --metrics 127.0.0.1:9100
    """,
)
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=8,
    show_default=True,
    help="Number of runs worked at the same time, by each process.",
)
@click.option(
    "--processes",
    metavar="N",
    type=Processes(),
    default=1,
    show_default=True,
    help="Number of runner processes; auto: one for each core. One that dies is replaced.",
)
@click.option(
    "--agent", "names", metavar="A", multiple=True, shell_complete=complete_agent, help="Only runs of this agent."
)
@click.option("--drain", is_flag=True, help="Stop when no run can be claimed, and say what is left and why.")
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    type=Address(),
    help="Serve counters and histograms of this worker at http://HOST:PORT/metrics, to whoever can reach it.",
)
@log_options
@pass_settings
def worker(settings: Settings, names: tuple[str, ...], processes: int, **options: Any) -> int:
    """Claim runs and work them until told to stop.

    Queued and stalled runs are claimed, oldest first. On SIGINT or SIGTERM no new run is claimed, and the runs under
    way go back to the queue when their current stage is finished; a second signal ends the stages. A line is logged for
    each run that ended here. With --processes the log, the metrics and the counts at the end are those of all processes
    together.
    """
    known = settings.agents()
    chosen = [settings.agent(name) for name in dict.fromkeys(names)] if names else list(known.values())
    plan = _Plan(agents=usable_agents(chosen), known=list(known.values()), **options)
    with stdin_closed_to_stages():
        if processes > 1:
            return _supervise(settings, plan, names, processes)
        settings.in_store(partial(_work, settings, plan))
        return exits.DONE


@attrs.frozen(kw_only=True)
class _Plan:
    """Agents and options of one worker."""

    agents: "list[Agent]"
    known: "list[Agent]"
    concurrency: int
    drain: bool
    metrics: tuple[str, int] | None
    log_level: str
    log_format: LogFormat


async def _work(settings: Settings, plan: _Plan, store: "Storage") -> None:
    from loopkit.runner import METRICS, Runner, Stopping, spare_collector
    from loopkit_cli.signals import Signals, signal_aware_environment

    stopping = Stopping()
    runner = Runner(
        store,
        plan.agents,
        concurrency=plan.concurrency,
        heartbeat=settings.heartbeat,
        stopping=stopping,
        environment=signal_aware_environment(),
    )
    status = runner.status
    spare_collector()
    with (
        display() if plan.log_format is LogFormat.TEXT else PlainDisplay() as shown,
        write_log_lines(plan.log_level, plan.log_format, write=shown.add_lines),
        Signals(stopping),
        _metrics(plan, lambda: status, lambda: METRICS),
    ):
        names = ", ".join(agent.name for agent in plan.agents)
        logger.info("working runs of %s, %d at once", names, plan.concurrency)
        shown.update(lambda: display_text.tally(status))
        await (runner.drain() if plan.drain else runner.serve())
        logger.info("%s", display_text.tally(status), extra=attrs.asdict(status))
        left = await _report_left(plan, stopping.asked, store) if plan.drain else []
    if settings.as_json:
        _write_document(status, left if plan.drain else None)


def _supervise(settings: Settings, plan: _Plan, names: tuple[str, ...], processes: int) -> int:
    """Work runs in several processes, and return the exit status."""
    from loopkit_cli.runner_process import Order
    from loopkit_cli.supervisor import Supervisor

    settings.in_store_for_reads(_look)
    order = Order(
        settings=settings,
        names=names,
        concurrency=plan.concurrency,
        drain=plan.drain,
        log_level=plan.log_level,
        log_format=plan.log_format,
    )
    with (
        display() if plan.log_format is LogFormat.TEXT else PlainDisplay() as shown,
        write_log_lines(plan.log_level, plan.log_format, write=shown.add_lines),
    ):
        supervisor = Supervisor(order, processes, write=shown.add_lines)
        with _metrics(plan, lambda: supervisor.status, supervisor.metrics):
            working = ", ".join(agent.name for agent in plan.agents)
            logger.info("working runs of %s, %d at once in each of %d processes", working, plan.concurrency, processes)
            shown.update(lambda: display_text.tally(supervisor.status))
            exit_status = supervisor.run()
            status = supervisor.status
            logger.info("%s", display_text.tally(status), extra=attrs.asdict(status))
            left = []
            if plan.drain and exit_status == exits.DONE:
                left = settings.in_store_for_reads(partial(_report_left, plan, supervisor.is_stopped))
    if supervisor.failure is not None:
        output.write_error(supervisor.failure.sentence)
    elif exit_status == exits.DONE and settings.as_json:
        _write_document(status, left if plan.drain else None)
    return exit_status


async def _look(_: "Storage") -> None:
    """Do nothing with a store that was opened to see that it can be."""


def _write_document(status: "RunnerStatus", left: "list[Left] | None") -> None:
    document = attrs.asdict(status)
    output.write_json(document if left is None else {**document, "left": [each.document() for each in left]})


async def _report_left(plan: _Plan, is_stopped: bool, store: "Storage") -> list[Left]:
    """Log what is left in the queue, and why."""
    left = await read_left(
        store,
        worked=[agent.name for agent in plan.agents],
        known=[agent.name for agent in plan.known],
        problems=unusable_agents(plan.known),
        is_stopped=is_stopped,
    )
    for each in left:
        logger.info("%s", each.line(), extra=each.document())
    return left


@contextmanager
def _metrics(
    plan: _Plan, read_status: Callable[[], "RunnerStatus"], read_metrics: Callable[[], "Metrics"]
) -> Iterator[None]:
    """Serve the metrics of this worker inside ``with``, where an address was given."""
    if plan.metrics is None:
        yield
        return
    from loopkit.runner.openmetrics import family_lines
    from loopkit_cli.servers.metrics_server import serving_metrics

    def lines() -> list[str]:
        status = read_status()
        slots = family_lines("loopkit_slots", "gauge", "Runs that this worker works at once.", [("", {}, status.slots)])
        busy = family_lines("loopkit_slots_busy", "gauge", "Slots that are in use.", [("", {}, status.busy)])
        return [*slots, *busy, *read_metrics().lines()]

    host, port = plan.metrics
    with serving_metrics(host, port, lines) as listening_port:
        logger.info("metrics at http://%s:%d/metrics", host or "localhost", listening_port)
        yield
