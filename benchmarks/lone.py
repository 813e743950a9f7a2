"""What one run alone costs: time per boundary, commits, statements and bytes."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from benchmarks import calling
from benchmarks.figures import Row, Spread, percentile
from benchmarks.places import Place
from benchmarks.settings import Settings, say

PAYLOAD_KB = 5.7


def latency(settings: Settings) -> Iterator[Row]:
    """Time between a stage's end and the next one's start, against a bare durable commit between the runs."""
    loops = settings.sized(40, 3)
    for place in settings.places:
        middles, lasts, ratio = [], [], []
        for repetition in range(settings.repetitions):
            say(f"latency on {place.name}, {repetition + 1} of {settings.repetitions}")
            url = place.fresh()
            found = calling.call("loops.latency", url=url, loops=loops)
            place.drop(url)
            middles.append(1000 * statistics.median(found["gaps"]))
            lasts.append(1000 * percentile(found["gaps"], 99))
            ratio.append(statistics.median(found["gaps"]) / statistics.median(found["bare"]))
        against = "a bare durable commit"
        yield Row(
            "latency", place.name, "boundary, p50", Spread.of(middles), "ms", against, Spread.of(ratio), at_most=1.5
        )
        yield Row("latency", place.name, "boundary, p99", Spread.of(lasts), "ms")


def counts(settings: Settings) -> Iterator[Row]:
    """Commits, statements and bytes of a loop."""
    for place in settings.places:
        say(f"counts on {place.name}")
        url = place.fresh()
        found = calling.call("counting.per_loop", url=url)
        place.drop(url)
        yield Row("counts", place.name, "commits per loop, enqueue included", _one(found["commits"]), "", at_most=6)
        yield Row("counts", place.name, "statements per loop, BEGIN and COMMIT included", _one(found["statements"]), "")
        yield Row("counts", place.name, "bytes per loop", _one(_bytes(place, settings)), "KB", at_most=12)


def _bytes(place: Place, settings: Settings) -> float:
    loops = settings.sized(1000, 50)
    url = place.fresh()
    calling.call("loops.drain", url=url, loops=1, concurrency=1)
    before = place.size(url)
    calling.call("loops.drain", url=url, loops=loops, concurrency=32)
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
        found = calling.call("loops.memory", url=url, held=held)
        place.drop(url)
        more = (found["held"] - found["before"]) * 1024 / held
        yield Row("memory", place.name, f"a runner with {held:,} held runs", _one(found["held"]), "MiB")
        yield Row("memory", place.name, "each held run", _one(more), "KiB")


def _one(value: float) -> Spread:
    return Spread.of([value])
