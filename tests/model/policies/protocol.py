"""The protocol of a run with a policy, as steps from world to world, and the configurations that are explored.

:mod:`loopkit.core` decides; each method is one rule of a runner or of a store, so that a planted bug is one override.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import ClassVar, Final, NamedTuple

from loopkit.core import machine, run_actions
from loopkit.core.attempts import PastAttempt
from loopkit.core.journal import Change, Next
from loopkit.core.ledger.spent import Spent, added_spending
from loopkit.core.ledger.unknowns import Unknowns, unknowns_of
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome, Produced
from loopkit.core.panel.verdict_event import verdict_event
from loopkit.core.resumption import Resumption, decide_resumption
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.core.stage_material import known_outcome, stage_material
from loopkit.errors import RunEnded
from tests.model.policies.spending import is_spent
from tests.model.policies.world import (
    EVALUATION,
    MAKE,
    OUTPUT,
    Call,
    Kept,
    Plan,
    Row,
    Sums,
    Work,
    World,
    artifacts_of,
    call_of,
    past_of,
    policy_named,
    run_of,
    verdict_of,
    with_calls,
)
from tests.model.world import fold

NAMES: Final = "AB"


STYLE_SCORE: Final = 0.9
"""Score of every judge but the first."""


class Step(NamedTuple):
    """Step from a world to the next."""

    text: str
    to: World
    asks: tuple[int, str] | None = None
    """Attempt and judge that the holder of the run asks; the judge is ``make`` for an evaluator without judges."""
    acknowledged: tuple[int, Plan] | None = None
    """Attempt and write that its sender now considers done."""
    benign: bool = True
    """True for a step that is neither a fault nor a request of a person."""


class PolicyProtocol:
    """Protocol of loopkit."""

    policy: ClassVar[str | None] = "none"
    """Policy of the queued run."""
    agents: ClassVar[tuple[str, str]] = ("hasty", "hasty")
    """Policy of the agent as each runner has loaded it."""
    scores: ClassVar[Mapping[int, tuple[float, ...]]] = {}
    """Scores that an evaluator, or the judge ``facts``, may return in each attempt."""
    texts: ClassVar[Mapping[int, str]] = {1: "a", 2: "b", 3: "c"}
    """Texts that may be made in each attempt."""
    judges: ClassVar[tuple[str, ...]] = ()
    """Judges, each with a model call, of whose verdicts the lowest is the score."""
    most_faults: ClassVar[int] = 2

    def __init__(self) -> None:
        self.change = cache(self.computed_change)

    @property
    def symmetric(self) -> bool:
        """True when swapping the runners changes nothing."""
        return self.agents[0] == self.agents[1]

    def start(self) -> World:
        """Return the world with a run that was just queued."""
        return World(Row(policy=self.policy))

    def steps(self, world: World) -> Iterator[Step]:
        """Yield every step that is possible next."""
        row = world.row
        if row.status is RunStatus.RUNNING and not row.silent:
            aged = world._replace(row=row._replace(silent=True))
            if not any(work is not None and self.holds(row, work) for work in world.works):
                yield Step("time passes: the heartbeat is too old now", aged)
            elif self.may_fail(world):
                yield Step("the holder is frozen for longer than the stall time", self.failing(aged), benign=False)
        for number, work in enumerate(world.works):
            if work is None:
                yield from self.idle(world, number)
            else:
                yield from self.working(world, number, work)
        if not row.cancel:
            with suppress(RunEnded):
                yield Step("a person cancels the run", self.request_cancel(world), benign=False)

    def may_fail(self, world: World) -> bool:
        """Return whether there may be another fault."""
        return world.faults < self.most_faults

    def failing(self, world: World) -> World:
        """Count a fault."""
        return world._replace(faults=world.faults + 1)

    def holds(self, row: Row, work: Work) -> bool:
        """Return whether a runner holds the run."""
        return row.status is RunStatus.RUNNING and row.token == work.row.token

    def doing(self, world: World, number: int, work: Work | None) -> World:
        """Return the world with other work of one runner."""
        return world._replace(works=(*world.works[:number], work, *world.works[number + 1 :]))

    # The store

    def enter(self, world: World, row: Row, to: Next, change: Change | None = None) -> World:
        """Write the row in its decided state, and the events."""
        row = row._replace(status=to.status, stage=to.stage, attempt=to.attempt)
        if to.status is not RunStatus.RUNNING:
            row = row._replace(silent=False)
        if to.status.ended:
            row = row._replace(error=to.error_message, reason=self.end_reason(to, change))
        events = (*(change.events if change else ()), *to.events)
        told = tuple(event.message for event in events if event.metadata and "judge" in event.metadata)
        return world._replace(row=row, journal=fold(world.journal, events, row.attempt), told=world.told + told)

    def end_reason(self, to: Next, change: Change | None) -> str | None:
        """Return the end reason that the row gets."""
        return to.reason

    def sums(self, row: Row, change: Change) -> Sums:
        """Return the sums that a write leaves in the row."""
        return change.sums

    def lost_after(self, row: Row, change: Change) -> int:
        """Return the number of lost runners that a write leaves in the row."""
        return 0 if change.finishes_stage else row.lost

    def write(self, world: World, work: Work, plan: Plan) -> World | None:
        """Write a change; return None if it is refused and nothing was written."""
        row = world.row
        if not self.holds(row, work):
            return None
        change, kept, losses = self.change(work._replace(sent=None), plan), world.kept, world.losses
        if change.artifact is not None:
            new = self.kept(work, plan, with_calls(world.calls, self.completed(work, plan)))
            stored = next((one for one in kept if one[:2] == new[:2]), None)
            if stored is not None:
                return world if stored.content == new.content else None
            kept, losses = (*kept, new), 0
        verdicts = tuple((one.attempt, one.name, one.score) for one in change.verdicts)
        after = world._replace(
            kept=kept,
            losses=losses,
            calls=with_calls(world.calls, self.completed(work, plan) if change.calls else ()),
            verdicts=world.verdicts + tuple(one for one in verdicts if one not in world.verdicts),
        )
        row = row._replace(
            score=change.final_score,
            best=change.best_attempt,
            lost=self.lost_after(row, change),
            silent=False,
            sums=self.sums(row, change),
        )
        return self.enter(after, row, change.cancelled if row.cancel else change.then, change)

    def kept(self, work: Work, plan: Plan, calls: tuple[Call, ...]) -> Kept:
        """Return the artifact of a change, with what is true of it."""
        row, content = work.row, plan.content
        assert row.stage is not None
        assert content is not None
        if plan.what == "output":
            base = self.base(work) if row.stage is Stage.REVISING else None
            return Kept(row.attempt, OUTPUT, content, row.stage, base)
        called = plan.what == "score"
        results = 1 + sum(one.called for one in work.kept) + len(work.verdicts)
        spent = is_spent(policy_named(row.policy), calls, results if called else results - 1)
        return Kept(row.attempt, EVALUATION, content, row.stage, called=called, spent=spent)

    def request_cancel(self, world: World) -> World:
        """Write a cancel request, and end the run if no live runner holds it."""
        decision = run_actions.decide_cancel(run_of(world.row))
        row = world.row._replace(cancel=True)
        asked = world._replace(row=row, journal=fold(world.journal, decision.events, row.attempt))
        return asked if decision.end is None else self.enter(asked, row, decision.end)

    # A claim

    def idle(self, world: World, number: int) -> Iterator[Step]:
        """Yield the claim of a runner without work, which ends a run with a cancel request."""
        row = world.row
        if row.status.ended or (row.status is RunStatus.RUNNING and not row.silent):
            return
        if row.cancel:
            end = run_actions.decide_cancel(run_of(row)).end
            assert end is not None
            yield Step(f"{NAMES[number]} meets the run and ends it as cancelled", self.enter(world, row, end))
        else:
            yield self.claim(world, number)

    def claim(self, world: World, number: int) -> Step:
        """Claim a queued run, or take over a stalled one; its last allowed loss ends the run."""
        take_over = world.row.status is RunStatus.RUNNING
        row = world.row._replace(policy=self.claimed_policy(world.row, number))
        decision = self.decide_claim(run_of(row), world)
        row, world = row._replace(lost=row.lost + take_over), world._replace(losses=world.losses + take_over)
        if decision.status.ended:
            return Step(f"{NAMES[number]} gives the run up: its runners were lost", self.enter(world, row, decision))
        claimed = self.enter(world, row._replace(token=row.token + 1, silent=False), decision)
        work = self.resumed(claimed, number)
        verb = "takes the run over" if take_over else "claims the run"
        text = f"{NAMES[number]} {verb} and begins {work.row.stage} {work.row.attempt}"
        return Step(text, self.doing(claimed, number, work))

    def claimed_policy(self, row: Row, number: int) -> str | None:
        """Return the policy of the row after a claim."""
        return self.agents[number] if row.policy is None else row.policy

    def decide_claim(self, run: Run, world: World) -> Next:
        """Return the decision about a claim."""
        return machine.decide_claim(run, artifacts_of(world.kept), claimed_by="")

    def resumed(self, world: World, number: int) -> Work:
        """Return the work of a runner that has just claimed the run."""
        calls = self.loaded_calls(world)
        resumption = self.resumption(run_of(self.known(world.row, number)), world, self.unknowns(calls))
        run = resumption.run
        row = self.known(world.row, number)._replace(
            stage=run.current_stage, attempt=run.current_attempt, score=run.final_score, best=run.best_attempt
        )
        return Work(row, world.kept, calls, self.loaded_verdicts(world), ends=resumption.change is not None)

    def resumption(self, run: Run, world: World, unknowns: Unknowns) -> Resumption:
        """Return the decision where a claimed run continues."""
        return decide_resumption(run, artifacts_of(world.kept), unknowns)

    def known(self, row: Row, number: int) -> Row:
        """Return the row as a runner that has claimed it takes it."""
        return row

    def loaded_calls(self, world: World) -> tuple[Call, ...]:
        """Return the calls that a runner loads when it begins."""
        return world.calls

    def loaded_verdicts(self, world: World) -> tuple[tuple[int, str, float], ...]:
        """Return the verdicts that a runner loads when it begins."""
        return world.verdicts

    # A runner

    def working(self, world: World, number: int, work: Work) -> Iterator[Step]:
        """Yield the steps of a working runner."""
        name = NAMES[number]
        if self.may_fail(world):
            yield Step(f"{name} is killed", self.failing(self.doing(world, number, None)), benign=False)
        if work.sent is not None:
            yield self.asking_again(world, number, work, work.sent)
            return
        for plan in self.plans(world, work):
            yield self.written(world, number, work, plan)
            if not self.may_fail(world) or plan.what in {"error", "cancel"}:
                continue
            sent = self.failing(self.doing(world, number, work._replace(sent=plan)))
            text = f"{name} writes {_words(work, plan)}"
            yield Step(f"{text}, which is lost on its way", sent, benign=False)
            if (after := self.write(sent, work, plan)) is not None:
                lost = after._replace(last=(work, plan))
                yield Step(f"{text}, and the answer is lost", lost, benign=False)
        if world.row.silent:
            beaten = world._replace(row=world.row._replace(silent=False))
            if self.holds(world.row, work):
                yield Step(f"{name} beats", beaten)
            else:
                yield Step(f"{name} beats and hears that its lease is lost", self.doing(world, number, None))

    def asking_again(self, world: World, number: int, work: Work, plan: Plan) -> Step:
        """Return the retry of a write without an answer, after reading back whether it was written."""
        name, what = NAMES[number], _words(work, plan)
        again = self.waiting(work)
        if self.was_written(world, work, plan):
            return self.answered(f"{name} finds that it wrote {what}", world, number, again, plan)
        if (after := self.write(world, again, plan)) is None:
            return Step(f"{name} writes {what} again and is refused", self.doing(world, number, None))
        return self.answered(f"{name} writes {what} again", after, number, again, plan)

    def waiting(self, work: Work) -> Work:
        """Return the work with which a write is made again that has no answer."""
        return work._replace(sent=None)

    def was_written(self, world: World, work: Work, plan: Plan) -> bool:
        """Return what reading back under the lock finds."""
        return world.last == (work._replace(sent=None), plan)

    def written(self, world: World, number: int, work: Work, plan: Plan) -> Step:
        """Return a write whose answer arrives: the runner goes on, or drops its work."""
        text, after = f"{NAMES[number]} writes {_words(work, plan)}", self.write(world, work, plan)
        asks = self.asked(work, plan) if self.holds(world.row, work) else None
        if after is None:
            return Step(f"{text} and is refused", self.doing(world, number, None), asks)
        if plan.what == "release":
            after = self.failing(after)
        answered = self.answered(text, after, number, work, plan)
        return answered._replace(asks=asks, benign=plan.what not in {"error", "release"})

    def answered(self, text: str, world: World, number: int, work: Work, plan: Plan) -> Step:
        """Return the world in which the runner goes on; it knows by its own accounts what it has written."""
        acknowledged, next_work = (work.row.attempt, plan), None
        if self.holds(world.row, work):
            verdicts = work.verdicts
            if plan.what == "verdict" and isinstance(plan.content, float):
                verdicts = (*verdicts, (work.row.attempt, plan.part, plan.content))
            calls = with_calls(work.calls, self.completed(work, plan))
            next_work = Work(world.row._replace(policy=work.row.policy), world.kept, calls, verdicts)
        return Step(text, self.doing(world, number, next_work), acknowledged=acknowledged)

    def asked(self, work: Work, plan: Plan) -> tuple[int, str] | None:
        """Return the judge that is asked before a write is made; one with a model call is asked when that is booked."""
        if (plan.what == "book" and plan.part != MAKE) or (plan.what == "score" and not self.judges):
            return work.row.attempt, plan.part
        return None

    def plans(self, world: World, work: Work) -> Iterator[Plan]:
        """Yield what a runner may write next."""
        if work.ends:
            yield Plan("end")
            return
        yield from self.evaluating(work) if work.row.stage is Stage.EVALUATING else self.making(work)
        yield Plan("error")
        if self.may_fail(world):
            yield Plan("release")
        if world.row.cancel:
            yield Plan("cancel")

    def making(self, work: Work) -> Iterator[Plan]:
        """Yield the output of a stage, after its call was booked."""
        attempt = work.row.attempt
        if self.judges and not self.is_booked(work, MAKE):
            yield Plan("book")
            return
        for text in self.texts[attempt]:
            yield Plan("output", content=text)
            if self.judges and attempt == 1:
                yield Plan("output", content=text, priced=False)

    def evaluating(self, work: Work) -> Iterator[Plan]:
        """Yield the verdict of the next judge, the evaluation when all are there, or the one of an equal output."""
        attempt = work.row.attempt
        if (outcome := self.known_outcome(run_of(work.row), past_of(work.kept))) is not None:
            yield Plan("known", content=outcome.evaluation.score)
            return
        verdicts = {judge: score for number, judge, score in work.verdicts if number == attempt}
        for judge in self.judges:
            if judge in verdicts:
                continue
            if not self.is_booked(work, judge):
                yield Plan("book", judge)
            else:
                for score in self.scores[attempt] if judge == self.judges[0] else (STYLE_SCORE,):
                    yield Plan("verdict", judge, score)
            return
        for score in (min(verdicts.values()),) if verdicts else self.scores[attempt]:
            yield Plan("score", content=score)

    def known_outcome(self, run: Run, attempts: tuple[PastAttempt, ...]) -> Evaluated | None:
        """Return the outcome of an evaluation that needs no judge."""
        return known_outcome(run, attempts)

    def is_booked(self, work: Work, part: str) -> bool:
        """Return whether this holder has booked the call of a part."""
        return Call(work.row.token, work.row.attempt, part) in work.calls

    def completed(self, work: Work, plan: Plan) -> tuple[Call, ...]:
        """Return the calls that a write books or completes."""
        if not self.judges or plan.what not in {"book", "output", "verdict"}:
            return ()
        return (Call(work.row.token, work.row.attempt, plan.part, plan.what != "book", plan.priced),)

    def base(self, work: Work) -> int | None:
        """Return the attempt that a revision gets."""
        return stage_material(run_of(work.row), past_of(work.kept)).base_attempt

    def unknowns(self, calls: tuple[Call, ...]) -> Unknowns:
        """Return what the ledger does not tell."""
        return unknowns_of(map(call_of, calls))

    def computed_change(self, work: Work, plan: Plan) -> Change:
        """Return the change that a runner writes."""
        run, calls = run_of(work.row), self.completed(work, plan)
        stored = {call_of(call).id: call_of(call) for call in work.calls}
        seconds = 1.0 if plan.what in {"output", "score", "verdict"} else 0.0
        spending = added_spending(map(call_of, calls), stored, stage_seconds=seconds)
        unknowns = self.unknowns(with_calls(work.calls, calls))
        spent = Spent(calls=tuple(map(call_of, calls)), spending=spending, unknowns=unknowns)
        attempts = past_of(work.kept)
        match plan.what:
            case "book":
                change = machine.log_change(run, ())
            case "verdict":
                assert isinstance(plan.content, float)
                verdict = verdict_of(work.row.attempt, plan.part, plan.content)
                change = machine.log_change(run, [verdict_event(verdict)], verdicts=[verdict])
            case "release":
                change = machine.released_change(run, "the worker stops")
            case "cancel":
                change = machine.cancelled_change(run)
            case "end":
                change = machine.judgement_change(run, attempts, spent)
            case _:
                change = self.advance(run, _outcome(plan), attempts, spent)
        return change.booked(change.run, spent.calls, spent.spending)

    def advance(self, run: Run, outcome: Outcome, attempts: tuple[PastAttempt, ...], spent: Spent) -> Change:
        """Return the machine's change for the outcome of a stage."""
        return machine.advance(run, outcome, attempts=attempts, spent=spent)


