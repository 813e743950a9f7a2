"""Invariants of every state and of every step."""

from typing import Final

from loopkit.core.policy import MAX_LOSSES
from loopkit.core.run import RunStatus, Stage
from tests.model.protocol import Step
from tests.model.world import EVALUATION, MAX_ATTEMPTS, OTHER, OUTPUT, SCORES, THRESHOLD, Work, World, change_of

ATTEMPTS: Final = "an attempt is one of 1 to the highest allowed"
STAGE: Final = "a stage is set exactly while the run is running"
LEASE: Final = "only a running run has a lease"
UNCLAIMED: Final = "a queued run is claimed by nobody"
RESULTS: Final = "results are a prefix of output 1, evaluation 1, output 2, ..., each at most once"
PREFIX: Final = "no attempt follows one that passed"
SCORES_GIVEN: Final = "every score was given by an evaluator"
TOLD: Final = "each result has exactly one event, in order"
FOLDED: Final = "the journal, folded, is the row"
BEST: Final = "the final score is the best, of its earliest attempt"
LOSSES: Final = "lost leases are the take-overs since the last finished stage, at most the limit"
PASSED: Final = "a passed run has a score that passes"
FAILED: Final = "a failed run has a reason: attempts spent, a stage's error, or runners lost"
CANCELLED: Final = "a cancelled run has a cancel request"
POISON: Final = "a run that lost its runner too often is ended"
ABSORBING: Final = "an ended run never changes"
FENCED: Final = "the store accepts nothing under a lease that is lost"
IMMUTABLE: Final = "a stored result is never changed or lost"
CANCEL_WINS: Final = "a cancel request that is there before the end wins"
NO_STAGE: Final = "no stage begins after a cancel request"
ACKNOWLEDGED: Final = "a write that was acknowledged is there"
RELEASE: Final = "a release uses up no attempt and is no loss"
CLAIM: Final = "only a queued or stalled run is claimed"
NOT_WORKED: Final = "a run with a cancel request is not worked"
TOKEN: Final = "each claim raises the token by one"
RESUMES: Final = "a claimed run goes on with its first unfinished stage"

_ORDER: Final = [(attempt, kind) for attempt in range(1, MAX_ATTEMPTS + 1) for kind in (OUTPUT, EVALUATION)]


def broken_in(world: World) -> str | None:
    """Return the invariant that a state breaks, or None."""
    row, kept, journal = world.row, world.kept, world.journal
    running = row.status is RunStatus.RUNNING
    foreign = running and row.holder == OTHER
    keys = [one[:2] for one in kept]
    scores = [(one.score, one.attempt) for one in kept if one.score is not None]
    if running != (row.stage is not None) and not foreign:
        return STAGE
    if not running and row.lease_id is not None:
        return LEASE
    if row.status is RunStatus.QUEUED and (row.claimed or row.holder is not None):
        return UNCLAIMED
    if not 1 <= row.attempt <= MAX_ATTEMPTS:
        return ATTEMPTS
    if keys != _ORDER[: len(keys)]:
        return RESULTS
    if any(score >= THRESHOLD for score, attempt in scores if attempt < keys[-1][0]):
        return PREFIX
    if any(score not in SCORES[attempt] for score, attempt in scores):
        return SCORES_GIVEN
    if list(journal.results) != keys:
        return TOLD
    if not foreign and (journal.status, journal.stage, journal.attempt) != row[:3]:
        return FOLDED
    best = max(scores, key=lambda item: (item[0], -item[1]), default=(None, None))
    if (row.score, row.best) != best:
        return BEST
    if row.lost > MAX_LOSSES or row.lost != world.losses:
        return LOSSES
    return _broken_end(world)


def _broken_end(world: World) -> str | None:
    row, scores = world.row, [one.score for one in world.kept if one.score is not None]
    if row.status is RunStatus.PASSED and not (scores and scores[-1] >= THRESHOLD):
        return PASSED
    if row.status is RunStatus.FAILED:
        spent = len(world.kept) == len(_ORDER) and scores[-1] < THRESHOLD
        lost = row.lost == MAX_LOSSES and world.journal.reason == "runner_lost"
        if not (spent or lost or (world.journal.error and row.error)):
            return FAILED
    if row.status is RunStatus.CANCELLED and not row.cancel:
        return CANCELLED
    if row.lost == MAX_LOSSES and not row.status.ended:
        return POISON
    return None


def broken_by(before: World, step: Step) -> str | None:
    """Return the invariant that a step breaks, or None. The world after the step is not yet renamed."""
    after = step.to
    if before.row.status.ended and (after.row, after.kept, after.journal) != (before.row, before.kept, before.journal):
        return ABSORBING
    if step.lease is not None and (before.row.claim != step.lease.claim or before.row.status is not RunStatus.RUNNING):
        return FENCED
    if after.kept[: len(before.kept)] != before.kept or len(after.kept) > len(before.kept) + 1:
        return IMMUTABLE
    ends = after.row.status.ended and not before.row.status.ended
    if before.row.cancel and ends and after.row.status is not RunStatus.CANCELLED:
        return CANCEL_WINS
    if before.row.cancel and after.row.stage is not None and after.row[1:3] != before.row[1:3]:
        return NO_STAGE
    if step.acknowledged is not None and not _is_there(step):
        return ACKNOWLEDGED
    released = before.row.status is RunStatus.RUNNING and after.row.status is RunStatus.QUEUED
    if released and (after.row.attempt, after.row.lost) != (before.row.attempt, before.row.lost):
        return RELEASE
    return _broken_claim(before, step) if step.claims else None


def _is_there(step: Step) -> bool:
    assert step.acknowledged is not None
    assert step.acknowledged.plan is not None
    change = change_of(step.acknowledged.known, step.acknowledged.plan)
    if change.artifact is None:
        return True
    return (change.artifact.attempt, change.artifact.artifact_type) in [one[:2] for one in step.to.kept]


def _broken_claim(before: World, step: Step) -> str | None:
    row, after = before.row, step.to.row
    waiting = row.status is RunStatus.QUEUED and not row.claimed
    stalled = row.status is RunStatus.RUNNING and row.silent
    if not (waiting or stalled):
        return CLAIM
    if row.cancel:
        return NOT_WORKED
    if after.token != row.token + 1 or after.claim == row.claim:
        return TOKEN
    kind = EVALUATION if after.stage is Stage.EVALUATING else OUTPUT
    if (after.attempt, kind) != _ORDER[len(before.kept)]:
        return RESUMES
    work = next((work for work in step.to.works if work not in before.works), None)
    if not isinstance(work, Work) or (work.known.stage, work.known.attempt) != after[1:3]:
        return RESUMES
    return None
