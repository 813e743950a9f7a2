"""What loopkit costs while it waits, shows and starts: held runs, streams, answers of ``serve``, commands."""

from collections.abc import Iterator

from benchmarks import child_process
from benchmarks.figures import Row, Spread
from benchmarks.settings import Settings, say

HELD = 10_000
STREAMS = 100


def held(settings: Settings) -> Iterator[Row]:
    """Measure a process whose runs all wait in their stages: its CPU, its memory, its event loop, a cancel request."""
    runs, seconds = settings.sized(HELD, 50), settings.sized(60, 1)
    for place in settings.places:
        found = []
        for repetition in range(settings.repetitions):
            say(f"held on {place.name}, {repetition + 1} of {settings.repetitions}")
            url = place.fresh()
            found.append(child_process.call("held_runs.hold", url=url, held=runs, seconds=seconds))
            place.drop(url)
        for name, unit, at_most in (
            ("CPU", "% of a core", 4),
            ("memory of each", "KiB", 14),
            ("event loop late, p99", "ms", 5),
            ("a cancel request is seen after", "s", 1),
        ):
            most = None if settings.quick else at_most
            figure = Spread.of([one[name] for one in found])
            yield Row("held", place.name, f"{runs:,} held runs that wait: {name}", figure, unit, at_most=most)


def streams(settings: Settings) -> Iterator[Row]:
    """Measure a server with open streams of different runs, of which each moves once a second."""
    count, seconds = settings.sized(STREAMS, 5), settings.sized(20, 1)
    for place in settings.places:
        found = []
        for repetition in range(settings.repetitions):
            say(f"streams on {place.name}, {repetition + 1} of {settings.repetitions}")
            url = place.fresh()
            mover = child_process.started("open_streams.move", url=url, runs=count, seconds=seconds + 10)
            found.append(child_process.call("open_streams.watch", url=url, runs=count, seconds=seconds))
            child_process.result(mover)
            place.drop(url)
        shares = Spread.of([one["cpu"] for one in found])
        most = None if settings.quick else 3
        what = f"{count} streams of {count} different moving runs: CPU of the server"
        yield Row("streams", place.name, what, shares, "% of a core", at_most=most)
        events = Spread.of([one["events"] for one in found])
        yield Row("streams", place.name, "events that they passed on", events, "events/s")


def commands(settings: Settings) -> Iterator[Row]:
    """Measure the CPU of short commands from their start to their end, and an answer of `serve`."""
    for place in settings.places:
        url = place.fresh()
        child_process.call("loops.queue", url=url, loops=30)
        times = settings.sized(10, 2) * settings.repetitions
        say(f"commands on {place.name}")
        found = child_process.call("start_up.commands", url=url, times=times)
        for name, milliseconds in found.items():
            most = None if settings.quick else 5 if name.startswith("an answer") else 300
            figure = Spread.of(milliseconds)
            yield Row("commands", place.name, name, figure, "ms", at_most=most)
        place.drop(url)
