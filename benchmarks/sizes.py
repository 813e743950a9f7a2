"""Effect of the number of runs in the database on lists, tails, claims and throughput."""

from collections.abc import Iterator
from functools import cache

from benchmarks import child_process
from benchmarks.figures import Row, Spread, ratios
from benchmarks.places import Place
from benchmarks.settings import Settings, say


def lists(settings: Settings) -> Iterator[Row]:
    """Measure reads on databases of growing size, each against the smallest, and check the plans on the largest."""
    largest = settings.ended_runs
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size < largest] + [largest]
    for place in settings.places:
        urls = {}
        for size in sizes:
            urls[size] = filled(place, size)
        yield from _looks(place, settings, urls)
        say(f"lists on {place.name}: plans at {largest:,} runs")
        plans = child_process.call("database_reads.plans", url=urls[largest])
        settings.skipped.extend(f"{place.name} at {largest:,} runs scans {scan}" for scan in plans["scans"])
        what = f"statements that scan a table at {largest:,} runs, of {plans['statements']}"
        yield Row("lists", place.name, what, Spread.of([len(plans["scans"])]), "", at_most=0)


@cache
def filled(place: Place, size: int) -> str:
    """Return a database of that size, the same one each time; it goes away with its place."""
    say(f"filling {place.name} with {size:,} runs")
    url = place.fresh()
    child_process.call("filled_databases.fill", url=url, runs=size)
    place.settle(url)
    return url


def _looks(place: Place, settings: Settings, urls: dict[int, str]) -> Iterator[Row]:
    found: dict[int, list[dict[str, float]]] = {size: [] for size in urls}
    for repetition in range(settings.repetitions):
        say(f"lists on {place.name}, {repetition + 1} of {settings.repetitions}")
        named = {str(size): url for size, url in urls.items()}
        looked = child_process.call("database_reads.look", urls=named, times=settings.sized(40, 3))
        for size in urls:
            found[size].append(looked[str(size)])
    smallest, largest = min(urls), max(urls)
    for name in found[smallest][0]:
        first = [one[name] for one in found[smallest]]
        for size in urls:
            values = [one[name] for one in found[size]]
            budget = 1.5 if size == largest and size > smallest and name != "list by end" else None
            ratio = None if size == smallest else ratios(values, first)
            against = "" if ratio is None else f"{smallest:,} runs"
            milliseconds = Spread.of([1000 * value for value in values])
            what = f"{name} at {size:,} runs"
            yield Row("lists", place.name, what, milliseconds, "ms", against, ratio, at_most=budget)


def ended(settings: Settings) -> Iterator[Row]:
    """A runner of 128 slots with many ended runs in its database, against an empty one."""
    slots, loops = settings.sized(128, 8), settings.loops(128)
    for place in settings.places:
        full = filled(place, settings.ended_runs)
        with_many: list[float] = []
        with_none: list[float] = []
        for repetition in range(settings.repetitions):
            say(f"ended on {place.name}, {repetition + 1} of {settings.repetitions}")
            empty = place.fresh()
            for url, rates in ((empty, with_none), (full, with_many)):
                found = child_process.call("loops.drain", url=url, loops=loops, concurrency=slots)
                rates.append(found["loops"] / found["seconds"])
            place.drop(empty)
        yield Row("ended", place.name, "no ended runs", Spread.of(with_none), "loops/s")
        what, against = f"{settings.ended_runs:,} ended runs", "no ended runs"
        ratio = ratios(with_many, with_none)
        yield Row("ended", place.name, what, Spread.of(with_many), "loops/s", against, ratio, at_least=0.9)
