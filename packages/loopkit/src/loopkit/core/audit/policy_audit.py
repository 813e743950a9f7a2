"""Audit of one run against its policy: each decision is made again by the machine, and compared with what is stored.

Worked example: a run with ``patience`` 1 has the scores 0.5, 0.5 and 0.9, and has passed. The machine ends it after
attempt 2 as a plateau, so attempt 3 must not exist, though the end itself follows from the last score.

A decision about ``seconds`` is made again for the end alone: how long the stages of each attempt took is not stored.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import attrs

from loopkit.core import machine
from loopkit.core.attempts import PastAttempt
from loopkit.core.audit.recorded_run import RecordedRun
from loopkit.core.journal import Artifact, ArtifactType, Next
from loopkit.core.ledger.calls import spending_of
from loopkit.core.ledger.spent import NOTHING_SPENT, Spent
from loopkit.core.ledger.sums import NO_SPENDING, SUM_NAMES, Spending
from loopkit.core.ledger.unknowns import unknowns_of
from loopkit.core.outcome import Produced
from loopkit.core.policy import policy_of, read_policy
from loopkit.core.run import EndReason, Run, RunStatus, Stage
from loopkit.core.stage_material import known_outcome
from loopkit.core.values import value
from loopkit.errors import InvalidConfig

__all__ = ["RULES", "Fault", "audit"]

END: Final = "end-follows-policy"
CONTINUATION: Final = "continues-by-policy"
STAGE: Final = "stage-follows-policy"
REPEAT: Final = "repeat-follows-policy"

RULES: Final = (END, CONTINUATION, STAGE, REPEAT)
"""Names of the rules that an audit knows."""

_BY_SCORE: Final = frozenset(
    {EndReason.SCORE_PASSED, EndReason.BUDGET_EXHAUSTED, EndReason.PLATEAU, EndReason.ATTEMPTS_SPENT}
)
"""Reasons that follow from the newest evaluation."""
_BETWEEN_EVALUATIONS: Final = frozenset({EndReason.STAGE_ERROR, EndReason.RUNNER_LOST, EndReason.REPEATED_OUTPUT})
"""Reasons for which a run ends only after its newest evaluation has let it go on."""


@value
class Fault:
    """Part of a run that does not follow from its policy."""

    rule: str
    """One of :data:`RULES`."""
    detail: str
    """Description for people."""


def audit(recorded: RecordedRun) -> Iterator[Fault]:
    """Yield what does not follow: the end, an attempt after one that ended the run, a stage, or a repeated output."""
    run = recorded.run
    try:
        read_policy(run.policy)
    except InvalidConfig as error:
        if run.end_reason in _BY_SCORE:
            yield Fault(END, f"it ended as {run.end_reason}, and its policy cannot be read: {error}")
        return
    yield from _end_faults(recorded)
    yield from _continuation_faults(recorded)
    yield from _stage_faults(recorded)
    yield from _repeat_faults(recorded)


def _end_faults(recorded: RecordedRun) -> Iterator[Fault]:
    """Yield a fault when the run's end is not the one that its newest attempt leads to."""
    run, reason = recorded.run, recorded.run.end_reason
    if not run.ended:
        return
    if reason in _BY_SCORE:
        decided = _judged_end(recorded)
    elif reason == EndReason.REPEATED_OUTPUT:
        decided = _newest_repeated_end(recorded)
    elif reason == EndReason.RUNNER_LOST and run.policy is not None:  # without one, the agent's was counted
        before = attrs.evolve(run, status=RunStatus.RUNNING, lost_leases=run.lost_leases - 1)
        decided = machine.decide_claim(before, (), claimed_by="")
    else:
        return
    if decided is None or not decided.status.ended:
        yield Fault(END, f"it ended as {reason}, and its attempts do not end it")
    elif (decided.status, decided.reason) != (run.status, reason):
        yield Fault(END, f"it is {run.status} ({reason}); by its attempts it is {decided.status} ({decided.reason})")
    elif (decided.error_message is None) != (run.error_message is None):
        yield Fault(END, f"it ended as {reason}, and its error message is {run.error_message!r}")


def _judged_end(recorded: RecordedRun) -> Next | None:
    """Return what the newest evaluation leads to with all that the run has spent; None when there is none."""
    run, attempts = recorded.run, recorded.attempts
    if not attempts or attempts[-1].evaluation is None:
        return None
    spent = Spent(unknowns=unknowns_of(recorded.calls))
    return machine.judgement_change(_held(run, Stage.EVALUATING, attempts[-1].number), attempts, spent).then


def _continuation_faults(recorded: RecordedRun) -> Iterator[Fault]:
    """Yield a fault for each evaluation that ended the run, and after which it went on."""
    for count, past in enumerate(recorded.attempts, 1):
        if past.number in recorded.own_evaluations and _went_on(recorded, count):
            signal = _score_signal(recorded, count)
            if not isinstance(machine.next_state(Stage.EVALUATING, signal), Stage):
                yield Fault(CONTINUATION, f"attempt {past.number} ends it ({signal}), and it went on")


