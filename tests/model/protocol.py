"""The protocol, as steps from world to world. What happens to the run is asked of :mod:`loopkit.core.machine`.

Each method is one rule, so that a planted bug is one override. A step tells what it did, for the checker.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import ClassVar, NamedTuple

from loopkit.core import machine
from loopkit.core.journal import Change, Next
from loopkit.core.run import RunStatus
from loopkit.errors import RunEnded, RunNotEnded
from tests.model.world import (
    OTHER,
    SCORES,
    Kept,
    Known,
    Lease,
    Message,
    Plan,
    Row,
    Stage,
    Work,
    World,
    artifacts_of,
    change_of,
    fold,
    leases_in,
    resumed,
    run_of,
)

NAMES = "AB"
NOTHING = Known(Stage.PRODUCING, 1, None, None)
"""What a heartbeat says of the run."""


class Step(NamedTuple):
    """One thing that may happen."""

    text: str
    to: World
    lease: Lease | None = None
    """The lease under which the store accepted something."""
    claims: bool = False
    acknowledged: Message | None = None
    """The write that its sender now believes to be done."""
    kind: bool = True
    """It is no fault and no person's wish: a run must be able to end by such steps alone."""


class Protocol:
    """What loopkit does."""

    symmetric: ClassVar[bool] = True
    """The runners have no names, so that swapping them changes nothing."""

    def start(self) -> World:
        """A run that was just queued."""
        return World()

    def steps(self, world: World) -> Iterator[Step]:
        """Everything that may happen next."""
        row = world.row
        if row.status is RunStatus.RUNNING and not row.silent:
            yield Step("time passes: the heartbeat is too old now", world._replace(row=row._replace(silent=True)))
        for number, work in enumerate(world.works):
            if isinstance(work, Work):
                yield from self.working(world, number, work)
            else:
                yield from self.idle(world, number)
        yield from self.people(world)
        yield from self.others(world)
        if world.wire is not None:
            yield from self.arrival(world, world.wire)

    # --- The store -------------------------------------------------------------------------------------------------

    def holds(self, row: Row, lease: Lease) -> bool:
        """The fence that every write of a holder wears."""
        return row.status is RunStatus.RUNNING and row[7:10] == lease[:3]

    def claimable(self, row: Row) -> bool:
        """Whether a run may be claimed or taken over."""
        if row.status is RunStatus.QUEUED:
            return not row.claimed
        return row.status is RunStatus.RUNNING and row.silent

    def ends_when_met(self, row: Row) -> bool:
        """Whether a claim ends the run instead: its cancellation was requested and nobody works it."""
        return row.cancel and (row.status is RunStatus.QUEUED or (row.status is RunStatus.RUNNING and row.silent))

    def choose(self, row: Row, change: Change) -> Next:
        """Pick the way that a change goes."""
        return change.cancelled if row.cancel else change.then

    def change(self, known: Known, plan: Plan) -> Change:
        """What a runner computes before it writes."""
        return change_of(known, plan)

    def lose(self, row: Row) -> int:
        """The count of lost runners after a claim of this row."""
        return row.lost + 1 if row.status is RunStatus.RUNNING else row.lost

    def lease(self, world: World, number: int) -> Lease:
        """Draw a lease for a claim."""
        claim = 1 + max((lease.claim for lease in leases_in(world)), default=0, key=int)
        claim = max(claim, (world.row.claim or 0) + 1)
        return Lease(world.row.token + 1, claim, claim, claim)

    def claimed(self, row: Row, kept: tuple[Kept, ...]) -> Next:
        """Ask the machine what a claim makes of the run."""
        return machine.claimed(run_of(row), artifacts_of(kept), claimed_by="")

    def resume(self, kept: tuple[Kept, ...]) -> Known:
        """Where a runner goes on after a claim."""
        return resumed(kept)

    def go(self, row: Row, to: Next) -> Row:
        """Put the row into the state decided."""
        row = row._replace(status=to.status, stage=to.stage, attempt=to.attempt)
        if to.status is RunStatus.RUNNING:
            return row
        row = row._replace(lease_id=None, claim=None, silent=False)
        if to.status is RunStatus.QUEUED:
            return self.released(row)
        return row._replace(error=to.error_message)

    def released(self, row: Row) -> Row:
        """What giving a run back leaves in the row."""
        return row._replace(claimed=False, holder=None)

    def tell(self, world: World, row: Row, to: Next, change: Change | None = None) -> World:
        """Write the row and the events that go with it."""
        events = (*(change.events if change else ()), *to.events)
        return world._replace(row=row, told=fold(world.told, events, row.attempt))

    def keep(self, kept: tuple[Kept, ...], new: Kept) -> tuple[Kept, ...] | None:
        """Store an artifact; None where there is one of that attempt and kind."""
        if any(one[:2] == new[:2] for one in kept):
            return None
        return (*kept, new)

    def write(self, world: World, message: Message) -> World | None:
        """Write a change under a lease; None: refused, and nothing was written."""
        row = world.row
        if not self.holds(row, message.lease):
            return None
        assert message.plan is not None
        change = self.change(message.known, message.plan)
        kept, lost, losses = world.kept, row.lost, world.losses
        if change.artifact is not None:
            stored = self.keep(
                kept, Kept(change.artifact.attempt, change.artifact.artifact_type, change.artifact.score)
            )
            if stored is None:
                return None
            kept = stored
        if change.finishes_stage:
            lost, losses = self.reset(row), 0
        to = self.choose(row, change)
        row = row._replace(score=change.final_score, best=change.best_attempt, lost=lost, silent=False)
        written = world._replace(kept=kept, losses=losses, last=message)
        return self.tell(written, self.go(row, to), to, change)

    def reset(self, row: Row) -> int:
        """The count of lost runners after a finished stage."""
        return 0

    def was_written(self, world: World, message: Message) -> bool:
        """What the read-back under the lock finds."""
        return world.last == message

    def renew(self, world: World, lease: Lease) -> World | None:
        """A heartbeat; None: the lease is lost."""
        if not self.holds(world.row, lease):
            return None
        return world._replace(row=world.row._replace(silent=False))

    # --- A runner --------------------------------------------------------------------------------------------------

    def idle(self, world: World, number: int) -> Iterator[Step]:
        """A runner without work claims what it can."""
        if self.ends_when_met(world.row):
            end = machine.cancel(run_of(world.row)).end
            assert end is not None
            ended = self.tell(world, self.go(world.row, end), end)
            yield Step(f"{NAMES[number]} meets the run and ends it as cancelled", ended)
        elif self.claimable(world.row):
            yield self.claim(world, number)

    def claim(self, world: World, number: int) -> Step:
        """Claim a queued run, or take a stalled one over; the last loss of a run ends it."""
        row, lost = world.row, self.lose(world.row)
        losses = world.losses + (row.status is RunStatus.RUNNING)
        decision = self.claimed(row, world.kept)
        if decision.status.ended:
            ended = self.tell(world._replace(losses=losses), self.go(row._replace(lost=lost), decision), decision)
            return Step(f"{NAMES[number]} gives the run up: its runners were lost", ended)
        lease = self.lease(world, number)
        row = row._replace(claimed=True, silent=False, lost=lost, claim=lease.claim)
        row = self.go(row._replace(token=lease.token, lease_id=lease.lease_id, holder=lease.holder), decision)
        work = Work(lease, self.resume(world.kept))
        told = self.tell(self.doing(world._replace(losses=losses), number, work), row, decision)
        verb = "takes the run over" if world.row.status is RunStatus.RUNNING else "claims the run"
        return Step(f"{NAMES[number]} {verb} and begins {work.known.stage} {work.known.attempt}", told, claims=True)

    def doing(self, world: World, number: int, work: Work | Row | None) -> World:
        """Change what one runner does."""
        works = (*world.works[:number], work, *world.works[number + 1 :])
        return world._replace(works=works)

    def working(self, world: World, number: int, work: Work) -> Iterator[Step]:
        """A runner writes what came of its stage, beats, or dies."""
        yield Step(f"{NAMES[number]} is killed", self.doing(world, number, None), kind=False)
        if work.sent is not None:
            yield from self.asking_again(world, number, work)
            return
        for plan in self.plans(world, work.known):
            yield from self.writing(world, number, work, plan)
        yield from self.beating(world, number, work)

    def plans(self, world: World, known: Known) -> Iterator[Plan]:
        """What a runner may come to write: its stage's result or error, a release, or a cancel that it heard of."""
        if known.stage is Stage.EVALUATING:
            for score in SCORES[known.attempt]:
                yield Plan("score", score)
        else:
            yield Plan("output")
        yield Plan("error")
        yield Plan("release")
        if world.row.cancel:
            yield Plan("cancel")

    def writing(self, world: World, number: int, work: Work, plan: Plan) -> Iterator[Step]:
        """The write arrives and is answered, or its answer is lost, or it hangs in the network."""
        name, message = NAMES[number], Message(work.lease, work.known, plan)
        what = f"{plan.what} {'' if plan.score is None else f'{plan.score} '}of {work.known.stage} {work.known.attempt}"
        wanted = plan.what in {"output", "score", "cancel"}
        after = self.write(world, message)
        unsure = work._replace(sent=plan)
        if after is None:
            yield self.refused(f"{name} writes its {what} and is refused", world, number, message)
        else:
            answered = self.answered(f"{name} writes its {what}", after, number, message)
            yield answered._replace(lease=work.lease, kind=wanted)
        if self.in_trouble(world):
            return
        if after is not None:
            lost = self.doing(after, number, unsure)
            yield Step(f"{name} writes its {what}, and the answer is lost", lost, work.lease, kind=False)
        if plan.what in {"output", "score", "release"}:
            hung = self.doing(world, number, unsure)._replace(wire=message)
            yield Step(f"{name} writes its {what}, and the call hangs", hung, kind=False)

    def in_trouble(self, world: World) -> bool:
        """Whether the network already does harm: one call at a time is lost or late."""
        return world.wire is not None or any(isinstance(work, Work) and work.sent is not None for work in world.works)

    def asking_again(self, world: World, number: int, work: Work) -> Iterator[Step]:
        """A write without an answer is made again, after a look whether it is there."""
        name, message = NAMES[number], Message(work.lease, work.known, work.sent)
        assert work.sent is not None
        if self.was_written(world, message):
            yield self.answered(f"{name} finds that its {work.sent.what} was written", world, number, message)
        elif (after := self.write(world, message)) is None:
            yield self.refused(f"{name} writes its {work.sent.what} again and is refused", world, number, message)
        else:
            again = self.answered(f"{name} writes its {work.sent.what} again", after, number, message)
            yield again._replace(lease=work.lease)

    def answered(self, text: str, world: World, number: int, message: Message) -> Step:
        """The runner goes on with the run as the store gave it."""
        row, work = world.row, None
        if row.status is RunStatus.RUNNING and self.holds(row, message.lease) and row.stage is not None:
            work = Work(message.lease, Known(row.stage, row.attempt, row.score, row.best))
        return Step(text, self.doing(world, number, work), acknowledged=message)

    def refused(self, text: str, world: World, number: int, message: Message) -> Step:
        """The runner drops what it has: the run is no longer its own."""
        return Step(text, self.doing(world, number, None))

    def beating(self, world: World, number: int, work: Work) -> Iterator[Step]:
        """A heartbeat is answered, or hangs in the network."""
        name, after = NAMES[number], self.renew(world, work.lease)
        if after is None:
            yield Step(f"{name} beats and hears that its lease is lost", self.doing(world, number, None))
        elif after.row.silent != world.row.silent:
            yield Step(f"{name} beats", after, work.lease)
        if not self.in_trouble(world):
            hung = world._replace(wire=Message(work.lease, NOTHING, None))
            yield Step(f"{name} beats, and the call hangs", hung, kind=False)

    def arrival(self, world: World, message: Message) -> Iterator[Step]:
        """A call that hung arrives at last, or never."""
        landed = world._replace(wire=None)
        yield Step("the hanging call is lost", landed, kind=False)
        if message.plan is None:
            after, what = self.renew(landed, message.lease), "heartbeat"
        else:
            after, what = self.write(landed, message), message.plan.what
        if after is None:
            yield Step(f"the hanging {what} arrives and is refused", landed)
        else:
            yield Step(f"the hanging {what} arrives", after, message.lease)

    # --- People and other programs -----------------------------------------------------------------------------------

    def people(self, world: World) -> Iterator[Step]:
        """Somebody asks for the run to be cancelled, or to be retried."""
        with suppress(RunEnded):
            yield Step("a person cancels the run", self.request_cancel(world), kind=False)
        with suppress(RunNotEnded):
            yield Step("a person retries the run", self.retry(world), kind=False)

    def request_cancel(self, world: World) -> World:
        """Write the request; end the run where nobody works it."""
        decision = machine.cancel(run_of(world.row))
        row = world.row._replace(cancel=world.row.cancel or decision.request)
        asked = world._replace(row=row, told=fold(world.told, decision.events, row.attempt))
        return asked if decision.end is None else self.tell(asked, self.go(row, decision.end), decision.end)

    def retry(self, world: World) -> World:
        """Make a new run like an ended one; this world's run stays as it is."""
        new = machine.retry(run_of(world.row))
        assert (new.retry_of, new.max_attempts) == ("run_1", run_of(world.row).max_attempts)
        return world

    def others(self, world: World) -> Iterator[Step]:
        """Another program claims a queued run, or asks for its cancellation, by plain SQL."""
        row = world.row
        if row.status is RunStatus.QUEUED and not row.claimed:
            claim = 1 + max((lease.claim for lease in leases_in(world)), default=0, key=int)
            taken = row._replace(status=RunStatus.RUNNING, claimed=True, holder=OTHER, claim=claim)
            yield Step("another program claims the run by SQL", world._replace(row=taken), kind=False)
        if not row.status.ended and not row.cancel:
            asked = world._replace(row=row._replace(cancel=True))
            yield Step("another program writes a cancel request by SQL", asked, kind=False)
