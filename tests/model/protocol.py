"""The protocol, as steps from world to world. :mod:`loopkit.core.machine` decides what happens to the run.

Each method is one rule, so that a planted bug is one override. A step tells what it did, for the checker.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import ClassVar, NamedTuple

from loopkit.core import machine, run_actions
from loopkit.core.journal import Change, Next
from loopkit.core.run import RunStatus, Stage
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
"""Answers to a heartbeat."""


class Step(NamedTuple):
    """Step from a world to the next."""

    text: str
    to: World
    lease: Lease | None = None
    """The lease with which the store accepted a write; None when it accepted none."""
    claims: bool = False
    acknowledged: Message | None = None
    """The write that its sender now considers done."""
    benign: bool = True
    """True for a step that is neither a fault nor a request of a person. A run must be able to end by such steps."""


class Protocol:
    """Protocol of loopkit."""

    symmetric: ClassVar[bool] = True
    """True when the runners have no names, so that swapping them changes nothing."""

    def start(self) -> World:
        """Return the world with a run that was just queued."""
        return World()

    def steps(self, world: World) -> Iterator[Step]:
        """Yield every step that is possible next."""
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

    def holds(self, row: Row, lease: Lease) -> bool:
        """Return whether a lease is that of the row, which every write of a holder needs."""
        return row.status is RunStatus.RUNNING and row[7:10] == lease[:3]

    def claimable(self, row: Row) -> bool:
        """Return whether a run can be claimed or taken over."""
        if row.status is RunStatus.QUEUED:
            return not row.claimed
        return row.status is RunStatus.RUNNING and row.silent

    def ends_when_met(self, row: Row) -> bool:
        """Return whether a claim ends the run instead: it has a cancel request and no live runner holds it."""
        return row.cancel and (row.status is RunStatus.QUEUED or (row.status is RunStatus.RUNNING and row.silent))

    def choose(self, row: Row, change: Change) -> Next:
        """Return the next state of a change."""
        return change.cancelled if row.cancel else change.then

    def change(self, known: Known, plan: Plan) -> Change:
        """Return the change that a runner computes before it writes."""
        return change_of(known, plan)

    def lose(self, row: Row) -> int:
        """Return the number of lost runners after a claim of this row."""
        return row.lost + 1 if row.status is RunStatus.RUNNING else row.lost

    def lease(self, world: World, number: int) -> Lease:
        """Draw a lease for a claim."""
        claim = 1 + max((lease.claim for lease in leases_in(world)), default=0, key=int)
        claim = max(claim, (world.row.claim or 0) + 1)
        return Lease(world.row.token + 1, claim, claim, claim)

    def claimed(self, row: Row, kept: tuple[Kept, ...]) -> Next:
        """Return the machine's decision about a claim of the run."""
        return machine.decide_claim(run_of(row), artifacts_of(kept), claimed_by="")

    def resume(self, kept: tuple[Kept, ...]) -> Known:
        """Return the work with which a runner continues after a claim."""
        return resumed(kept)

    def go(self, row: Row, to: Next) -> Row:
        """Return the row in the decided state."""
        row = row._replace(status=to.status, stage=to.stage, attempt=to.attempt)
        if to.status is RunStatus.RUNNING:
            return row
        row = row._replace(lease_id=None, claim=None, silent=False)
        if to.status is RunStatus.QUEUED:
            return self.released(row)
        return row._replace(error=to.error_message)

    def released(self, row: Row) -> Row:
        """Return the row as a release leaves it."""
        return row._replace(claimed=False, holder=None)

    def write_row(self, world: World, row: Row, to: Next, change: Change | None = None) -> World:
        """Write the row and its events."""
        events = (*(change.events if change else ()), *to.events)
        return world._replace(row=row, journal=fold(world.journal, events, row.attempt))

    def keep(self, kept: tuple[Kept, ...], new: Kept) -> tuple[Kept, ...] | None:
        """Store an artifact; return None if there is one of that attempt and kind."""
        if any(one[:2] == new[:2] for one in kept):
            return None
        return (*kept, new)

    def write(self, world: World, message: Message) -> World | None:
        """Write a change with a lease; return None if it is refused and nothing was written."""
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
        return self.write_row(written, self.go(row, to), to, change)

    def reset(self, row: Row) -> int:
        """Return the number of lost runners after a finished stage."""
        return 0

    def was_written(self, world: World, message: Message) -> bool:
        """Return what reading back under the lock finds."""
        return world.last == message

    def renew(self, world: World, lease: Lease) -> World | None:
        """Renew a lease; return None if it is lost."""
        if not self.holds(world.row, lease):
            return None
        return world._replace(row=world.row._replace(silent=False))

    def idle(self, world: World, number: int) -> Iterator[Step]:
        """Yield the claims of a runner without work."""
        if self.ends_when_met(world.row):
            end = run_actions.decide_cancel(run_of(world.row)).end
            assert end is not None
            ended = self.write_row(world, self.go(world.row, end), end)
            yield Step(f"{NAMES[number]} meets the run and ends it as cancelled", ended)
        elif self.claimable(world.row):
            yield self.claim(world, number)

    def claim(self, world: World, number: int) -> Step:
        """Claim a queued run, or take over a stalled one; its last allowed loss ends the run."""
        row, lost = world.row, self.lose(world.row)
        losses = world.losses + (row.status is RunStatus.RUNNING)
        decision = self.claimed(row, world.kept)
        if decision.status.ended:
            ended = self.write_row(world._replace(losses=losses), self.go(row._replace(lost=lost), decision), decision)
            return Step(f"{NAMES[number]} gives the run up: its runners were lost", ended)
        lease = self.lease(world, number)
        row = row._replace(claimed=True, silent=False, lost=lost, claim=lease.claim)
        row = self.go(row._replace(token=lease.token, lease_id=lease.lease_id, holder=lease.holder), decision)
        work = Work(lease, self.resume(world.kept))
        claimed = self.write_row(self.doing(world._replace(losses=losses), number, work), row, decision)
        verb = "takes the run over" if world.row.status is RunStatus.RUNNING else "claims the run"
        return Step(f"{NAMES[number]} {verb} and begins {work.known.stage} {work.known.attempt}", claimed, claims=True)

    def doing(self, world: World, number: int, work: Work | Row | None) -> World:
        """Return the world with other work of one runner."""
        works = (*world.works[:number], work, *world.works[number + 1 :])
        return world._replace(works=works)

    def working(self, world: World, number: int, work: Work) -> Iterator[Step]:
        """Yield the steps of a working runner: it writes the outcome of its stage, sends a heartbeat, or dies."""
        yield Step(f"{NAMES[number]} is killed", self.doing(world, number, None), benign=False)
        if work.sent is not None:
            yield from self.asking_again(world, number, work)
            return
        for plan in self.plans(world, work.known):
            yield from self.writing(world, number, work, plan)
        yield from self.beating(world, number, work)

    def plans(self, world: World, known: Known) -> Iterator[Plan]:
        """Yield what a runner may write: the outcome of its stage, a release, or the end by a cancel request."""
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
        """Yield the fates of a write: it is answered, its answer is lost, or it is delayed in the network."""
        name, message = NAMES[number], Message(work.lease, work.known, plan)
        what = f"{plan.what} {'' if plan.score is None else f'{plan.score} '}of {work.known.stage} {work.known.attempt}"
        wanted = plan.what in {"output", "score", "cancel"}
        after = self.write(world, message)
        unsure = work._replace(sent=plan)
        if after is None:
            yield self.refused(f"{name} writes its {what} and is refused", world, number, message)
        else:
            answered = self.answered(f"{name} writes its {what}", after, number, message)
            yield answered._replace(lease=work.lease, benign=wanted)
        if self.in_trouble(world):
            return
        if after is not None:
            lost = self.doing(after, number, unsure)
            yield Step(f"{name} writes its {what}, and the answer is lost", lost, work.lease, benign=False)
        if plan.what in {"output", "score", "release"}:
            hung = self.doing(world, number, unsure)._replace(wire=message)
            yield Step(f"{name} writes its {what}, and the call hangs", hung, benign=False)

    def in_trouble(self, world: World) -> bool:
        """Return whether the network is failing already: only one call at a time is lost or late."""
        return world.wire is not None or any(isinstance(work, Work) and work.sent is not None for work in world.works)

    def asking_again(self, world: World, number: int, work: Work) -> Iterator[Step]:
        """Yield the retry of a write without an answer, after reading back whether it was written."""
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
        """Return the world in which the runner continues with the run as the store returned it."""
        row, work = world.row, None
        if row.status is RunStatus.RUNNING and self.holds(row, message.lease) and row.stage is not None:
            work = Work(message.lease, Known(row.stage, row.attempt, row.score, row.best))
        return Step(text, self.doing(world, number, work), acknowledged=message)

    def refused(self, text: str, world: World, number: int, message: Message) -> Step:
        """Return the world in which the runner drops its work: it no longer holds the run."""
        return Step(text, self.doing(world, number, None))

    def beating(self, world: World, number: int, work: Work) -> Iterator[Step]:
        """Yield the fates of a heartbeat: it is answered, or delayed in the network."""
        name, after = NAMES[number], self.renew(world, work.lease)
        if after is None:
            yield Step(f"{name} beats and hears that its lease is lost", self.doing(world, number, None))
        elif after.row.silent != world.row.silent:
            yield Step(f"{name} beats", after, work.lease)
        if not self.in_trouble(world):
            hung = world._replace(wire=Message(work.lease, NOTHING, None))
            yield Step(f"{name} beats, and the call hangs", hung, benign=False)

    def arrival(self, world: World, message: Message) -> Iterator[Step]:
        """Yield the fates of a delayed call: it arrives at last, or never."""
        landed = world._replace(wire=None)
        yield Step("the hanging call is lost", landed, benign=False)
        if message.plan is None:
            after, what = self.renew(landed, message.lease), "heartbeat"
        else:
            after, what = self.write(landed, message), message.plan.what
        if after is None:
            yield Step(f"the hanging {what} arrives and is refused", landed)
        else:
            yield Step(f"the hanging {what} arrives", after, message.lease)

    def people(self, world: World) -> Iterator[Step]:
        """Yield the requests of people: to cancel the run, or to retry it."""
        with suppress(RunEnded):
            yield Step("a person cancels the run", self.request_cancel(world), benign=False)
        with suppress(RunNotEnded):
            yield Step("a person retries the run", self.retry(world), benign=False)

    def request_cancel(self, world: World) -> World:
        """Write the request, and end the run if no live runner holds it."""
        decision = run_actions.decide_cancel(run_of(world.row))
        row = world.row._replace(cancel=world.row.cancel or decision.request)
        asked = world._replace(row=row, journal=fold(world.journal, decision.events, row.attempt))
        return asked if decision.end is None else self.write_row(asked, self.go(row, decision.end), decision.end)

    def retry(self, world: World) -> World:
        """Queue a new run like an ended one; the run of this world does not change."""
        new = run_actions.decide_retry(run_of(world.row))
        assert (new.retry_of, new.max_attempts) == ("run_1", run_of(world.row).max_attempts)
        return world

    def others(self, world: World) -> Iterator[Step]:
        """Yield the writes of another program with plain SQL: a claim of a queued run, or a cancel request."""
        row = world.row
        if row.status is RunStatus.QUEUED and not row.claimed:
            claim = 1 + max((lease.claim for lease in leases_in(world)), default=0, key=int)
            taken = row._replace(status=RunStatus.RUNNING, claimed=True, holder=OTHER, claim=claim)
            yield Step("another program claims the run by SQL", world._replace(row=taken), benign=False)
        if not row.status.ended and not row.cancel:
            asked = world._replace(row=row._replace(cancel=True))
            yield Step("another program writes a cancel request by SQL", asked, benign=False)
