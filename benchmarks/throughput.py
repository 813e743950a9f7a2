"""Loops per second: loopkit, the hand-written group commit, and the peers, in turns."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks import child_process
from benchmarks.figures import Row, Spread, ratios
from benchmarks.places import Place
from benchmarks.settings import Settings, say

LIMIT_RATIOS = {
    "SQLite": {1: 0.85, 8: 0.82, 32: 0.82, 128: 0.80, 1000: 0.70},
    "PostgreSQL": {1: 0.60, 8: 0.75, 32: 0.90, 128: 1.1},
}
"""Least loops per second, of those by hand, by the number at once."""
CPU_RATIO = {"SQLite": 1.3}
"""Most CPU of a loop at 128 at once, of that by hand."""
PEER_RATIO = {"SQLite": 8.0, "PostgreSQL": 2.5}
TWO_RATIO = {"SQLite": 1.25, "PostgreSQL": 1.4}
"""Least loops per second of two processes, of those of one."""
PEER_SECONDS = 60
"""Most seconds of a peer; one that takes longer has failed."""
PROCESSES = 4
TOP = 128
"""Loops at once in the comparisons beside the levels."""
START_SECONDS = 6.0
"""Seconds that several processes have to get ready for a common start."""


@dataclass
class Contender:
    """One way to work loops; ``measure`` takes a fresh URL and returns loops and seconds."""

    name: str
    measure: Callable[[str], dict[str, Any]]
    is_peer: bool = False
    """True for a peer, which is left out when it fails; any other failure ends the section."""
    rates: list[float] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)


def measure(settings: Settings) -> Iterator[Row]:
    for place in settings.places:
        yield from _at(place, settings)


def _at(place: Place, settings: Settings) -> Iterator[Row]:
    contenders = _contenders(place, settings)
    bare = []
    for repetition in range(settings.repetitions):
        bare.append(place.bare())
        for one in list(contenders):
            say(f"throughput on {place.name}, {repetition + 1} of {settings.repetitions}: {one.name}")
            url = place.fresh()
            try:
                found = one.measure(url)
            except child_process.Failed as error:
                if not one.is_peer:
                    raise
                settings.skipped.append(f"{one.name} on {place.name}: {error}")
                contenders.remove(one)
                continue
            finally:
                place.drop(url)
            one.results.append(found)
            one.rates.append(found["loops"] / found["seconds"])
    yield from _rows(place, settings, {one.name: one for one in contenders}, bare)


def _contenders(place: Place, settings: Settings) -> list[Contender]:
    made = []
    for level in _levels(place, settings):
        loops = settings.loops(level)
        made.append(Contender(f"by hand, {level} at once", partial(_by_hand, loops=loops, concurrency=level)))
        made.append(Contender(f"loopkit, {level} at once", partial(_loopkit, loops=loops, concurrency=level)))
    top = _top(settings)
    loops = settings.loops(top)
    sync = partial(_loopkit, loops=loops, concurrency=top, sync=True)
    made.append(Contender(f"loopkit, {top} at once, sync stages", sync))
    for processes, slots in ((2, top), (PROCESSES, max(top // PROCESSES, 1))):
        several = partial(_processes, loops=processes * loops, processes=processes, concurrency=slots)
        made.append(Contender(f"loopkit, {processes} processes of {slots}", several))
    if settings.peers is not None:
        made += [_peer(module, place, settings) for module in place.peers]
    return made


def _by_hand(url: str, *, loops: int, concurrency: int) -> dict[str, Any]:
    return dict(child_process.call("limits.drain_by_hand", url=url, loops=loops, concurrency=concurrency))


def _loopkit(url: str, *, loops: int, concurrency: int, sync: bool = False) -> dict[str, Any]:
    return dict(child_process.call("loops.drain", url=url, loops=loops, concurrency=concurrency, sync=sync))


def _levels(place: Place, settings: Settings) -> list[int]:
    """Return the numbers of loops at once: those of the settings, and on a file more."""
    more = [1000] if TOP in settings.levels and 1000 in LIMIT_RATIOS[place.name] else []
    return [*settings.levels, *more]


def _top(settings: Settings) -> int:
    return min(TOP, max(settings.levels))


def _processes(url: str, *, loops: int, processes: int, concurrency: int) -> dict[str, Any]:
    child_process.call("loops.queue", url=url, loops=loops)
    start = time.monotonic() + START_SECONDS
    children = [
        child_process.started("loops.drain_at", url=url, concurrency=concurrency, start=start) for _ in range(processes)
    ]
    ended = [child_process.result(child) for child in children]
    return {"loops": sum(one["loops"] for one in ended), "seconds": max(one["ended"] for one in ended) - start}


def _peer(module: str, place: Place, settings: Settings) -> Contender:
    python = settings.peers
    assert python is not None
    loops, concurrency = settings.sized(400, 20), settings.sized(32, 8)

    def run(url: str) -> dict[str, Any]:
        where = url.removeprefix("sqlite:///")
        child = child_process.started(f"peers.{module}.run", python, place=where, loops=loops, concurrency=concurrency)
        return dict(child_process.result(child, PEER_SECONDS))

    return Contender(module.removeprefix("on_"), run, is_peer=True)


def _rows(place: Place, settings: Settings, by_name: dict[str, Contender], bare: list[float]) -> Iterator[Row]:
    def row(name: str, against: str = "", references: list[float] | None = None, **more: Any) -> Row:
        one = by_name[name]
        ratio = ratios(one.rates, references) if references else None
        return Row("throughput", place.name, name, Spread.of(one.rates), "loops/s", against, ratio, **more)

    yield Row("throughput", place.name, "one bare durable commit after the other", Spread.of(bare), "commits/s")
    top = _top(settings)
    is_judged = top == TOP
    for level in _levels(place, settings):
        yield row(f"by hand, {level} at once", "bare commits", bare)
        budget = LIMIT_RATIOS[place.name].get(level) if is_judged else None
        yield row(f"loopkit, {level} at once", "by hand", by_name[f"by hand, {level} at once"].rates, at_least=budget)
    limit = CPU_RATIO.get(place.name) if is_judged else None
    yield from _cpu(place, by_name[f"loopkit, {top} at once"], by_name[f"by hand, {top} at once"], limit)
    best = by_name[f"loopkit, {top} at once"].rates
    for name in by_name:
        if "sync" in name or "processes" in name:
            budget = TWO_RATIO[place.name] if is_judged and "2 processes" in name else None
            yield row(name, f"loopkit, {top} at once", best, at_least=budget)
    peers = [one for one in by_name.values() if one.is_peer]
    for one in peers:
        note = f"{one.results[-1]['system']}: {one.results[-1]['settings']}"
        yield row(one.name, f"loopkit, {top} at once", best, note=note)
    if peers:
        fastest = max(peers, key=lambda one: Spread.of(one.rates).median)
        budget = PEER_RATIO[place.name] if is_judged else None
        yield row(f"loopkit, {top} at once", f"{fastest.name}, the fastest peer", fastest.rates, at_least=budget)


def _cpu(place: Place, loopkit: Contender, by_hand: Contender, at_most: float | None) -> Iterator[Row]:
    """Return the CPU figures, which depend little on what else the machine does."""

    def microseconds(one: Contender, name: str) -> list[float]:
        return [1e6 * found[name] / found["loops"] for found in one.results]

    limit = microseconds(by_hand, "cpu")
    yield Row("throughput", place.name, f"CPU a loop, {by_hand.name}", Spread.of(limit), "us")
    spent = microseconds(loopkit, "cpu")
    what = f"CPU a loop, {loopkit.name}"
    ratio = ratios(spent, limit)
    yield Row("throughput", place.name, what, Spread.of(spent), "us", "by hand", ratio, at_most=at_most)
    own = microseconds(loopkit, "own")
    what = "of that the thread of the event loop"
    yield Row("throughput", place.name, what, Spread.of(own), "us", "all of it", ratios(own, spent))