def _outcome(plan: Plan) -> Outcome:
    if isinstance(plan.content, str):
        return Produced(plan.content)
    return Errored("no verdict") if plan.content is None else Evaluated(Evaluation(plan.content))


def _words(work: Work, plan: Plan) -> str:
    part = "" if plan.part == MAKE else f"{plan.part} "
    content = "" if plan.content is None else f" {plan.content}"
    price = "" if plan.priced else " of unknown price"
    return f"its {plan.what} {part}of {work.row.stage} {work.row.attempt}{content}{price}"


class Drafting(PolicyProtocol):
    """Drafts, revisions from the best, patience with a difference."""

    policy = "drafting"
    scores: ClassVar[Mapping[int, tuple[float, ...]]] = {1: (0.5, 0.7, 0.9), 2: (0.3, 0.7, 0.8), 3: (0.5, 0.8, 0.9)}


class Repeating(PolicyProtocol):
    """Drafts and revisions that repeat an earlier output, and two losses as the limit."""

    policy = "repeating"
    scores: ClassVar[Mapping[int, tuple[float, ...]]] = dict.fromkeys((1, 2, 3), (0.5, 0.9))
    texts: ClassVar[Mapping[int, str]] = {1: "a", 2: "ab", 3: "abc"}


class Timed(PolicyProtocol):
    """A budget of seconds that the second evaluation spends exactly, patience, and no limit of losses."""

    policy = "timed"
    scores: ClassVar[Mapping[int, tuple[float, ...]]] = {1: (0.5,), 2: (0.5, 0.6, 0.9), 3: (0.9,)}
    most_faults = 3


class Priced(PolicyProtocol):
    """Model calls of a stage and of two judges, their verdicts, and a budget of tokens and money."""

    policy = "priced"
    scores: ClassVar[Mapping[int, tuple[float, ...]]] = dict.fromkeys((1, 2, 3), (0.5,))
    judges = ("facts", "style")


class Foreign(PolicyProtocol):
    """A run without a policy, and two runners whose agents have different ones."""

    policy = None
    agents = ("patient", "hasty")
    scores: ClassVar[Mapping[int, tuple[float, ...]]] = dict.fromkeys((1, 2, 3), (0.5, 0.9))


CONFIGURATIONS: Final[tuple[type[PolicyProtocol], ...]] = (Drafting, Repeating, Timed, Priced, Foreign)
