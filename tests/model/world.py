"""Values of the model: every state of two runners, one run, the network and the clock.

What is *true* stands apart from what the protocol compares: ``claim`` numbers are drawn for the checker alone, while
token, lease_id and holder are what a store sees. Numbers are renamed after each step, so that only their order and
their equality make states different and the number of states is finite.
"""

from datetime import UTC, datetime
from functools import cache
from typing import Final, NamedTuple

from loopkit.core import machine, strict_json
from loopkit.core.journal import Artifact, ArtifactType, Change, EventType, NewEvent
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome, Produced
from loopkit.core.resumption import decide_resumption
from loopkit.core.run import Run, RunStatus, Stage

MAX_ATTEMPTS: Final = 3
THRESHOLD: Final = 0.9
SCORES: Final = {1: (0.6, 0.9), 2: (0.3, 0.9), 3: (0.6, 0.9)}
"""Scores that an evaluator may return in each attempt: worse than before, equal to the best, and just enough."""

OTHER: Final = -1
"""Name of another program as a holder."""

OUTPUT: Final = ArtifactType.OUTPUT
EVALUATION: Final = ArtifactType.EVALUATION


class Lease(NamedTuple):
    token: int
    lease_id: int
    holder: int
    claim: int
    """True number of the claim, which the protocol does not see."""


class Row(NamedTuple):
    """Row of the run, with the true number of its claim."""

    status: RunStatus = RunStatus.QUEUED
    stage: Stage | None = None
    attempt: int = 1
    score: float | None = None
    best: int | None = None
    error: str | None = None
    claimed: bool = False
    """True when claimed_at is set."""
    token: int = 0
    lease_id: int | None = None
    holder: int | None = None
    lost: int = 0
    silent: bool = False
    """True when the last heartbeat is older than the stall time."""
    cancel: bool = False
    claim: int | None = None


class Kept(NamedTuple):
    """Stored artifact."""

    attempt: int
    kind: ArtifactType
    score: float | None = None


class Known(NamedTuple):
    """Run as a runner knows it."""

    stage: Stage
    attempt: int
    score: float | None
    best: int | None


class Plan(NamedTuple):
    """Write that a runner is about to make."""

    what: str
    """``output``, ``score``, ``error``, ``release`` or ``cancel``."""
    score: float | None = None


class Message(NamedTuple):
    """Call on its way to the store: a write, or a heartbeat (without a plan)."""

    lease: Lease
    known: Known
    plan: Plan | None


class Work(NamedTuple):
    """Work of a runner that believes that it holds the run."""

    lease: Lease
    known: Known
    sent: Plan | None = None
    """The write that was sent and has no answer yet."""


class JournalState(NamedTuple):
    """State of the run as a reader of its events alone sees it."""

    status: RunStatus = RunStatus.QUEUED
    stage: Stage | None = None
    attempt: int = 1
    results: tuple[tuple[int, ArtifactType], ...] = ()
    error: bool = False
    reason: str | None = None


class World(NamedTuple):
    row: Row = Row()
    kept: tuple[Kept, ...] = ()
    journal: JournalState = JournalState()
    works: tuple[Work | Row | None, ...] = (None, None)
    """Work of each runner, or None, or (in broken protocols) a row that it read before."""
    wire: Message | None = None
    """Call that its sender has given up and that may still arrive."""
    last: Message | None = None
    """The last write that was accepted, while a caller may still ask about it."""
    losses: int = 0
    """Number of take-overs since the last finished stage, counted by the checker."""


_NOW: Final = datetime(2031, 1, 1, tzinfo=UTC)


@cache
def run_of(row: Row) -> Run:
    """Convert the row to a run for the machine."""
    return Run(
        id="run_1",
        agent_name="writer",
        cycle_id="2031-01-01-001",
        status=row.status,
        current_stage=row.stage,
        current_attempt=row.attempt,
        max_attempts=MAX_ATTEMPTS,
        pass_threshold=THRESHOLD,
        final_score=row.score,
        best_attempt=row.best,
        inputs={},
        created_at=_NOW,
        cancel_requested_at=_NOW if row.cancel else None,
        stalled=row.status is RunStatus.RUNNING and row.silent,
        fencing_token=row.token,
        lost_leases=row.lost,
    )