def _went_on(recorded: RecordedRun, count: int) -> bool:
    """Return True unless the run ended with the evaluation of its attempt at position ``count``."""
    run, past = recorded.run, recorded.attempts[count - 1]
    if count < len(recorded.attempts) or run.current_attempt > past.number or not run.ended:
        return True
    return past.evaluation is not None and run.end_reason in _BETWEEN_EVALUATIONS


def _score_signal(recorded: RecordedRun, count: int) -> machine.Signal:
    """Return the signal of the evaluation at position ``count``, as its holder decided it."""
    attempts = recorded.attempts[:count]
    number, evaluation = attempts[-1].number, attempts[-1].evaluation
    assert evaluation is not None
    calls = [call for call in recorded.calls if call.attempt <= number]
    run, spent = recorded.run, NOTHING_SPENT
    if number < recorded.first_known:
        run = attrs.evolve(run, policy=None)
    elif calls:
        spent = Spent(spending=spending_of(calls), unknowns=unknowns_of(calls))
    return machine.score_signal(_held(run, Stage.EVALUATING, number, NO_SPENDING), evaluation.score, attempts, spent)


def _stage_faults(recorded: RecordedRun) -> Iterator[Fault]:
    """Yield a fault for each attempt that was begun in another stage than the policy's drafts lead to."""
    for stage, attempt in recorded.stages:
        expected = _stage_of(recorded.run, attempt)
        if stage is not Stage.EVALUATING and expected is not Stage.EVALUATING and stage is not expected:
            yield Fault(STAGE, f"attempt {attempt} began as {stage}; its policy makes it {expected}")


def _stage_of(run: Run, attempt: int) -> machine.State:
    return _making_stage(attempt, run.max_attempts, policy_of(run.policy).drafts)


@lru_cache(maxsize=1024)
def _making_stage(attempt: int, max_attempts: int, drafts: int) -> machine.State:
    """Return the stage that makes an attempt once the attempt before it is evaluated; evaluating if none may follow."""
    evaluated = Artifact(
        id=0,
        run_id="",
        attempt=attempt - 1,
        artifact_type=ArtifactType.EVALUATION,
        filename="",
        created_at=datetime.min.replace(tzinfo=UTC),
        content="",
    )
    signal, _ = machine.stored_signal([evaluated] if attempt > 1 else [], max_attempts, drafts)
    return machine.next_state(RunStatus.QUEUED, signal)


def _repeat_faults(recorded: RecordedRun) -> Iterator[Fault]:
    """Yield a fault for each repeated output that was judged all the same."""
    run = recorded.run
    policy = policy_of(run.policy)
    if not policy.stop.repeat:
        return
    for count, past in enumerate(recorded.attempts, 1):
        if past.number <= policy.drafts:
            yield from _draft_faults(recorded, past)
        elif _goes_on_after_repeat(recorded, count):
            yield Fault(REPEAT, f"attempt {past.number} repeats an output and ends it, and it went on")


def _goes_on_after_repeat(recorded: RecordedRun, count: int) -> bool:
    """Return True when the last holder's revision at position ``count`` ended the run, and was judged all the same."""
    past = recorded.attempts[count - 1]
    if (Stage.REVISING, past.number) not in recorded.stages or past.number not in recorded.own_outputs:
        return False
    went_on = past.evaluation is not None or _went_on(recorded, count)
    return went_on and _repeated_end(recorded, count) is not None


def _draft_faults(recorded: RecordedRun, past: PastAttempt) -> Iterator[Fault]:
    """Yield a fault when a draft repeats an earlier output and has another score."""
    if past.number not in recorded.own_evaluations or past.number < recorded.first_known:
        return
    known = known_outcome(_held(recorded.run, Stage.EVALUATING, past.number), recorded.attempts)
    if known is not None and past.evaluation is not None and known.evaluation.score != past.evaluation.score:
        scores = f"{past.evaluation.score}; that one has {known.evaluation.score}"
        yield Fault(REPEAT, f"draft {past.number} repeats an output and has the score {scores}")


def _newest_repeated_end(recorded: RecordedRun) -> Next | None:
    """Return the end that the newest output leads to; None when it is judged, or ends nothing."""
    attempts = recorded.attempts
    return _repeated_end(recorded, len(attempts)) if attempts and attempts[-1].evaluation is None else None


def _repeated_end(recorded: RecordedRun, count: int) -> Next | None:
    """Return the end that the output at position ``count`` leads to; None when it ends nothing."""
    past, before = recorded.attempts[count - 1], recorded.attempts[: count - 1]
    if past.output is None or _stage_of(recorded.run, past.number) is not Stage.REVISING:
        return None
    held = _held(recorded.run, Stage.REVISING, past.number)
    then = machine.advance(held, Produced(past.output.content, past.output.is_json), attempts=before).then
    return then if then.status.ended else None


def _held(run: Run, stage: Stage, attempt: int, spending: Spending | None = None) -> Run:
    """Return the run as its holder had it in a stage, with all that it spent, or with so much."""
    sums = {} if spending is None or spending == run.spending else {n: getattr(spending, n) for n in SUM_NAMES}
    return attrs.evolve(run, status=RunStatus.RUNNING, current_stage=stage, current_attempt=attempt, **sums)
