"""Protocols with one bug each in what a policy, a ledger or a verdict needs. The explorer finds every one of them."""

from collections.abc import Callable, Iterator
from typing import Final

import attrs

from loopkit.core.attempts import PastAttempt, best_attempt, equal_attempt
from loopkit.core.journal import Change, EventType, NewEvent, Next
from loopkit.core.ledger.budget import spent_sentence
from loopkit.core.ledger.spent import Spent
from loopkit.core.ledger.sums import Spending
from loopkit.core.ledger.unknowns import NO_UNKNOWNS, Unknowns
from loopkit.core.outcome import Evaluated, Outcome, Produced
from loopkit.core.policy import policy_of
from loopkit.core.resumption import Resumption
from loopkit.core.run import Run, RunStatus, Stage
from tests.model.policies import invariants
from tests.model.policies.protocol import Drafting, Foreign, PolicyProtocol, Priced, Repeating, Timed
from tests.model.policies.world import NO_SUMS, Call, Plan, Row, Sums, Work, World, past_of, run_of, with_calls

BUGS: Final[dict[type[PolicyProtocol], str]] = {}
"""Each protocol with a bug, with the invariant that it breaks first."""


def planted(broken: str) -> Callable[[type[PolicyProtocol]], type[PolicyProtocol]]:
    """Register a bug with the invariant that it breaks."""

    def note(bug: type[PolicyProtocol]) -> type[PolicyProtocol]:
        BUGS[bug] = broken
        return bug

    return note


Attempts = tuple[PastAttempt, ...]


def _with_policy(run: Run, **values: object) -> Run:
    """Return a run whose stored policy has other values."""
    return attrs.evolve(run, policy={**(run.policy or {}), **values})


@planted(invariants.ENDING)
class FlatBeforePassed(Drafting):
    """A revision that passes by no more than min_delta ends the run as a plateau."""

    def advance(self, run: Run, outcome: Outcome, attempts: Attempts, spent: Spent) -> Change:
        if isinstance(outcome, Evaluated):
            low = attrs.evolve(run, pass_threshold=1.0)
            change = super().advance(low, outcome, attempts, spent)
            if change.then.reason == "plateau":
                return change
        return super().advance(run, outcome, attempts, spent)


@planted(invariants.ENDING)
class FlatCountsDrafts(Drafting):
    """A draft that is no better than the one before counts as a revision without progress."""

    def advance(self, run: Run, outcome: Outcome, attempts: Attempts, spent: Spent) -> Change:
        change = super().advance(_with_policy(run, drafts=1), outcome, attempts, spent)
        return change if change.then.reason == "plateau" else super().advance(run, outcome, attempts, spent)


@planted(invariants.ENDING)
class FlatWithoutRounding(Drafting):
    """The difference of two scores is compared as the processor computes it."""

    def advance(self, run: Run, outcome: Outcome, attempts: Attempts, spent: Spent) -> Change:
        policy = policy_of(run.policy)
        if isinstance(outcome, Evaluated) and attempts[:-1]:
            best = best_attempt(attempts[:-1])
            assert best is not None
            if outcome.evaluation.score - best.value > policy.stop.min_delta:
                run = _with_policy(run, stop={})
        return super().advance(run, outcome, attempts, spent)


@planted(invariants.BASE)
class ResumedRunRevisesTheLast(Drafting):
    """A runner that took the run over gives the newest attempt to the reviser."""

    def base(self, work: Work) -> int | None:
        return work.row.attempt - 1 if work.row.token > 1 else super().base(work)


@planted(invariants.BASE)
class RevisesTheLatestOfEquals(Drafting):
    """Of two attempts with the best score the later one is revised."""

    def base(self, work: Work) -> int | None:
        attempts = past_of(work.kept)
        return max((one.value, one.number) for one in attempts if one.evaluation is not None)[1]


@planted(invariants.DRAFTS)
class ResumptionForgetsDrafts(Drafting):
    """A runner that claims the run after the first draft revises it."""

    def resumption(self, run: Run, world: World, unknowns: Unknowns) -> Resumption:
        return super().resumption(_with_policy(run, drafts=1), world, unknowns)


@planted(invariants.DRAFTS)
class ClaimForgetsDrafts(Drafting):
    """The store decides a claim without the policy, so that its events begin another stage than the runner."""

    def decide_claim(self, run: Run, world: World) -> Next:
        return super().decide_claim(_with_policy(run, drafts=1), world)


@planted(invariants.DRAFTS)
class PolicyOfTheAgent(Drafting):
    """A runner takes the policy of its agent, which was changed since the run was queued."""

    def known(self, row: Row, number: int) -> Row:
        return row._replace(policy=self.agents[number])


