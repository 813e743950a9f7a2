"""Suite for :class:`loopkit.storage.Ledger`, used by a subclass like :class:`~loopkit.testing.StorageSuite`."""

import random
from datetime import timedelta

import attrs
import pytest

from loopkit.core import machine
from loopkit.core.journal import Change
from loopkit.core.ledger.calls import CallState, ModelCall, StoredCall, spending_of
from loopkit.core.ledger.sums import Spending
from loopkit.core.outcome import Produced
from loopkit.core.panel.verdict import Verdict, VerdictKind
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.errors import LeaseLost, RunNotFound
from loopkit.storage import Ledger, Maintenance, Storage
from loopkit.testing.cases.case_base import TICK, Cases
from loopkit.testing.hand_clock import StoreClock
from loopkit.testing.steps import fail, forged, new_call, new_verdict, scored, start_one, with_ledger, work, work_to_end

__all__ = ["LedgerSuite"]


def booking(run: Run, *calls: ModelCall) -> Change:
    """Return a change that adds model calls to a held run and nothing else."""
    return machine.log_change(run, [], calls=calls, spending=spending_of(calls))


def judging(run: Run, *verdicts: Verdict) -> Change:
    """Return a change that adds verdicts to a held run and nothing else."""
    return machine.log_change(run, [], verdicts=verdicts)


def plain(calls: list[StoredCall]) -> list[ModelCall]:
    """Return stored calls without their times."""
    return [ModelCall(**{field.name: getattr(call, field.name) for field in attrs.fields(ModelCall)}) for call in calls]


EVERY_FIELD = new_call(
    "all",
    stage=Stage.EVALUATING,
    attempt=3,
    judge="facts, zwölf \u2028",
    sample=2,
    try_number=4,
    model="openai:gpt-5-mini",
    input_tokens=2**40,
    output_tokens=2**41,
    cached_tokens=2**39,
    cost_nanos=2**60 + 1,
    seconds=0.1,
    state=CallState.FAILED,
)


HARD_SCORES = (0.937327172721863, 0.0928424883494764, 0.513449741285465, 0.0)
"""Scores of which SQLite reads the first three one place off when they are text of as few digits as tell them apart."""


