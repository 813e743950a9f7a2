"""Invariants of every state and of every step: the rules of a policy, written a second time and from stored results."""

from decimal import Decimal
from typing import Final

from loopkit.core.panel.verdict_event import verdict_event
from loopkit.core.policy import Policy, ReviseFrom
from loopkit.core.run import RunStatus, Stage
from tests.model.policies.protocol import Step
from tests.model.policies.world import (
    EVALUATION,
    MAKE,
    MAX_ATTEMPTS,
    NANOS,
    OUTPUT,
    THRESHOLD,
    TOKENS,
    Kept,
    Sums,
    World,
    policy_named,
    verdict_of,
)

RESULTS: Final = "results are a prefix of output 1, evaluation 1, output 2, ..., each at most once"
DRAFTS: Final = "attempts 1 to drafts are produced, later ones are revised"
BASE: Final = "a revision gets the attempt that the policy of the run says"
BEST: Final = "the final score is the best, of its earliest attempt"
GOES_ON: Final = "no stage follows a result that ends the run"
REASON: Final = "the end reason is that of the last event, in the status that it belongs to"
ENDING: Final = "a run ends for the first reason that holds: passed, budget, flat, attempts"
SENTENCE: Final = "a run that failed for another reason than its attempts has an error message"
TOLD: Final = "each result and each verdict has exactly one event"
FOLDED: Final = "the journal, folded, is the row"
SUMS: Final = "the sums in the row are those of the ledger and of the stored stages"
CALLS: Final = "each result has an answered call in the ledger"
JUDGED: Final = "an evaluation is that of the stored verdicts, or of the equal output"
ASKED: Final = "no judge is asked for what is stored"
VERDICTS: Final = "each judge has one verdict on an output, and it is never changed"
LOSSES: Final = "lost leases are the take-overs since the last finished stage, below the limit of the policy"
POLICY: Final = "a policy that a run has is never replaced"
ABSORBING: Final = "an ended run never changes"
IMMUTABLE: Final = "what is stored of results is never changed or lost"
CANCEL_WINS: Final = "a cancel request that is there before the end wins"
ACKNOWLEDGED: Final = "a write that was acknowledged is there"

_ORDER: Final = [(attempt, kind) for attempt in range(1, MAX_ATTEMPTS + 1) for kind in (OUTPUT, EVALUATION)]
_ENDED_BY: Final = {
    "score_passed": RunStatus.PASSED,
    "cancel_requested": RunStatus.CANCELLED,
}
"""Status of an end reason, where it is not ``failed``."""


def broken_in(world: World) -> str | None:
    """Return the invariant that a state breaks, or None."""
    row, kept, journal = world.row, world.kept, world.journal
    policy = policy_named(row.policy)
    keys = [one[:2] for one in kept]
    if keys != _ORDER[: len(keys)]:
        return RESULTS
    if row.stage not in {None, Stage.EVALUATING} and (row.stage is Stage.PRODUCING) != (row.attempt <= policy.drafts):
        return DRAFTS
    for number, one in enumerate(kept):
        if one.kind is OUTPUT and (one.stage is Stage.PRODUCING) != (one.attempt <= policy.drafts):
            return DRAFTS
        if one.stage is Stage.REVISING and one.base != _base(policy, kept[:number]):
            return BASE
    scores = [(one.content, one.attempt) for one in kept if one.kind is EVALUATION]
    best = max(scores, key=lambda item: (float(item[0]), -item[1]), default=(None, None))
    if (row.score, row.best) != best:
        return BEST
    told = [verdict_event(verdict_of(*verdict)).message for verdict in world.verdicts]
    if list(journal.results) != keys or list(world.told) != told:
        return TOLD
    if (journal.status, journal.stage, journal.attempt) != row[:3]:
        return FOLDED
    return _broken_end(world, policy) or _broken_ledger(world) or _broken_losses(world, policy)


def _base(policy: Policy, before: tuple[Kept, ...]) -> int:
    scores = [(float(one.content), -one.attempt) for one in before if one.kind is EVALUATION]
    return -max(scores)[1] if policy.revise_from is ReviseFrom.BEST else -scores[-1][1]


def _end_after(policy: Policy, kept: tuple[Kept, ...]) -> str | None:
    """Return the reason for which a run ends after these results; None when it goes on."""
    newest = kept[-1]
    if newest.kind is OUTPUT:
        equal = any(one.kind is OUTPUT and one.content == newest.content for one in kept[:-1])
        return "repeated_output" if policy.stop.repeat and equal and newest.attempt > policy.drafts else None
    scores = {one.attempt: Decimal(repr(one.content)) for one in kept if one.kind is EVALUATION}
    if float(newest.content) >= THRESHOLD:
        return "score_passed"
    if newest.spent:
        return "budget_exhausted"
    patience = policy.stop.patience
    if patience is not None and newest.attempt - patience >= policy.drafts:
        first = newest.attempt - patience + 1
        best = max(score for attempt, score in scores.items() if attempt < first)
        limit = best + Decimal(repr(policy.stop.min_delta))
        if all(score <= limit for attempt, score in scores.items() if attempt >= first):
            return "plateau"
    return "attempts_spent" if newest.attempt == MAX_ATTEMPTS else None


