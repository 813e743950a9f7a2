"""The queue of runs: submitting, waiting for a runner, claiming."""

import statistics
import time
from collections.abc import Iterator

from benchmarks import child_process
from benchmarks.figures import Row, Spread, percentile, ratios
from benchmarks.places import Place
from benchmarks.settings import Settings, say

BATCH = 1000
CLAIMERS = 4
START_SECONDS = 6.0
QUEUED_US = 55
"""Most microseconds of CPU of a run that is queued with many others."""


def enqueue(settings: Settings) -> Iterator[Row]:
    """Runs queued a second, one by one and a thousand in a call."""
    size = settings.sized(BATCH, 50)
    for place in settings.places:
        found = []
        for repetition in range(settings.repetitions):
            say(f"enqueue on {place.name}, {repetition + 1} of {settings.repetitions}")
            url = place.fresh()
            found.append(
                child_process.call("loops.enqueue", url=url, singles=settings.sized(100, 5), batches=3, size=size)
            )
            place.drop(url)
        single, bare, batch = ([one[name] for one in found] for name in ("single", "bare", "batch"))
        yield _row("enqueue", place, "one run a call", single, "a bare durable commit", bare)
        yield _row("enqueue", place, f"{size:,} runs a call", batch, "one run a call", single)
        cpu = Spread.of([1e6 * one["cpu"] for one in found])
        most = None if settings.quick else QUEUED_US
        yield Row("enqueue", place.name, f"CPU a run, {size:,} a call", cpu, "us", at_most=most)


def _row(section: str, place: Place, what: str, rates: list[float], against: str, references: list[float]) -> Row:
    return Row(section, place.name, what, Spread.of(rates), "runs/s", against, ratios(rates, references))


def pickup(settings: Settings) -> Iterator[Row]:
    """The time from a submit's call to the begin of the first stage in another process, the commit included."""
    for place in settings.places:
        for hints in (True, False):
            say(f"pickup on {place.name}, hints {'on' if hints else 'off'}")
            waits = _waits(place, settings, hints=hints)
            name = "hints on" if hints else "hints off, polling each second"
            at_most = 50 if hints else 1000
            yield Row("pickup", place.name, f"{name}, p50", Spread.of([1000 * statistics.median(waits)]), "ms")
            last = Spread.of([1000 * percentile(waits, 99)])
            yield Row("pickup", place.name, f"{name}, p99", last, "ms", at_most=at_most)


def _waits(place: Place, settings: Settings, *, hints: bool) -> list[float]:
    runs = settings.sized(200 if hints else 20, 5 if hints else 2)
    url = place.fresh()
    child_process.call("loops.queue", url=url, loops=0)
    runner = child_process.started("pickup.serve", url=url, hints=hints)
    asked = child_process.call("pickup.submit", url=url, runs=runs, longest_pause=0.2 if hints else 1.0)
    begun = child_process.result(runner)
    place.drop(url)
    return [begun[run_id] - moment for run_id, moment in asked.items()]


def claim(settings: Settings) -> Iterator[Row]:
    """Claims a second, one run a call, by one process and by several that contend."""
    runs = settings.sized(400, 20)
    for place in settings.places:
        rates: dict[int, list[float]] = {1: [], CLAIMERS: []}
        for repetition in range(settings.repetitions):
            for processes, rate in rates.items():
                say(f"claim on {place.name}, {repetition + 1} of {settings.repetitions}: {processes} processes")
                rate.append(_claims(place, runs, processes))
        yield Row("claim", place.name, "one process", Spread.of(rates[1]), "claims/s")
        yield _row("claim", place, f"{CLAIMERS} processes", rates[CLAIMERS], "one process", rates[1])


def _claims(place: Place, runs: int, processes: int) -> float:
    url = place.fresh()
    child_process.call("loops.queue", url=url, loops=runs)
    start = time.monotonic() + START_SECONDS
    children = [child_process.started("loops.claim", url=url, start=start) for _ in range(processes)]
    ended = [child_process.result(child) for child in children]
    place.drop(url)
    assert sum(one["claimed"] for one in ended) == runs, "a run was claimed twice, or never"
    last: float = max(one["ended"] for one in ended)
    return runs / (last - start)