@planted(invariants.SENTENCE)
class PlateauWithoutSentence(Drafting):
    """A run that is flat ends without an error message, as one without further attempts does."""

    def advance(self, run: Run, outcome: Outcome, attempts: Attempts, spent: Spent) -> Change:
        change = super().advance(run, outcome, attempts, spent)
        if change.then.reason != "plateau":
            return change
        return attrs.evolve(change, then=attrs.evolve(change.then, error_message=None))


@planted(invariants.BEST)
class PlateauKeepsTheLast(Drafting):
    """A run that is flat ends with the score of its last attempt."""

    def advance(self, run: Run, outcome: Outcome, attempts: Attempts, spent: Spent) -> Change:
        change = super().advance(run, outcome, attempts, spent)
        if change.then.reason != "plateau" or change.artifact is None:
            return change
        return attrs.evolve(change, final_score=change.artifact.score, best_attempt=run.current_attempt)


@planted(invariants.CANCEL_WINS)
class RepeatOutweighsACancel(Repeating):
    """A revision that repeats an output ends the run as failed, although there is a cancel request."""

    def advance(self, run: Run, outcome: Outcome, attempts: Attempts, spent: Spent) -> Change:
        change = super().advance(run, outcome, attempts, spent)
        return attrs.evolve(change, cancelled=change.then) if change.then.reason == "repeated_output" else change


@planted(invariants.REASON)
class ReasonOfTheOtherEnd(Drafting):
    """The row gets the reason for which the run would have ended without its cancel request."""

    def end_reason(self, to: Next, change: Change | None) -> str | None:
        return to.reason if change is None or change.then.reason is None else change.then.reason


@planted(invariants.ENDING)
class RepeatEndsADraft(Repeating):
    """A draft that equals an earlier output ends the run."""

    def advance(self, run: Run, outcome: Outcome, attempts: Attempts, spent: Spent) -> Change:
        if isinstance(outcome, Produced) and run.current_attempt > 1:
            run = attrs.evolve(run, current_stage=Stage.REVISING)
        return super().advance(run, outcome, attempts, spent)


@planted(invariants.GOES_ON)
class RepeatLooksAtTheLastOnly(Repeating):
    """A revision is compared with the attempt before it only."""

    def advance(self, run: Run, outcome: Outcome, attempts: Attempts, spent: Spent) -> Change:
        if isinstance(outcome, Produced) and equal_attempt(attempts[-1:], outcome.output, is_json=False) is None:
            run = _with_policy(run, stop={})
        return super().advance(run, outcome, attempts, spent)


@planted(invariants.ASKED)
class RepeatedDraftIsJudged(Repeating):
    """A draft that equals an earlier output is given to the evaluator again."""

    def known_outcome(self, run: Run, attempts: Attempts) -> Evaluated | None:
        return None


@planted(invariants.LOSSES)
class LossesAreNeverForgiven(Repeating):
    """A finished stage does not reset the number of lost runners."""

    def lost_after(self, row: Row, change: Change) -> int:
        return row.lost


@planted(invariants.LOSSES)
class LimitOfLossesIsTheDefault(Repeating):
    """A claim compares with the default limit, not with the policy's."""

    def decide_claim(self, run: Run, world: World) -> Next:
        return super().decide_claim(_with_policy(run, maxLosses=3), world)


@planted(invariants.LOSSES)
class NoLossIsAllowed(Timed):
    """A limit of 0 ends the run with the first lost runner, in place of never."""

    def decide_claim(self, run: Run, world: World) -> Next:
        return super().decide_claim(_with_policy(run, maxLosses=1), world)


@planted(invariants.ENDING)
class FlatBeforeBudget(Timed):
    """A run that is flat and has spent its budget ends as a plateau."""

    def advance(self, run: Run, outcome: Outcome, attempts: Attempts, spent: Spent) -> Change:
        change = super().advance(_with_policy(run, budget={}), outcome, attempts, spent)
        if change.then.reason == "plateau":
            return change
        return super().advance(run, outcome, attempts, spent)


@planted(invariants.ENDING)
class BudgetIsSpentAboveItsLimit(Timed):
    """A budget that is spent exactly allows another attempt."""

    def advance(self, run: Run, outcome: Outcome, attempts: Attempts, spent: Spent) -> Change:
        return super().advance(_with_policy(run, budget={"seconds": 4.001}), outcome, attempts, spent)


