"""Model calls, verdicts and spending that a process adds to every change of its runner, and what was acknowledged.

A call is sent with each change until one is acknowledged, as a runner does: what a change adds to the sums is counted
from what is known to be stored. The draws have seeds of their own, so they take no chance from a schedule.
"""

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs

from loopkit import Run
from loopkit.core.journal import Change, NewArtifact
from loopkit.core.lease import Lease
from loopkit.core.ledger.calls import ModelCall, spending_of
from loopkit.core.ledger.sums import SUM_NAMES, Spending
from loopkit.core.panel.verdict import Verdict
from loopkit.core.run import Stage
from loopkit.testing.steps import new_call, new_verdict

if TYPE_CHECKING:
    from tests.simulation.world import World

MOST_VERSIONS = 3
"""Times that a call is written with something new; the number of the version stands in its input tokens."""


@attrs.define
class Book:
    """Ledger of one held run, as its holder knows it."""

    sums: Spending
    stored: dict[str, ModelCall] = attrs.field(factory=dict)
    waiting: dict[str, ModelCall] = attrs.field(factory=dict)
    verdicts: dict[tuple[int, str], Verdict] = attrs.field(factory=dict)
    """Verdicts that are not known to be stored, by attempt and name."""
    artifact: NewArtifact | None = None
    """Result in the runner's last change; sent again it has the same calls, since it may be stored."""

    def add_to(self, change: Change, chance: random.Random) -> Change:
        """Return the change with drawn calls and verdicts."""
        if change.artifact is None or change.artifact is not self.artifact:
            self.artifact = change.artifact
            self._draw(change.run, chance)
        before = spending_of(self.stored[call_id] for call_id in self.waiting if call_id in self.stored)
        after = spending_of(self.waiting.values())
        spending = Spending(
            input_tokens=after.input_tokens - before.input_tokens,
            cost_nanos=None if after.cost_nanos is None else after.cost_nanos - (before.cost_nanos or 0),
            unpriced_calls=after.unpriced_calls - before.unpriced_calls,
        )
        return attrs.evolve(
            change,
            run=attrs.evolve(change.run, **{name: getattr(self.sums, name) for name in SUM_NAMES}),
            calls=(*change.calls, *self.waiting.values()),
            verdicts=(*change.verdicts, *self.verdicts.values()),
            spending=change.spending.plus(spending),
        )

    def note_written(self, run: Run) -> None:
        """Note that the last change is stored."""
        self.sums = run.spending
        self.stored.update(self.waiting)
        self.waiting.clear()
        self.verdicts.clear()

    def _draw(self, run: Run, chance: random.Random) -> None:
        stage, attempt = run.current_stage, run.current_attempt
        assert stage is not None
        for _ in range(chance.choice([0, 0, 1, 2])):
            call = self._drawn_call(stage, attempt, chance)
            self.waiting[call.id] = call
        if stage is Stage.EVALUATING:
            verdict = new_verdict(f"judge {chance.randint(1, 9)}", attempt=attempt)
            self.verdicts[attempt, verdict.name] = verdict

    def _drawn_call(self, stage: Stage, attempt: int, chance: random.Random) -> ModelCall:
        """Return a new call without a price, or the next version of one, which may have a price."""
        known = [call for call in {**self.stored, **self.waiting}.values() if (call.input_tokens or 0) < MOST_VERSIONS]
        if not known or chance.random() < 0.5:
            return new_call(f"{chance.getrandbits(64):x}", stage=stage, attempt=attempt, input_tokens=1)
        call = chance.choice(known)
        price = chance.choice([None, 5]) if call.cost_nanos is None else call.cost_nanos
        return attrs.evolve(call, input_tokens=(call.input_tokens or 0) + 1, cost_nanos=price)


class Booker:
    """Adds to the changes of one process, and tells the world what the store acknowledged."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._books: dict[str, Book] = {}
        """Ledgers of the runs that the process holds, by lease."""

    async def record(self, record: Callable[[Lease, Change], Awaitable[Run]], lease: Lease, change: Change) -> Run:
        """Write a change with what this process adds to it."""
        book = self._books.setdefault(lease.lease_id, Book(change.run.spending))
        number = self._world.booked_changes[lease.run_id]
        self._world.booked_changes[lease.run_id] += 1
        added = book.add_to(change, random.Random(f"{self._world.seed} {lease.run_id} {number}"))
        run = await record(lease, added)
        book.note_written(run)
        self._world.acknowledged_calls.setdefault(run.id, {}).update(
            {call.id: call.input_tokens or 0 for call in added.calls}
        )
        self._world.acknowledged_verdicts.setdefault(run.id, set()).update(
            (verdict.attempt, verdict.name) for verdict in added.verdicts
        )
        return run
