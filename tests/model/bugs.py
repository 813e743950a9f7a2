"""Protocols with one bug each, taken from incidents in other systems. The explorer finds every one of them."""

from collections.abc import Callable, Iterator
from typing import ClassVar, Final

import attrs

from loopkit.core.journal import Change, Next
from loopkit.core.run import RunStatus, Stage
from loopkit.errors import RunEnded
from tests.model import explorer, invariants
from tests.model.protocol import NAMES, Protocol, Step
from tests.model.world import Kept, Known, Lease, Message, Plan, Row, Work, World, change_of, resumed

BUGS: Final[dict[type[Protocol], tuple[str, str]]] = {}
"""Each protocol with a bug, with its incident and the invariant that it breaks first."""


def planted(incident: str, broken: str) -> Callable[[type[Protocol]], type[Protocol]]:
    """Register a bug with its incident and the invariant that it breaks."""

    def note(bug: type[Protocol]) -> type[Protocol]:
        BUGS[bug] = (incident, broken)
        return bug

    return note


class Calm(Protocol):
    """Protocol with a network that never fails: enough to find states from which a run cannot end, and much smaller."""

    def in_trouble(self, world: World) -> bool:
        return True


@planted("Kleppmann 2016: the paused holder wakes and writes", invariants.FENCED)
class NoFence(Protocol):
    """A write needs only that the run is running."""

    def holds(self, row: Row, lease: Lease) -> bool:
        return row.status is RunStatus.RUNNING


@planted("oban#862: a reused node name passes for its predecessor", invariants.FENCED)
class FenceByName(Protocol):
    """The holder is named after its host, and a write is checked by that name alone."""

    symmetric: ClassVar[bool] = False

    def lease(self, world: World, number: int) -> Lease:
        return super().lease(world, number)._replace(holder=-10 - number)

    def holds(self, row: Row, lease: Lease) -> bool:
        return row.status is RunStatus.RUNNING and row.holder == lease.holder


@planted("Kleppmann 2016: a lease without a growing token", invariants.TOKEN)
class TakeOverKeepsTheToken(Protocol):
    """A take-over keeps the fencing token instead of incrementing it."""

    def lease(self, world: World, number: int) -> Lease:
        lease, row = super().lease(world, number), world.row
        if row.status is not RunStatus.RUNNING or row.lease_id is None or row.holder is None:
            return lease
        return lease._replace(token=row.token, lease_id=row.lease_id, holder=row.holder)


@planted("airflow#12396: failed after it had succeeded", invariants.ABSORBING)
class FenceWithoutStatus(Protocol):
    """A write is checked by token and holder, which an ended run keeps, and not by its status."""

    def holds(self, row: Row, lease: Lease) -> bool:
        return (row.token, row.holder) == (lease.token, lease.holder)


@planted("temporal#12016: a late clean-up of the old owner hits its successor", invariants.FENCED)
class UnfencedRelease(Protocol):
    """A release is considered harmless and needs no lease."""

    def write(self, world: World, message: Message) -> World | None:
        if message.plan == Plan("release") and world.row.status is RunStatus.RUNNING:
            row = world.row
            message = message._replace(lease=Lease(row.token, row.lease_id, row.holder, message.lease.claim))  # type: ignore[arg-type]
        return super().write(world, message)


@planted("procrastinate#1518: a reused worker id keeps another's job alive", invariants.FENCED)
class UnfencedHeartbeat(Protocol):
    """A heartbeat renews the lease of the row, whoever holds it."""

    def renew(self, world: World, lease: Lease) -> World | None:
        if world.row.status is not RunStatus.RUNNING:
            return None
        return world._replace(row=world.row._replace(silent=False))


@planted("PrefectHQ/prefect#16459: heartbeats touch runs that have finished", invariants.ABSORBING)
class HeartbeatWithoutStatus(Protocol):
    """A late heartbeat makes an ended run look alive again."""

    def renew(self, world: World, lease: Lease) -> World | None:
        if world.row.status.ended and world.row.token == lease.token:
            return world._replace(row=world.row._replace(status=RunStatus.RUNNING, stage=Stage.PRODUCING))
        return super().renew(world, lease)


@planted("a restored backup: the same token is drawn twice", invariants.LEASE)
class EndKeepsTheLease(Protocol):
    """An ended run keeps its lease id."""

    def go(self, row: Row, to: Next) -> Row:
        gone = super().go(row, to)
        return gone._replace(lease_id=row.lease_id) if to.status.ended else gone


class _LooksFirst(Protocol):
    """A claim reads in one transaction and writes in another."""

    def looks_at(self, row: Row) -> bool:
        raise NotImplementedError

    def still_takes(self, row: Row) -> bool:
        raise NotImplementedError

    def idle(self, world: World, number: int) -> Iterator[Step]:
        seen = world.works[number]
        if isinstance(seen, Row):
            if self.still_takes(world.row):
                yield self.claim(self.doing(world, number, None)._replace(row=world.row), number)
            yield Step(f"{NAMES[number]} forgets what it saw", self.doing(world, number, None))
        elif self.looks_at(world.row):
            yield Step(f"{NAMES[number]} looks and sees a free run", self.doing(world, number, Row()))
        elif self.ends_when_met(world.row):
            yield from super().idle(world, number)