@planted(invariants.ENDING)
class BudgetBeforeTheEvaluation(Priced):
    """The budget is looked at after each stage, and an output that spends it is never judged."""

    def advance(self, run: Run, outcome: Outcome, attempts: Attempts, spent: Spent) -> Change:
        change = super().advance(run, outcome, attempts, spent)
        sentence = spent_sentence(policy_of(run.policy).budget, run.spending.plus(spent.spending))
        if not isinstance(outcome, Produced) or sentence is None:
            return change
        metadata = {"status": "failed", "reason": "budget_exhausted"}
        failed = NewEvent(event_type=EventType.STAGE_CHANGE, message="Failed", metadata=metadata)
        end = Next(
            status=RunStatus.FAILED,
            stage=None,
            attempt=run.current_attempt,
            error_message=sentence,
            events=(failed,),
        )
        return attrs.evolve(change, then=end)


@planted(invariants.ENDING)
class UnansweredCallSpends(Priced):
    """A call whose runner died counts as one of unknown price, and spends the budget."""

    def unknowns(self, calls: tuple[Call, ...]) -> Unknowns:
        unknowns = super().unknowns(calls)
        return attrs.evolve(unknowns, unpriced="a call") if unknowns.unanswered else unknowns


@planted(invariants.GOES_ON)
class UnknownPriceIsFree(Priced):
    """An answer of unknown price costs nothing."""

    def unknowns(self, calls: tuple[Call, ...]) -> Unknowns:
        return NO_UNKNOWNS


@planted(invariants.GOES_ON)
class LedgerIsNotLoaded(Priced):
    """A runner that took the run over does not know that an answer before had no price."""

    def loaded_calls(self, world: World) -> tuple[Call, ...]:
        return ()


@planted(invariants.SUMS)
class SumsStartAgain(Priced):
    """A runner that took the run over counts from zero."""

    def known(self, row: Row, number: int) -> Row:
        return row._replace(sums=NO_SUMS)


@planted(invariants.SUMS)
class SumsAreAddedAgain(Priced):
    """A write without an answer is made again without reading back, and adds to the sums."""

    def was_written(self, world: World, work: Work, plan: Plan) -> bool:
        return False

    def sums(self, row: Row, change: Change) -> Sums:
        return attrs.astuple(run_of(row).spending.plus(change.spending))


@planted(invariants.SUMS)
class CompletedCallCountsTwice(Priced):
    """The sums count a call when it is booked, and again when it is completed."""

    def computed_change(self, work: Work, plan: Plan) -> Change:
        return super().computed_change(work._replace(calls=()), plan)


@planted(invariants.CALLS)
class BookedBeforeTheAnswer(Priced):
    """A call counts as completed once its write was sent, and is left out when the write is made again."""

    def waiting(self, work: Work) -> Work:
        assert work.sent is not None
        calls = () if work.sent.what == "book" else self.completed(work, work.sent)
        return super().waiting(work)._replace(calls=with_calls(work.calls, calls))

    def computed_change(self, work: Work, plan: Plan) -> Change:
        change, calls = super().computed_change(work, plan), self.completed(work, plan)
        if not calls or not set(calls) <= set(work.calls):
            return change
        return change.booked(change.run, (), Spending(stage_seconds=change.spending.stage_seconds))


@planted(invariants.ASKED)
class VerdictsAreNotLoaded(Priced):
    """A runner that took the run over asks every judge again."""

    def loaded_verdicts(self, world: World) -> tuple[tuple[int, str, float], ...]:
        return ()


@planted(invariants.TOLD)
class VerdictIsWrittenBlindly(Priced):
    """A verdict without an answer is written again without reading back."""

    def was_written(self, world: World, work: Work, plan: Plan) -> bool:
        return plan.what != "verdict" and super().was_written(world, work, plan)


@planted(invariants.JUDGED)
class VerdictsOfAnEarlierOutput(Priced):
    """A verdict is found by its judge alone, so that a revision gets those of the output before."""

    def evaluating(self, work: Work) -> Iterator[Plan]:
        verdicts = tuple((work.row.attempt, judge, score) for _, judge, score in work.verdicts)
        return super().evaluating(work._replace(verdicts=verdicts))


@planted(invariants.LOSSES)
class VerdictFinishesTheStage(Priced):
    """A verdict resets the number of lost runners, so that a panel which kills its runner is never given up."""

    def lost_after(self, row: Row, change: Change) -> int:
        return 0 if change.verdicts else super().lost_after(row, change)


@planted(invariants.POLICY)
class ClaimReplacesThePolicy(Foreign):
    """Every claim writes the agent's policy, and not the first one only."""

    def claimed_policy(self, row: Row, number: int) -> str | None:
        return self.agents[number]


@planted(invariants.ENDING)
class PolicyIsNotKept(Foreign):
    """A claim of a run without a policy leaves it without, and its runner goes by its agent's."""

    def claimed_policy(self, row: Row, number: int) -> str | None:
        return row.policy

    def known(self, row: Row, number: int) -> Row:
        return row._replace(policy=self.agents[number])
