"""Values of the model, and their conversion to those of :mod:`loopkit.core`."""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, NamedTuple

from loopkit.core import strict_json
from loopkit.core.attempts import PastAttempt, attempts_of
from loopkit.core.journal import Artifact, ArtifactType
from loopkit.core.ledger.calls import CallState, ModelCall
from loopkit.core.panel.verdict import Verdict, VerdictKind
from loopkit.core.policy import Policy, policy_of
from loopkit.core.run import Run, RunStatus, Stage
from tests.model.world import JournalState

MAX_ATTEMPTS: Final = 3
THRESHOLD: Final = 0.9
TOKENS: Final = 10
"""Tokens of every answer."""
NANOS: Final = 10_000_000
"""Price of an answer whose price is known."""
MAKE: Final = "make"
"""Part of a stage that produces or revises; the parts of one that evaluates are its judges."""
OUTPUT: Final = ArtifactType.OUTPUT
EVALUATION: Final = ArtifactType.EVALUATION

POLICIES: Final[dict[str, dict[str, Any]]] = {
    "none": {},
    "drafting": {"drafts": 2, "reviseFrom": "best", "stop": {"patience": 1, "minDelta": 0.1}},
    "repeating": {"drafts": 2, "stop": {"repeat": True}, "maxLosses": 2},
    "patient": {"stop": {"patience": 2}, "maxLosses": 2},
    "hasty": {"stop": {"patience": 1}, "maxLosses": 1},
    "timed": {"stop": {"patience": 1}, "budget": {"seconds": 4}, "maxLosses": 0},
    "priced": {"budget": {"tokens": 40, "usd": 1.0}, "maxLosses": 2},
}
"""Stored forms of the policies, by the names that rows have in this model."""


Sums = tuple[int, int, int | None, int, float]
"""Input and output tokens, price, unpriced calls, seconds."""

NO_SUMS: Final[Sums] = (0, 0, None, 0, 0.0)


class Row(NamedTuple):
    """Row of the run."""

    status: RunStatus = RunStatus.QUEUED
    stage: Stage | None = None
    attempt: int = 1
    score: float | None = None
    best: int | None = None
    error: str | None = None
    reason: str | None = None
    policy: str | None = None
    token: int = 0
    lost: int = 0
    silent: bool = False
    """True when the last heartbeat is older than the stall time."""
    cancel: bool = False
    sums: Sums = NO_SUMS


class Kept(NamedTuple):
    """Stored artifact, with what is true of it."""

    attempt: int
    kind: ArtifactType
    content: str | float
    """Text of an output, score of an evaluation."""
    stage: Stage
    """Stage that made it."""
    base: int | None = None
    """Attempt that its stage was given to revise."""
    called: bool = True
    """False for an evaluation that was taken from an equal output."""
    spent: bool = False
    """True for an evaluation with which the budget was spent, as the checker counts."""


class Call(NamedTuple):
    """Model call; a holder makes one for each part of an attempt."""

    token: int
    attempt: int
    part: str
    answered: bool = False
    priced: bool = True


class Plan(NamedTuple):
    """Write that a runner is about to make."""

    what: str
    """``book``, ``output``, ``verdict``, ``score``, ``known``, ``error``, ``release``, ``cancel`` or ``end``."""
    part: str = MAKE
    content: str | float | None = None
    priced: bool = True


class Work(NamedTuple):
    """Work of a runner that believes that it holds the run, with all that it knows of it."""

    row: Row
    kept: tuple[Kept, ...]
    calls: tuple[Call, ...]
    """Calls that it knows to be stored."""
    verdicts: tuple[tuple[int, str, float], ...]
    sent: Plan | None = None
    """The write that was sent and has no answer yet."""
    ends: bool = False
    """True when the stored results leave no stage to call."""


class World(NamedTuple):
    row: Row
    kept: tuple[Kept, ...] = ()
    calls: tuple[Call, ...] = ()
    verdicts: tuple[tuple[int, str, float], ...] = ()
    """Attempt, judge and score of each."""
    journal: JournalState = JournalState()
    told: tuple[str, ...] = ()
    """Messages of the events of verdicts."""
    works: tuple[Work | None, ...] = (None, None)
    last: tuple[Work, Plan] | None = None
    """The write that was accepted and got no answer, while its sender may still ask about it."""
    losses: int = 0
    """Number of take-overs since the last finished stage, counted by the checker."""
    faults: int = 0


_NOW: Final = datetime(2031, 1, 1, tzinfo=UTC)


@cache
def policy_named(name: str | None) -> Policy:
    """Return the policy with a name; None is that of a row without one."""
    return policy_of(None if name is None else POLICIES[name])


@cache
def run_of(row: Row) -> Run:
    """Convert the row to a run."""
    input_tokens, output_tokens, cost_nanos, unpriced_calls, stage_seconds = row.sums
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
        policy=None if row.policy is None else POLICIES[row.policy],
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_nanos=cost_nanos,
        unpriced_calls=unpriced_calls,
        stage_seconds=stage_seconds,
    )


@cache
def artifacts_of(kept: tuple[Kept, ...]) -> tuple[Artifact, ...]:
    """Convert the artifacts."""
    return tuple(
        Artifact(
            id=number,
            run_id="run_1",
            attempt=one.attempt,
            artifact_type=one.kind,
            filename="",
            content=one.content if isinstance(one.content, str) else strict_json.dumps({"score": one.content}),
            is_json=one.kind is EVALUATION,
            created_at=_NOW,
        )
        for number, one in enumerate(kept, 1)
    )


@cache
def past_of(kept: tuple[Kept, ...]) -> tuple[PastAttempt, ...]:
    """Convert the artifacts to attempts."""
    return attempts_of(artifacts_of(kept))


@cache
def call_of(call: Call) -> ModelCall:
    """Convert a call."""
    is_judge = call.part != MAKE
    return ModelCall(
        id=f"{call.token}:{call.attempt}:{call.part}",
        stage=Stage.EVALUATING if is_judge else Stage.PRODUCING,
        attempt=call.attempt,
        judge=call.part if is_judge else None,
        model="vendor:model",
        input_tokens=TOKENS if call.answered else None,
        cost_nanos=NANOS if call.answered and call.priced else None,
        state=CallState.ANSWERED if call.answered else CallState.UNANSWERED,
    )


def verdict_of(attempt: int, judge: str, score: float) -> Verdict:
    """Convert a verdict."""
    return Verdict(attempt=attempt, kind=VerdictKind.JUDGE, name=judge, made_by="1", score=score)


def with_calls(stored: tuple[Call, ...], written: Iterable[Call]) -> tuple[Call, ...]:
    """Return the ledger after a write: a call that is there is completed."""
    calls = {call[:3]: call for call in stored}
    calls.update((call[:3], call) for call in written)
    return tuple(calls.values())


def tidied(world: World, *, symmetric: bool) -> World:
    """Return the one world that stands for all that differ only in the order of calls and of runners."""
    world = world._replace(calls=tuple(sorted(world.calls)))
    if world.last is not None and not any(work is not None and work.sent is not None for work in world.works):
        world = world._replace(last=None)
    first, second = world.works
    return world._replace(works=(second, first)) if symmetric and hash(second) < hash(first) else world