@planted("dbos-transact-ts#1219: two recoverers start the same run", invariants.CLAIM)
class LooksThenClaims(_LooksFirst):
    """Two runners see one queued run, and both claim it."""

    def looks_at(self, row: Row) -> bool:
        return self.claimable(row) and not row.cancel

    def still_takes(self, row: Row) -> bool:
        return not row.status.ended and not row.cancel


@planted("river#1302: rescued by a stale snapshot", invariants.ABSORBING)
class RescuesFromASnapshot(_LooksFirst):
    """A rescuer that read a stalled run puts it back into the queue, although it has completed meanwhile."""

    def looks_at(self, row: Row) -> bool:
        return self.claimable(row) and not row.cancel

    def still_takes(self, row: Row) -> bool:
        return self.claimable(row) or row.status.ended

    def claim(self, world: World, number: int) -> Step:
        if not world.row.status.ended:
            return super().claim(world, number)
        queued = world.row._replace(status=RunStatus.QUEUED, claimed=False, holder=None)
        return Step(f"{NAMES[number]} puts the run back", world._replace(row=queued))


@planted("pgqueuer#431: the heartbeat's interval is the timeout", invariants.CLAIM)
class TakesOverTheLiving(Protocol):
    """A running run may be taken over at any time."""

    def claimable(self, row: Row) -> bool:
        return row.status is RunStatus.RUNNING or super().claimable(row)


@planted("airflow#46777: a run without a heartbeat is never reaped", explorer.STUCK)
class NeverTakesOver(Calm):
    """Only queued runs are claimed."""

    def claimable(self, row: Row) -> bool:
        return row.status is RunStatus.QUEUED and not row.claimed


@planted("procrastinate#1518: a job whose worker's row is gone is never found", explorer.STUCK)
class TakesOverOnlyItsOwn(Calm):
    """A take-over needs a lease id, so a run that another program claimed stays stuck."""

    def claimable(self, row: Row) -> bool:
        return super().claimable(row) and not (row.status is RunStatus.RUNNING and row.lease_id is None)


@planted("langgraph#7780: a resumed run starts from the top", invariants.RESUMES)
class StartsAgain(Protocol):
    """A new holder ignores the finished stages."""

    def resume(self, kept: tuple[Kept, ...]) -> Known:
        return resumed(())


@planted("sidekiq: a poison pill takes every process down", invariants.LOSSES)
class NoPoisonLimit(Protocol):
    """A run may lose any number of runners."""

    def lose(self, row: Row) -> int:
        return min(row.lost + (row.status is RunStatus.RUNNING), 1)

    def claimed(self, row: Row, kept: tuple[Kept, ...]) -> Next:
        return super().claimed(row._replace(lost=0), kept)


@planted("river#682: rescued for its age, though it goes on", invariants.LOSSES)
class LossesAreNeverForgiven(Protocol):
    """A finished stage does not reset the number of lost runners."""

    def reset(self, row: Row) -> int:
        return row.lost


@planted("river#1290: a drained job loses an attempt", invariants.LOSSES)
class ReleasesCountAsLosses(Protocol):
    """The claim of a released run counts as a lost runner."""

    def lose(self, row: Row) -> int:
        return row.lost + 1 if row.token else row.lost


@planted("river#1290: a drained job loses an attempt", invariants.RELEASE)
class ReleaseUsesAnAttempt(Protocol):
    """A release uses up an attempt."""

    def released(self, row: Row) -> Row:
        return super().released(row)._replace(attempt=min(row.attempt + 1, 3))


@planted("oban#1365: orphans of dead producers stay", invariants.UNCLAIMED)
class ReleaseKeepsTheClaim(Protocol):
    """A released run still looks claimed, so that no runner claims it."""

    def released(self, row: Row) -> Row:
        return row


@planted("FoundationDB's record layer: an unknown commit blindly made again", invariants.RESULTS)
class BlindRetry(Protocol):
    """A write without an answer is repeated without reading back, and results are not unique."""

    def was_written(self, world: World, message: Message) -> bool:
        return False

    def keep(self, kept: tuple[Kept, ...], new: Kept) -> tuple[Kept, ...] | None:
        return (*kept, new)


@planted("get-convex/convex-backend#559: read back without the lock", invariants.TOLD)
class LastWriteWins(Protocol):
    """A result that comes twice replaces the first."""

    def keep(self, kept: tuple[Kept, ...], new: Kept) -> tuple[Kept, ...] | None:
        return (*(one for one in kept if one[:2] != new[:2]), new)


@planted("solid_queue#589: deleting a claim that is gone raises nothing", invariants.ACKNOWLEDGED)
class RefusalsLookLikeSuccess(Protocol):
    """A refused write gets the answer of an accepted one."""

    def refused(self, text: str, world: World, number: int, message: Message) -> Step:
        return self.answered(text, world, number, message)


