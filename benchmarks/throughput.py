"""Loops a second: loopkit, the hand-written driver that groups its commits, and the peers, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from benchmarks import calling
from benchmarks.figures import Row, Spread, ratios
from benchmarks.places import Place
from benchmarks.settings import Settings, say

LIMIT_RATIO = 0.67
PEER_RATIO = {"SQLite": 10.0, "PostgreSQL": 5.0}
PEER_SECONDS = 60
"""A peer that takes longer has failed."""
PROCESSES = 4
START_SECONDS = 6.0
"""How long several processes are given to be ready for a start together."""


@dataclass
class Contender:
    """One way to work loops; ``measure`` takes a fresh URL and gives loops and seconds."""

    name: str
    measure: Callable[[str], dict[str, Any]]
    is_peer: bool = False
    """A peer that fails is left out; anything else that fails ends the section."""
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
            except calling.Failed as error:
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
    for level in settings.levels:
        loops = settings.loops(level)
        made.append(Contender(f"by hand, {level} at once", partial(_by_hand, loops=loops, concurrency=level)))
        made.append(Contender(f"loopkit, {level} at once", partial(_loopkit, loops=loops, concurrency=level)))
    top = max(settings.levels)
    loops = settings.loops(top)
    sync = partial(_loopkit, loops=loops, concurrency=top, sync=True)
    made.append(Contender(f"loopkit, {top} at once, sync stages", sync))
    several = partial(_processes, loops=loops, concurrency=top)
    made.append(Contender(f"loopkit, {PROCESSES} processes of {top // PROCESSES}", several))
    if settings.peers is not None:
        made += [_peer(module, place, settings) for module in place.peers]
    return made


def _by_hand(url: str, *, loops: int, concurrency: int) -> dict[str, Any]:
    return dict(calling.call("limits.drain_by_hand", url=url, loops=loops, concurrency=concurrency))


def _loopkit(url: str, *, loops: int, concurrency: int, sync: bool = False) -> dict[str, Any]:
    return dict(calling.call("loops.drain", url=url, loops=loops, concurrency=concurrency, sync=sync))


def _processes(url: str, *, loops: int, concurrency: int) -> dict[str, Any]:
    calling.call("loops.queue", url=url, loops=loops)
    start = time.monotonic() + START_SECONDS
    slots = max(concurrency // PROCESSES, 1)
    children = [calling.started("loops.drain_at", url=url, concurrency=slots, start=start) for _ in range(PROCESSES)]
    ended = [calling.result(child) for child in children]
    return {"loops": sum(one["loops"] for one in ended), "seconds": max(one["ended"] for one in ended) - start}


def _peer(module: str, place: Place, settings: Settings) -> Contender:
    python = settings.peers
    assert python is not None
    loops, concurrency = settings.sized(400, 20), settings.sized(32, 8)

    def run(url: str) -> dict[str, Any]:
        where = url.removeprefix("sqlite:///")
        child = calling.started(f"peers.{module}.run", python, place=where, loops=loops, concurrency=concurrency)
        return dict(calling.result(child, PEER_SECONDS))

    return Contender(module.removeprefix("on_"), run, is_peer=True)


def _rows(place: Place, settings: Settings, by_name: dict[str, Contender], bare: list[float]) -> Iterator[Row]:
    def row(name: str, against: str = "", references: list[float] | None = None, **more: Any) -> Row:
        one = by_name[name]
        ratio = ratios(one.rates, references) if references else None
        return Row("throughput", place.name, name, Spread.of(one.rates), "loops/s", against, ratio, **more)

    yield Row("throughput", place.name, "one bare durable commit after the other", Spread.of(bare), "commits/s")
    for level in settings.levels:
        yield row(f"by hand, {level} at once", "bare commits", bare)
        budget = LIMIT_RATIO if level == 128 else None
        yield row(f"loopkit, {level} at once", "by hand", by_name[f"by hand, {level} at once"].rates, at_least=budget)
    top = max(settings.levels)
    yield from _cpu(place, by_name[f"loopkit, {top} at once"], by_name[f"by hand, {top} at once"])
    best = by_name[f"loopkit, {top} at once"].rates
    for name in by_name:
        if "sync" in name or "processes" in name:
            yield row(name, f"loopkit, {top} at once", best)
    peers = [one for one in by_name.values() if one.is_peer]
    for one in peers:
        note = f"{one.results[-1]['system']}: {one.results[-1]['settings']}"
        yield row(one.name, f"loopkit, {top} at once", best, note=note)
    if peers:
        fastest = max(peers, key=lambda one: Spread.of(one.rates).median)
        budget = PEER_RATIO[place.name] if top == 128 else None
        yield row(f"loopkit, {top} at once", f"{fastest.name}, the fastest peer", fastest.rates, at_least=budget)


def _cpu(place: Place, loopkit: Contender, by_hand: Contender) -> Iterator[Row]:
    """CPU hardly depends on what else the machine does, so it says most about where the rest goes."""

    def microseconds(one: Contender, name: str) -> list[float]:
        return [1e6 * found[name] / found["loops"] for found in one.results]

    limit = microseconds(by_hand, "cpu")
    yield Row("throughput", place.name, f"CPU a loop, {by_hand.name}", Spread.of(limit), "us")
    spent = microseconds(loopkit, "cpu")
    what = f"CPU a loop, {loopkit.name}"
    yield Row("throughput", place.name, what, Spread.of(spent), "us", "by hand", ratios(spent, limit))
    own = microseconds(loopkit, "own")
    what = "of that the thread of the event loop"
    yield Row("throughput", place.name, what, Spread.of(own), "us", "all of it", ratios(own, spent))