@cache
def artifacts_of(kept: tuple[Kept, ...]) -> tuple[Artifact, ...]:
    """Convert the artifacts for the machine."""
    return tuple(
        Artifact(
            id=number,
            run_id="run_1",
            attempt=one.attempt,
            artifact_type=one.kind,
            filename="",
            content="text" if one.score is None else strict_json.dumps({"score": one.score, "feedback": ""}),
            created_at=_NOW,
        )
        for number, one in enumerate(kept, 1)
    )


@cache
def change_of(known: Known, plan: Plan) -> Change:
    """Return the machine's change for a plan."""
    stage, attempt, score, best = known
    run = run_of(Row(status=RunStatus.RUNNING, stage=stage, attempt=attempt, score=score, best=best))
    if plan.what == "release":
        return machine.released_change(run, "the worker stops")
    if plan.what == "cancel":
        return machine.cancelled_change(run)
    return machine.advance(run, _outcome(plan))


def _outcome(plan: Plan) -> Outcome:
    if plan.what == "output":
        return Produced("text")
    if plan.what == "score":
        assert plan.score is not None
        return Evaluated(Evaluation(plan.score))
    return Errored("no verdict")


@cache
def resumed(kept: tuple[Kept, ...]) -> Known:
    """Return the machine's decision where a claimed run continues."""
    found = decide_resumption(run_of(Row(status=RunStatus.RUNNING)), artifacts_of(kept))
    assert found.change is None
    assert found.run.current_stage is not None
    return Known(found.run.current_stage, found.run.current_attempt, found.run.final_score, found.run.best_attempt)


def fold(journal: JournalState, events: tuple[NewEvent, ...], attempt: int) -> JournalState:
    """Read further events; ``attempt`` is the row's, for events without one."""
    for event in events:
        at = event.attempt if event.attempt is not None else attempt
        metadata = event.metadata or {}
        match event.event_type:
            case EventType.STAGE_CHANGE if "status" in metadata:
                status, reason = RunStatus(metadata["status"]), metadata.get("reason")
                journal = journal._replace(status=status, stage=None, attempt=at, reason=reason)
            case EventType.STAGE_CHANGE:
                journal = journal._replace(stage=event.stage, attempt=at)
            case EventType.SCORE_UPDATE:
                journal = journal._replace(results=(*journal.results, (at, EVALUATION)))
            case EventType.LOG if "filename" in metadata:
                journal = journal._replace(results=(*journal.results, (at, OUTPUT)))
            case EventType.ERROR:
                journal = journal._replace(error=True)
    return journal


def leases_in(world: World) -> list[Lease]:
    """Yield every lease in the world except the row's."""
    works = [work.lease for work in world.works if isinstance(work, Work)]
    return works + [message.lease for message in (world.wire, world.last) if message is not None]


def canonical(world: World, *, symmetric: bool) -> World:
    """Rename numbers to the smallest in the same order; with ``symmetric``, the runners as well."""
    row, leases = world.row, leases_in(world)
    claims = {lease.claim for lease in leases}
    tokens = {lease.token for lease in leases}
    if row.claim is not None:
        claims.add(row.claim)
    tokens.update((row.token, 0))
    if max(claims, default=0) > len(claims) or max(tokens) >= len(tokens):
        world = _renamed(world, sorted(claims), sorted(tokens))
    if symmetric:
        first, second = world.works
        if hash(second) < hash(first):
            world = world._replace(works=(second, first))
    return world


def _renamed(world: World, claims: list[int], tokens: list[int]) -> World:
    row = world.row
    numbers = {old: new for new, old in enumerate(claims, 1)}
    order = {old: new for new, old in enumerate(tokens)}

    def lease_of(lease: Lease) -> Lease:
        token, lease_id, holder, claim = lease
        return Lease(order[token], numbers.get(lease_id, lease_id), numbers.get(holder, holder), numbers[claim])

    row = row._replace(
        token=order[row.token],
        lease_id=None if row.lease_id is None else numbers.get(row.lease_id, 0),
        holder=None if row.holder is None else numbers.get(row.holder, min(row.holder, 0)),
        claim=None if row.claim is None else numbers[row.claim],
    )
    return World(
        row,
        world.kept,
        world.journal,
        tuple(w._replace(lease=lease_of(w.lease)) if isinstance(w, Work) else w for w in world.works),
        None if world.wire is None else world.wire._replace(lease=lease_of(world.wire.lease)),
        None if world.last is None else world.last._replace(lease=lease_of(world.last.lease)),
        world.losses,
    )