class LedgerSuite(Cases):
    """Cases for :class:`loopkit.storage.Ledger`."""

    async def test_calls_are_stored_in_order(self, storage: Storage, clock: StoreClock) -> None:
        """Those of one change in its order, with every value, and the time of the write."""
        assert isinstance(storage, Ledger)
        held = await start_one(storage)
        calls = [new_call("z"), EVERY_FIELD, new_call("b", state=CallState.UNANSWERED)]
        run = await storage.record(held.lease, booking(held.run, *calls))
        first = await storage.list_calls(run.id)
        clock.advance(TICK)
        await storage.record(held.lease, booking(run, new_call("a")))
        stored = await storage.list_calls(run.id)
        assert plain(stored) == [*calls, new_call("a")]
        assert stored[:3] == first
        assert [call.created_at for call in first] == [run.heartbeat_at] * 3
        assert stored[3].created_at > stored[2].created_at

    async def test_every_digit_is_stored(self, storage: Storage) -> None:
        """Scores, thresholds and times come back as they were, to the last of up to 17 digits."""
        assert isinstance(storage, Ledger)
        draw = random.Random(17)
        scores = [*HARD_SCORES, *(draw.random() for _ in range(200)), *(10 ** draw.uniform(-308, 0) for _ in range(50))]
        verdicts = [new_verdict(f"judge {number:03}", score=score) for number, score in enumerate(scores)]
        calls = [new_call(f"call {number:03}", seconds=draw.random() * 1000) for number in range(100)]
        held = await start_one(storage, pass_threshold=HARD_SCORES[0])
        run = await storage.record(held.lease, judging(held.run, *verdicts))
        run = await storage.record(held.lease, booking(run, *calls))
        await work(storage, attrs.evolve(held, run=run), Produced("a"), scored(HARD_SCORES[0]))
        stored = await storage.get_run(run.id)
        assert (stored.pass_threshold, stored.final_score) == (HARD_SCORES[0], HARD_SCORES[0])
        assert [verdict.score for verdict in await storage.list_verdicts(run.id, 1)] == scores
        assert [call.seconds for call in await storage.list_calls(run.id)] == [call.seconds for call in calls]

    async def test_a_second_write_completes_a_call(self, storage: Storage, clock: StoreClock) -> None:
        """It keeps its place and its time; the sums move by what the change says."""
        assert isinstance(storage, Ledger)
        held = await start_one(storage)
        sent = [new_call("first", state=CallState.UNANSWERED), new_call("second", state=CallState.UNANSWERED)]
        run = await storage.record(held.lease, booking(held.run, *sent))
        before = await storage.list_calls(run.id)
        assert run.spending == Spending(unpriced_calls=2)
        clock.advance(TICK)
        answered = attrs.evolve(sent[0], input_tokens=5, cost_nanos=7, state=CallState.ANSWERED)
        added = Spending(input_tokens=5, cost_nanos=7, unpriced_calls=-1)
        run = await storage.record(held.lease, machine.log_change(run, [], calls=[answered], spending=added))
        stored = await storage.list_calls(run.id)
        assert plain(stored) == [answered, sent[1]]
        assert [call.created_at for call in stored] == [call.created_at for call in before]
        assert run.spending == spending_of(stored) == Spending(input_tokens=5, cost_nanos=7, unpriced_calls=1)

    async def test_a_call_that_is_twice_in_a_change_is_stored_as_it_was_last(self, storage: Storage) -> None:
        """Its id names it."""
        assert isinstance(storage, Ledger)
        held = await start_one(storage)
        twice = [new_call("x", state=CallState.UNANSWERED), new_call("y"), new_call("x", input_tokens=1)]
        await storage.record(held.lease, machine.log_change(held.run, [], calls=twice))
        assert plain(await storage.list_calls(held.run.id)) == [twice[2], twice[1]]

    async def test_calls_of_several_runs_do_not_mix(self, storage: Storage) -> None:
        """The same id is another call in another run."""
        assert isinstance(storage, Ledger)
        runs = []
        for tokens in (1, 2):
            held = await start_one(storage)
            runs.append(await storage.record(held.lease, booking(held.run, new_call("same", input_tokens=tokens))))
        assert [(await storage.list_calls(run.id))[0].input_tokens for run in runs] == [1, 2]
        assert [run.input_tokens for run in runs] == [1, 2]

    async def test_verdicts_are_stored_once(self, storage: Storage) -> None:
        """The first one stays; those with another attempt, kind, name, sample or maker are others."""
        assert isinstance(storage, Ledger)
        held = await start_one(storage)
        run = await work(storage, held, Produced("one"))
        first = new_verdict("b", feedback="zwölf \u2028", detail={"criteria": {"a": [1, None, 0.5]}})
        others = [
            new_verdict("a"),
            new_verdict("b", made_by="new digest"),
            new_verdict("b", sample=2),
            new_verdict("b", kind=VerdictKind.CHECK, score=1.0),
        ]
        run = await storage.record(held.lease, judging(run, first))
        again = attrs.evolve(first, score=0.9, feedback="better", detail={})
        run = await storage.record(held.lease, judging(run, *others, again, again))
        await storage.record(held.lease, judging(run, new_verdict("b", attempt=2)))
        a, new_digest, second_sample, check = others
        assert await storage.list_verdicts(run.id, 1) == [check, a, first, new_digest, second_sample]
        assert await storage.list_verdicts(run.id, 2) == [new_verdict("b", attempt=2)]
        assert await storage.list_verdicts(run.id, 3) == []

    async def test_they_are_written_with_every_kind_of_change(self, storage: Storage) -> None:
        """With a stage's result, whichever way the change goes, with a release, and with an end."""
        assert isinstance(storage, Ledger)
        for number, ends_in in enumerate([RunStatus.RUNNING, RunStatus.CANCELLED, RunStatus.QUEUED, RunStatus.FAILED]):
            held = await start_one(storage)
            if ends_in is RunStatus.QUEUED:
                change = machine.released_change(held.run, "stop")
            elif ends_in is RunStatus.FAILED:
                change = machine.cancelled_change(held.run)
                change = attrs.evolve(change, then=attrs.evolve(change.then, status=RunStatus.FAILED))
            else:
                change = machine.advance(held.run, Produced("one"))
            if ends_in is RunStatus.CANCELLED:
                await storage.request_cancel(held.run.id)
            call, verdict = new_call(f"call {number}", input_tokens=3), new_verdict("a")
            run = await storage.record(held.lease, with_ledger(change, call, verdict))
            assert (run.status, run.spending) == (ends_in, Spending(input_tokens=3, unpriced_calls=1))
            assert run == await storage.get_run(run.id)
            assert plain(await storage.list_calls(run.id)) == [call]
            assert await storage.list_verdicts(run.id, 1) == [verdict]

    async def test_a_lost_lease_writes_none(self, storage: Storage) -> None:
        """Neither does a change that is refused because its stage has another result."""
        assert isinstance(storage, Ledger)
        held = await start_one(storage)
        await work(storage, held, Produced("one"))
        other = machine.advance(held.run, Produced("another"))
        for lease, change in (
            (held.lease, other),
            *((lease, machine.log_change(held.run, [])) for lease in forged(held.lease)),
        ):
            with pytest.raises(LeaseLost):
                await storage.record(lease, with_ledger(change, new_call("x"), new_verdict("a")))
        assert await storage.list_calls(held.run.id) == []
        assert await storage.list_verdicts(held.run.id, 1) == []
        assert (await storage.get_run(held.run.id)).spending == Spending()

    async def test_a_repeated_change_writes_once(self, storage: Storage) -> None:
        """A caller that got no answer makes the same call again; calls, verdicts and sums are as after one."""
        assert isinstance(storage, Ledger)
        held = await start_one(storage)
        call, verdict = new_call("x", input_tokens=3, cost_nanos=9), new_verdict("a")
        for change in machine.log_change(held.run, []), machine.advance(held.run, Produced("one")):
            for _ in range(2):
                run = await storage.record(held.lease, with_ledger(change, call, verdict))
            assert run.spending == spending_of([call])
            assert plain(await storage.list_calls(run.id)) == [call]
            assert await storage.list_verdicts(run.id, 1) == [verdict]

    async def test_a_retry_begins_with_an_empty_ledger(self, storage: Storage) -> None:
        """The ended run keeps its own."""
        assert isinstance(storage, Ledger)
        held = await start_one(storage)
        await storage.record(held.lease, booking(held.run, new_call("x", input_tokens=3)))
        ended = await fail(storage, attrs.evolve(held, run=await storage.get_run(held.run.id)))
        new = await storage.retry(ended.id)
        assert (new.spending, await storage.list_calls(new.id)) == (Spending(), [])
        assert len(await storage.list_calls(ended.id)) == 1

    async def test_a_pruned_run_takes_its_ledger_along(self, storage: Storage, clock: StoreClock) -> None:
        """The ledger of another run stays."""
        assert isinstance(storage, Ledger)
        assert isinstance(storage, Maintenance)
        runs = []
        for score in (0.9, 0.1):
            held = await start_one(storage)
            run = await storage.record(held.lease, booking(held.run, new_call("x")))
            run = await storage.record(held.lease, judging(run, new_verdict("a")))
            await work_to_end(storage, attrs.evolve(held, run=run), score)
            runs.append(run)
        clock.advance(TICK)
        assert await storage.prune(timedelta(0)) == [runs[0].id]
        with pytest.raises(RunNotFound):
            await storage.list_calls(runs[0].id)
        with pytest.raises(RunNotFound):
            await storage.list_verdicts(runs[0].id, 1)
        assert len(await storage.list_calls(runs[1].id)) == len(await storage.list_verdicts(runs[1].id, 1)) == 1
        assert await storage.check() == []

    async def test_a_new_run_has_none(self, storage: Storage) -> None:
        """Reading the ledger of a run that is not stored is an error."""
        assert isinstance(storage, Ledger)
        run = await work(storage, await start_one(storage), Produced("one"), scored(0.9))
        assert await storage.list_calls(run.id) == []
        assert await storage.list_verdicts(run.id, 1) == []
        with pytest.raises(RunNotFound):
            await storage.list_calls("run_unknown")
        with pytest.raises(RunNotFound):
            await storage.list_verdicts("run_unknown", 1)
