"""Server time of a request to pages and API, with few and with many runs in the database."""

from collections.abc import Iterator
from typing import Any

from benchmarks import child_process
from benchmarks.figures import Row, Spread, ratios, short
from benchmarks.places import Place
from benchmarks.settings import Settings, say
from benchmarks.sizes import filled

FEW = 1_000
EVENTS = 10_000
BOUNDED = ("API: stats", "API: metrics")
"""Requests that read up to 1,000 runs of each agent: their time grows until each agent has that many."""
AGAIN = "(304)"


def pages(settings: Settings) -> Iterator[Row]:
    """Requests at 1,000 runs with 1,000 events in the run that is looked at, and at many runs with 10,000."""
    events = settings.sized(EVENTS, 1_000)
    for place in settings.places:
        databases = {str(runs): _lively(place, runs, some) for runs, some in _sizes(settings, events)}
        found: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in databases}
        for repetition in range(settings.repetitions):
            say(f"pages on {place.name}, {repetition + 1} of {settings.repetitions}")
            took = child_process.call("web_requests.browse", databases=databases, times=settings.sized(20, 1))
            for name in databases:
                found[name].append(took[name])
        yield from _rows(place, settings, found)
        say(f"pages on {place.name}: plans")
        plans = child_process.call("web_requests.plans", **databases[str(settings.ended_runs)])
        settings.skipped.extend(f"pages on {place.name} scan {scan}" for scan in plans["scans"])
        what = f"statements that scan a table at {settings.ended_runs:,} runs, of {plans['statements']}"
        yield Row("pages", place.name, what, Spread.of([len(plans["scans"])]), "", at_most=0)


def _sizes(settings: Settings, events: int) -> list[tuple[int, int]]:
    return [(FEW, min(events, 1_000)), (settings.ended_runs, events)]


def _lively(place: Place, runs: int, events: int) -> dict[str, Any]:
    url = filled(place, runs)
    say(f"adding a run of {events:,} events on {place.name}")
    return {"url": url, "runs": runs, "run": child_process.call("web_requests.enliven", url=url, events=events)}


def _rows(place: Place, settings: Settings, found: dict[str, list[dict[str, dict[str, float]]]]) -> Iterator[Row]:
    few, many = found[str(FEW)], found[str(settings.ended_runs)]
    for name in few[0]:
        took, before = ([one[name]["seconds"] for one in some] for some in (many, few))
        cpu = Spread.of([1000 * one[name]["cpu"] for one in many])
        budget = None if name in BOUNDED else 1.5
        milliseconds = Spread.of([1000 * value for value in took])
        note = f"{short(cpu.median)} ms of CPU"
        what, ratio = f"{name} at {settings.ended_runs:,} runs", ratios(took, before)
        yield Row("pages", place.name, what, milliseconds, "ms", f"{FEW:,} runs", ratio, at_most=budget, note=note)
        if AGAIN in name:
            yield Row("pages", place.name, f"CPU of the server: {name}", cpu, "ms", at_most=5)
