"""Breadth first through every state, so that the first trace to a broken invariant is a shortest one."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from tests.model.invariants import broken_by, broken_in
from tests.model.protocol import Protocol
from tests.model.world import Work, World, canonical

STUCK: Final = "from every state the run can end without anybody's help"


class Found(NamedTuple):
    """What an exploration came to."""

    states: int
    steps: int
    broken: str | None = None
    """The invariant that does not hold."""
    trace: tuple[str, ...] = ()
    """The steps that lead to where it does not."""


class Explorer:
    """One exploration of one protocol."""

    def __init__(self, protocol: Protocol, *, symmetric: bool) -> None:
        self._protocol = protocol
        self._symmetric = symmetric and protocol.symmetric
        start = canonical(protocol.start(), symmetric=False)
        self._numbers: dict[World, int] = {start: 0}
        self._came: list[tuple[int, str]] = [(-1, "")]
        self._back: list[list[int]] = [[]]
        """For each state, those from which a kind step leads to it."""
        self._ended: list[int] = []
        self._steps = 0

    def explore(self) -> Found:
        """Visit every state, or all up to the first that breaks an invariant; then look for states without an end."""
        waiting = deque(self._numbers)
        while waiting:
            world = waiting.popleft()
            number = self._numbers[world]
            if world.row.status.ended:
                self._ended.append(number)
            for step in self._protocol.steps(world):
                self._steps += 1
                to = self._tidy(step.to)
                other = self._numbers.setdefault(to, len(self._came))
                is_new = other == len(self._came)
                broken = broken_by(world, step) or (broken_in(to) if is_new else None)
                if broken is not None:
                    return self._found(broken, (*self._trace(number), step.text))
                if is_new:
                    self._came.append((number, step.text))
                    self._back.append([])
                    waiting.append(to)
                if step.kind and other != number:
                    self._back[other].append(number)
        if (stuck := self._first_stuck()) is not None:
            return self._found(STUCK, self._trace(stuck))
        return self._found(None, ())

    def _tidy(self, world: World) -> World:
        """Forget the last write when nobody can ask about it any more, and rename."""
        if world.last is not None:
            asked = [work for work in world.works if isinstance(work, Work) and work.sent is not None]
            if world.last not in asked:
                world = world._replace(last=None)
        return canonical(world, symmetric=self._symmetric)

    def _first_stuck(self) -> int | None:
        good = bytearray(len(self._came))
        waiting = deque(self._ended)
        for number in waiting:
            good[number] = 1
        while waiting:
            for before in self._back[waiting.popleft()]:
                if not good[before]:
                    good[before] = 1
                    waiting.append(before)
        stuck = good.find(0)
        return None if stuck < 0 else stuck

    def _trace(self, number: int) -> tuple[str, ...]:
        texts = []
        while number > 0:
            number, text = self._came[number]
            texts.append(text)
        return tuple(reversed(texts))

    def _found(self, broken: str | None, trace: tuple[str, ...]) -> Found:
        return Found(len(self._came), self._steps, broken, trace)


def explore(protocol: Protocol, *, symmetric: bool = False) -> Found:
    """Explore a protocol; with ``symmetric``, count states that differ only in the runners' names once."""
    return Explorer(protocol, symmetric=symmetric).explore()