def _broken_end(world: World, policy: Policy) -> str | None:
    row, kept = world.row, world.kept
    reasons = [_end_after(policy, kept[:number]) for number in range(1, len(kept) + 1)]
    if any(reasons[:-1]) or (reasons and reasons[-1] and not row.status.ended):
        return GOES_ON
    if not row.status.ended:
        return None if row.reason is None else REASON
    reason = row.reason or ""
    if reason != world.journal.reason or row.status is not _ENDED_BY.get(reason, RunStatus.FAILED):
        return REASON
    is_judged = reason not in {"cancel_requested", "runner_lost", "stage_error"}
    if is_judged and (not reasons or reasons[-1] != reason):
        return ENDING
    has_sentence = row.status is RunStatus.FAILED and reason != "attempts_spent"
    if (row.error is not None) != has_sentence:
        return SENTENCE
    return None


def _broken_ledger(world: World) -> str | None:
    answered = [call for call in world.calls if call.answered]
    priced = [call for call in answered if call.priced]
    seconds = sum(one.called for one in world.kept) + len(world.verdicts)
    cost = len(priced) * NANOS if priced else None
    sums: Sums = (len(answered) * TOKENS, 0, cost, len(world.calls) - len(priced), float(seconds))
    if world.row.sums != sums:
        return SUMS
    if not world.calls:
        return None
    made = {call.attempt for call in answered if call.part == MAKE}
    judged = {(call.attempt, call.part) for call in answered if call.part != MAKE}
    if not made.issuperset(one.attempt for one in world.kept) or not judged.issuperset(
        verdict[:2] for verdict in world.verdicts
    ):
        return CALLS
    return None


def _broken_losses(world: World, policy: Policy) -> str | None:
    row, limit = world.row, policy.max_losses
    is_lost = row.reason == "runner_lost"
    if row.lost != world.losses or is_lost != (0 < limit <= world.losses):
        return LOSSES
    if len({verdict[:2] for verdict in world.verdicts}) != len(world.verdicts):
        return VERDICTS
    judges = {verdict[1] for verdict in world.verdicts}
    for number, one in enumerate(world.kept):
        if one.kind is OUTPUT:
            continue
        scores = [verdict[2] for verdict in world.verdicts if verdict[0] == one.attempt]
        equal = _score_of_equal(world.kept[:number]) if policy.stop.repeat and one.attempt <= policy.drafts else None
        given = min(scores) if scores else equal
        if len(scores) != len(judges) or (given is not None and one.content != given):
            return JUDGED
        if one.called == (equal is not None):
            return ASKED
    return None


def _score_of_equal(kept: tuple[Kept, ...]) -> str | float | None:
    """Return the score of the earliest output that equals the last of ``kept``."""
    equal = [one.attempt for one in kept[:-1] if one.kind is OUTPUT and one.content == kept[-1].content]
    return next((one.content for one in kept if one.kind is EVALUATION and one.attempt in equal), None)


def broken_by(before: World, step: Step) -> str | None:
    """Return the invariant that a step breaks, or None."""
    after = step.to
    if before.row.status.ended and after[:6] != before[:6]:
        return ABSORBING
    if before.row.policy is not None and after.row.policy != before.row.policy:
        return POLICY
    if after.kept[: len(before.kept)] != before.kept:
        return IMMUTABLE
    if not set(before.verdicts) <= set(after.verdicts):
        return VERDICTS
    ends = after.row.status.ended and not before.row.status.ended
    if before.row.cancel and ends and after.row.status is not RunStatus.CANCELLED:
        return CANCEL_WINS
    if step.asks is not None and step.asks in [verdict[:2] for verdict in before.verdicts]:
        return ASKED
    return None if _is_there(step) else ACKNOWLEDGED


def _is_there(step: Step) -> bool:
    if step.acknowledged is None:
        return True
    (attempt, plan), after = step.acknowledged, step.to
    match plan.what:
        case "verdict":
            return (attempt, plan.part, plan.content) in after.verdicts
        case "book":
            return any(call[1:3] == (attempt, plan.part) for call in after.calls)
        case "output" | "score" | "known":
            kind = OUTPUT if plan.what == "output" else EVALUATION
            return (attempt, kind, plan.content) in [one[:3] for one in after.kept]
    return True
