"""Cost of a single run: time per boundary, commits, statements and bytes."""

import statistics
from collections.abc import Iterator

from benchmarks import child_process
from benchmarks.figures import Row, Spread, percentile
from benchmarks.places import Place
from benchmarks.settings import Settings, say

BOUNDARY_MS = {"SQLite": 0.3, "PostgreSQL": 0.9}
"""Most milliseconds of a lone boundary beyond those of a bare durable commit."""
LOOP_KB = {"SQLite": 12.0, "PostgreSQL": 12.3}
"""Most bytes of a loop, of which the texts are 5.7 KB."""


def latency(settings: Settings) -> Iterator[Row]:
    """Time between a stage's end and the next one's start, against a bare durable commit between the runs."""
    loops = settings.sized(40, 3)
    for place in settings.places:
        middles, lasts, ratio, beyond = [], [], [], []
        for repetition in range(settings.repetitions):
            say(f"latency on {place.name}, {repetition + 1} of {settings.repetitions}")
            url = place.fresh()
            found = child_process.call("loops.latency", url=url, loops=loops)
            place.drop(url)
            middles.append(1000 * statistics.median(found["gaps"]))
            lasts.append(1000 * percentile(found["gaps"], 99))
            ratio.append(statistics.median(found["gaps"]) / statistics.median(found["bare"]))
            beyond.append(1000 * (statistics.median(found["gaps"]) - statistics.median(found["bare"])))
        against = "a bare durable commit"
        yield Row("latency", place.name, "boundary, p50", Spread.of(middles), "ms", against, Spread.of(ratio))
        most = BOUNDARY_MS[place.name]
        yield Row("latency", place.name, f"boundary beyond {against}, p50", Spread.of(beyond), "ms", at_most=most)
        yield Row("latency", place.name, "boundary, p99", Spread.of(lasts), "ms")


def counts(settings: Settings) -> Iterator[Row]:
    """Commits, statements and bytes of a loop."""
    for place in settings.places:
        say(f"counts on {place.name}")
        url = place.fresh()
        found = child_process.call("statement_counts.per_loop", url=url)
        place.drop(url)
        yield Row("counts", place.name, "commits per loop, enqueue included", _one(found["commits"]), "", at_most=6)
        yield Row("counts", place.name, "statements per loop, BEGIN and COMMIT included", _one(found["statements"]), "")
        size, most = _one(_bytes(place, settings)), LOOP_KB[place.name]
        yield Row("counts", place.name, "bytes per loop", size, "KB", at_most=most)


def _bytes(place: Place, settings: Settings) -> float:
    loops = settings.sized(1000, 50)
    url = place.fresh()
    child_process.call("loops.drain", url=url, loops=1, concurrency=1)
    before = place.size(url)
    child_process.call("loops.drain", url=url, loops=loops, concurrency=32)
    place.settle(url)
    after = place.size(url)
    place.drop(url)
    return (after - before) / loops / 1000


def memory(settings: Settings) -> Iterator[Row]:
    """The memory of a runner that holds many runs."""
    held = settings.sized(1000, 20)
    for place in settings.places:
        say(f"memory on {place.name}")
        url = place.fresh()
        found = child_process.call("loops.memory", url=url, held=held)
        place.drop(url)
        more = (found["held"] - found["before"]) * 1024 / held
        yield Row("memory", place.name, f"a runner with {held:,} held runs", _one(found["held"]), "MiB")
        yield Row("memory", place.name, "each held run", _one(more), "KiB")


def _one(value: float) -> Spread:
    return Spread.of([value])
