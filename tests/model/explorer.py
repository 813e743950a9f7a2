"""Breadth-first search through all states, so that the first trace to a broken invariant is a shortest one."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import attrs

from tests.model import protocol
from tests.model.invariants import broken_by, broken_in
from tests.model.world import Message, Work, World, canonical

STUCK: Final = "from every state the run can end without anybody's help"


W = TypeVar("W", bound=Hashable)
W_co = TypeVar("W_co", covariant=True)


class Found(NamedTuple):
    """Result of an exploration."""

    states: int
    steps: int
    broken: str | None = None
    """The invariant that is broken; None when all hold."""
    trace: tuple[str, ...] = ()
    """Steps that lead to the state that breaks it."""


class Step(Protocol[W_co]):
    """Step to a world, as the explorer sees it."""

    @property
    def text(self) -> str: ...

    @property
    def to(self) -> W_co: ...

    @property
    def benign(self) -> bool: ...


S = TypeVar("S", bound=Step[Any])


@attrs.frozen(kw_only=True)
class Model(Generic[W, S]):
    """Steps of a protocol, and what must hold of them."""

    start: W
    steps: Callable[[W], Iterable[S]]
    tidy: Callable[[W], W]
    """Return the one world that stands for all that differ in nothing that matters."""
    has_ended: Callable[[W], bool]
    broken_in: Callable[[W], str | None]
    """Return the invariant that a state breaks, or None."""
    broken_by: Callable[[W, S], str | None]
    """Return the invariant that a step breaks, or None."""


class Explorer(Generic[W, S]):
    """Exploration of a model."""

    def __init__(self, model: Model[W, S]) -> None:
        self._model = model
        self._numbers: dict[W, int] = {model.start: 0}
        self._came: list[tuple[int, str]] = [(-1, "")]
        self._back: list[list[int]] = [[]]
        """For each state, the states from which a benign step leads to it."""
        self._ended: list[int] = []
        self._steps = 0

    def explore(self) -> Found:
        """Visit every state up to the first that breaks an invariant, then find states from which no run can end."""
        model, waiting = self._model, deque(self._numbers)
        while waiting:
            world = waiting.popleft()
            number = self._numbers[world]
            if model.has_ended(world):
                self._ended.append(number)
            for step in model.steps(world):
                self._steps += 1
                to = model.tidy(step.to)
                other = self._numbers.setdefault(to, len(self._came))
                is_new = other == len(self._came)
                broken = model.broken_by(world, step) or (model.broken_in(to) if is_new else None)
                if broken is not None:
                    return self._found(broken, (*self._trace(number), step.text))
                if is_new:
                    self._came.append((number, step.text))
                    self._back.append([])
                    waiting.append(to)
                if step.benign and other != number:
                    self._back[other].append(number)
        if (stuck := self._first_stuck()) is not None:
            return self._found(STUCK, self._trace(stuck))
        return self._found(None, ())

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


def explore(protocol: protocol.Protocol, *, symmetric: bool = False) -> Found:
    """Explore a protocol; with ``symmetric``, count states that differ only in the runners' names once."""
    is_symmetric = symmetric and protocol.symmetric
    model = Model(
        start=canonical(protocol.start(), symmetric=False),
        steps=protocol.steps,
        tidy=lambda world: _tidy(world, symmetric=is_symmetric),
        has_ended=lambda world: world.row.status.ended,
        broken_in=broken_in,
        broken_by=broken_by,
    )
    return Explorer(model).explore()


def _tidy(world: World, *, symmetric: bool) -> World:
    """Drop the last write when no caller can ask about it any more, and rename."""
    if world.last is not None:
        asked = [Message(*work) for work in world.works if isinstance(work, Work) and work.sent is not None]
        if world.last not in asked:
            world = world._replace(last=None)
    return canonical(world, symmetric=symmetric)