@planted("NATS 2.12.1: acknowledged before it was durable", invariants.ACKNOWLEDGED)
class AcknowledgesTooEarly(Protocol):
    """The answer is sent before the write is durable, and the write is lost."""

    def writing(self, world: World, number: int, work: Work, plan: Plan) -> Iterator[Step]:
        yield from super().writing(world, number, work, plan)
        message = Message(work.lease, work.known, plan)
        yield self.answered(
            f"{NAMES[number]} hears that its {plan.what} is written, and the power fails", world, number, message
        )


@planted("dbos-transact-py#773: outcome and state in two transactions", invariants.ACKNOWLEDGED)
class TwoTransactions(Protocol):
    """The next state is written first, and the result in a second transaction."""

    def write(self, world: World, message: Message) -> World | None:
        after = super().write(world, message)
        return None if after is None else after._replace(kept=world.kept)


@planted("eventuous#222: events are written out of order", invariants.TOLD)
class TellsNothingOfResults(Protocol):
    """Results are stored without their events."""

    def change(self, known: Known, plan: Plan) -> Change:
        change = super().change(known, plan)
        return attrs.evolve(change, events=()) if change.artifact is not None else change


@planted("PrefectHQ/prefect#17482: kept running after it was cancelled", invariants.CANCEL_WINS)
class CancelLostAtTheEnd(Protocol):
    """The request is checked between stages, and not when the end is written."""

    def choose(self, row: Row, change: Change) -> Next:
        return change.then if change.then.status.ended else super().choose(row, change)


@planted("temporalio/sdk-python#700: a cancel arrives only if the user's code asks", invariants.NO_STAGE)
class CancelSeenOnlyAtTheEnd(Protocol):
    """The next stage begins although there is a request."""

    def choose(self, row: Row, change: Change) -> Next:
        return change.then if change.then.stage is not None else super().choose(row, change)


@planted("PrefectHQ/prefect#22072: a cancel had no effect on a hung run", explorer.STUCK)
class NobodyEndsTheDead(Calm):
    """A stalled run with a request is neither ended nor claimed, but left to its dead runner."""

    def ends_when_met(self, row: Row) -> bool:
        return False

    def claimable(self, row: Row) -> bool:
        return super().claimable(row) and not row.cancel

    def request_cancel(self, world: World) -> World:
        if world.row.status is RunStatus.RUNNING:
            return super().request_cancel(world._replace(row=world.row._replace(silent=False)))
        return super().request_cancel(world)


@planted("inngest/inngest#2531: cancelled and running at once", invariants.NO_STAGE)
class WorksCancelledRuns(Protocol):
    """A claim ignores the request."""

    def ends_when_met(self, row: Row) -> bool:
        return False


@planted("absurd 0.4.0: terminal states were not final", invariants.ABSORBING)
class CancelsEndedRuns(Protocol):
    """A cancel request turns a passed run into a cancelled one."""

    def request_cancel(self, world: World) -> World:
        try:
            return super().request_cancel(world)
        except RunEnded:
            return world._replace(row=world.row._replace(status=RunStatus.CANCELLED, cancel=True))


@planted("mastra-ai/mastra#19056: re-driven in place", invariants.ABSORBING)
class RetryReopens(Protocol):
    """A retry puts the ended run back into the queue."""

    def retry(self, world: World) -> World:
        super().retry(world)
        return world._replace(row=world.row._replace(status=RunStatus.QUEUED, claimed=False, holder=None))


@planted("NVIDIA-NeMo/Evaluator PR #1094: an unreadable verdict is stored as 0", invariants.SCORES_GIVEN)
class ErrorsAreZero(Protocol):
    """A failed evaluation counts as the lowest score."""

    def change(self, known: Known, plan: Plan) -> Change:
        failed = plan.what == "error" and known.stage is Stage.EVALUATING
        return super().change(known, Plan("score", 0.0) if failed else plan)


@planted("tenstorrent/tt-metal#44155: the last draft is kept, not the best", invariants.BEST)
class KeepsTheLastScore(Protocol):
    """The final score is that of the newest attempt."""

    def change(self, known: Known, plan: Plan) -> Change:
        change = super().change(known, plan)
        if change.artifact is None or change.artifact.score is None:
            return change
        return attrs.evolve(change, final_score=change.artifact.score, best_attempt=change.artifact.attempt)


@planted("gitmoot/gitmoot#139: an equal draft replaces the one before", invariants.BEST)
class LatestOfEquals(Protocol):
    """Of two equal scores the later attempt is the best."""

    def change(self, known: Known, plan: Plan) -> Change:
        change = super().change(known, plan)
        if plan.score is not None and plan.score == change.final_score:
            return attrs.evolve(change, best_attempt=known.attempt)
        return change


@planted("retries counted from zero give one attempt too many", invariants.ATTEMPTS)
class OneAttemptTooMany(Protocol):
    """The last attempt is followed by another."""

    def change(self, known: Known, plan: Plan) -> Change:
        if plan.what == "score" and known.attempt == 3 and plan.score == 0.6:
            low = change_of(known._replace(attempt=1), plan)
            again = attrs.evolve(low.then, attempt=4)
            return attrs.evolve(super().change(known, plan), then=again)
        return super().change(known, plan)
