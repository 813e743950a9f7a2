"""``python -m benchmarks``: measure loopkit beside the limit and beside its peers, and print one table of ratios."""

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from benchmarks import durable_commits, loops_quality, operation, pages, run_queue, single_run, sizes, throughput
from benchmarks.child_process import Failed
from benchmarks.figures import Row, Spread
from benchmarks.peers import environment
from benchmarks.places import Place, Postgresql, Sqlite
from benchmarks.settings import Settings, say

SECTIONS: dict[str, Callable[[Settings], Iterator[Row]]] = {
    "throughput": throughput.measure,
    "latency": single_run.latency,
    "counts": single_run.counts,
    "enqueue": run_queue.enqueue,
    "pickup": run_queue.pickup,
    "claim": run_queue.claim,
    "lists": sizes.lists,
    "memory": single_run.memory,
    "ended": sizes.ended,
    "pages": pages.pages,
    "held": operation.held,
    "streams": operation.streams,
    "commands": operation.commands,
}
LOOPS_QUALITY = "loops-quality"
QUICK_LOOPS = 50
PLACES: dict[str, type[Place]] = {"sqlite": Sqlite, "postgresql": Postgresql}


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "sections",
        nargs="*",
        metavar="SECTION",
        help=f"of {', '.join(SECTIONS)}; without any, all; or {LOOPS_QUALITY}, which measures no time, alone",
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, once: to see that everything works")
    parser.add_argument("--database", choices=PLACES, help="measure on this one alone")
    parser.add_argument("--repetitions", type=int, help="how often, in turns (3)")
    parser.add_argument("--no-peers", action="store_true", help="leave other systems out")
    parser.add_argument("--million", action="store_true", help="1,000,000 ended runs in `lists`, `ended` and `pages`")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser


def main() -> int:
    parser = arguments()
    given = parser.parse_args()
    if given.sections == [LOOPS_QUALITY]:
        loops_quality.print_table(QUICK_LOOPS if given.quick else loops_quality.RUNS)
        return 0
    if unknown := [name for name in given.sections if name not in SECTIONS]:
        parser.error(f"no such section: {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    with ExitStack() as stack:
        settings = _settings(given, stack)
        before = durable_commits.syncs()
        rows: list[Row] = []
        for name in given.sections or SECTIONS:
            try:
                for row in SECTIONS[name](settings):
                    rows.append(row)  # noqa: PERF402 - earlier rows stay when a later one fails
            except Failed as error:
                settings.skipped.append(f"{name} broke off: {error}")
            except KeyboardInterrupt:
                settings.skipped.append(f"{name} was broken off, and what comes after it")
                break
        machine = _machine(settings, [before, durable_commits.syncs()], time.monotonic() - began)
    if given.json:
        print(json.dumps({"machine": machine, "rows": [row.plain() for row in rows], "remarks": settings.skipped}))
    else:
        _show(machine, rows, settings.skipped)
    return 0


def _settings(given: argparse.Namespace, stack: ExitStack) -> Settings:
    places = []
    for name in [given.database] if given.database else PLACES:
        places.append(PLACES[name]())
        stack.callback(places[-1].close)
    skipped: list[str] = []
    peers = None
    if not given.no_peers and "throughput" in (given.sections or SECTIONS):
        say("installing the peers, unless they are there")
        try:
            peers = environment.python()
        except environment.NotInstalled as error:
            skipped.append(f"the peers are left out, since they could not be installed: {error}")
    return Settings(
        places,
        repetitions=given.repetitions or (1 if given.quick else 3),
        quick=given.quick,
        peers=peers,
        ended_runs=1_000_000 if given.million else 2_000 if given.quick else 100_000,
        levels=(1, 8) if given.quick else (1, 8, 32, 128),
        skipped=skipped,
    )


def _machine(settings: Settings, syncs: list[float], seconds: float) -> str:
    databases = ", ".join(f"{place.name} {place.version()}" for place in settings.places)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, {databases}, fdatasync {Spread.of(syncs)}/s, "
        f"{settings.repetitions} repetitions in turns, {seconds:.0f} s in all"
    )


def _show(machine: str, rows: list[Row], remarks: list[str]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    table = Table("database", "what", "median [lowest-highest]", "ratio", "to", "budget", "", title=machine)
    section = ""
    for row in rows:
        if row.section != section:
            table.add_section()
            section = row.section
            table.add_row(f"[bold]{section}[/bold]")
        what = f"{row.what}\n({row.note})" if row.note else row.what
        ratio = "" if row.ratio is None else str(row.ratio)
        figure = f"{row.figure} {row.unit}".strip()
        table.add_row(
            row.database, *(escape(text) for text in (what, figure, ratio, row.against)), row.budget, row.verdict
        )
    console.print(table)
    for remark in remarks:
        console.print(f"- {remark}", markup=False)


def escape(text: str) -> str:
    """Return text in which brackets are not markup."""
    return text.replace("[", r"\[")


if __name__ == "__main__":
    sys.exit(main())
