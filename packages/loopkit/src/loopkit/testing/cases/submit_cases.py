"""Cases for new runs: submit, start, idempotency keys and cycle ids."""

from datetime import timedelta
from typing import Any, Final

import pytest

from loopkit.core.journal import EventType
from loopkit.core.run import Run, RunStatus, Stage
from loopkit.errors import KeyReused, RunNotClaimable
from loopkit.storage import Storage
from loopkit.testing.cases.case_base import Cases
from loopkit.testing.hand_clock import StoreClock
from loopkit.testing.steps import (
    AGENTS,
    ANNA,
    BORIS,
    all_runs,
    claim_one,
    in_threads,
    look,
    new_run,
    start_one,
    submit_one,
    work_to_end,
)

INPUTS: Final[list[dict[str, Any]]] = [
    {},
    {"text": "zwölf \u2028 \U0001f600 \\ ' \" % :now ; -- \r\n\t"},
    {"deep": [[{"a": [None, True, False, []]}], {}]},
    {"whole": 2**53 + 1, "large": 10**300, "negative": -1, "real": 0.1, "tiny": 5e-324, "one": 1.0},
    {"": "", "ключ": "значение", "b": 1, "a": 2},
]


class SubmitCases(Cases):
    async def test_submit_gives_queued_runs_in_order(self, storage: Storage) -> None:
        """The rows have the requested values and nothing else, and the results are in the order of the requests."""
        asked = [new_run(agent_name=name, max_attempts=n, pass_threshold=n / 10) for n, name in enumerate("abc", 1)]
        runs = await storage.submit(asked)
        assert [(r.agent_name, r.max_attempts, r.pass_threshold) for r in runs] == [
            ("a", 1, 0.1),
            ("b", 2, 0.2),
            ("c", 3, 0.3),
        ]
        for run in runs:
            assert run == await storage.get_run(run.id)
            assert run == Run(
                id=run.id,
                agent_name=run.agent_name,
                cycle_id=run.cycle_id,
                status=RunStatus.QUEUED,
                max_attempts=run.max_attempts,
                pass_threshold=run.pass_threshold,
                inputs={"thesis": "loops"},
                created_at=run.created_at,
                policy={},
            )
        assert len({run.id for run in runs}) == 3
        assert sorted(run.id for run in runs) == [run.id for run in runs]
        assert all(run.id.startswith("run_") for run in runs)

    async def test_submit_of_nothing_makes_nothing(self, storage: Storage) -> None:
        """An empty list is valid and returns an empty list."""
        assert await storage.submit([]) == []
        assert await all_runs(storage) == []

    async def test_a_queued_run_begins_its_journal(self, storage: Storage) -> None:
        """The first event says that the run is queued, and by whom."""
        run = await submit_one(storage, actor="mira")
        [event] = await storage.list_events(run.id)
        assert (event.event_type, event.stage, event.attempt) == (EventType.STAGE_CHANGE, None, 1)
        assert event.metadata == {"status": "queued", "actor": "mira"}
        assert event.created_at == run.created_at

    @pytest.mark.parametrize("inputs", INPUTS, ids=["empty", "text", "deep", "numbers", "keys"])
    async def test_inputs_come_back_as_they_were(self, storage: Storage, inputs: dict[str, Any]) -> None:
        """Text, nesting, the order of keys, and numbers with their type are stored exactly."""
        run = await submit_one(storage, inputs=inputs)
        stored = (await storage.get_run(run.id)).inputs
        assert repr(dict(stored)) == repr(inputs)

    async def test_a_threshold_keeps_all_its_digits(self, storage: Storage) -> None:
        """A threshold is a 64-bit float."""
        run = await submit_one(storage, pass_threshold=0.1 + 0.2)
        assert (await storage.get_run(run.id)).pass_threshold == 0.1 + 0.2

    async def test_start_makes_and_claims(self, storage: Storage) -> None:
        """The run is held by the caller, its journal is complete, and no other runner can claim it."""
        held = await start_one(storage, inputs={"n": 1})
        assert held.run == await storage.get_run(held.run.id)
        assert (held.run.status, held.run.current_stage, held.run.current_attempt) == (
            RunStatus.RUNNING,
            Stage.PRODUCING,
            1,
        )
        assert held.run.inputs == {"n": 1}
        assert (held.lease.run_id, held.lease.fencing_token) == (held.run.id, 1)
        assert (held.taken_over, held.artifacts) == (False, ())
        journal = [event.message for event in await storage.list_events(held.run.id)]
        assert journal == ["Queued", "Started", "Producing"]
        assert await storage.claim(BORIS, AGENTS) == []

    async def test_start_leaves_queued_runs_alone(self, storage: Storage) -> None:
        """It claims the run that it queued, not the oldest."""
        older = await submit_one(storage)
        held = await start_one(storage)
        assert held.run.id != older.id
        assert (await claim_one(storage)).run.id == older.id

    async def test_start_keeps_the_definition(self, storage: Storage) -> None:
        """The run has the digest of the agent's definition from its first claim on."""
        held = await storage.start(new_run(), ANNA, definition="d1")
        assert (await storage.get_run(held.run.id)).definition == "d1"

    async def test_the_same_key_gives_the_same_run(self, storage: Storage) -> None:
        """A repeated request queues no second run, and returns the first as it is now."""
        first = await submit_one(storage, idempotency_key="k")
        assert await submit_one(storage, idempotency_key="k") == first
        ended = await work_to_end(storage, await claim_one(storage))
        assert await submit_one(storage, idempotency_key="k") == ended
        assert await all_runs(storage) == [ended]
        assert [e.message for e in await storage.list_events(first.id)].count("Queued") == 1

    async def test_a_key_twice_in_one_batch_makes_one_run(self, storage: Storage) -> None:
        """A batch with the same request twice returns its run twice."""
        first, other, again = await storage.submit(
            [new_run(idempotency_key="k"), new_run(), new_run(idempotency_key="k")]
        )
        assert first == again
        assert [run.id for run in await all_runs(storage)] == [first.id, other.id]

    @pytest.mark.parametrize(
        "other",
        [
            {"agent_name": "painter"},
            {"inputs": {"thesis": "x"}},
            {"max_attempts": 9},
            {"pass_threshold": 0.1},
            {"cycle_id": "c"},
        ],
        ids=lambda other: next(iter(other)),
    )
    async def test_a_key_with_another_request_queues_nothing(self, storage: Storage, other: dict[str, Any]) -> None:
        """A key belongs to one request; a batch with a reused key is refused completely."""
        first = await submit_one(storage, idempotency_key="k")
        with pytest.raises(KeyReused) as caught:
            await storage.submit([new_run(), new_run(idempotency_key="new"), new_run(idempotency_key="k", **other)])
        assert caught.value.key == "k"
        assert await all_runs(storage) == [first]
        [made] = await storage.submit([new_run(idempotency_key="new", inputs={"free": True})])
        assert made.inputs == {"free": True}

    async def test_a_key_that_one_batch_uses_for_two_requests_queues_nothing(self, storage: Storage) -> None:
        """The batch is refused completely, since its own requests differ."""
        with pytest.raises(KeyReused):
            await storage.submit([new_run(idempotency_key="k"), new_run(idempotency_key="k", max_attempts=1)])
        assert await all_runs(storage) == []

    async def test_one_key_from_many_threads_makes_one_run(self, storage: Storage) -> None:
        """Concurrent requests with one key all get the same run."""
        answers = await in_threads([lambda: storage.submit([new_run(idempotency_key="k")]) for _ in range(6)])
        assert len({run.id for [run] in answers}) == 1
        assert len(await all_runs(storage)) == 1

    async def test_start_with_a_known_key_claims_the_run_made_first(self, storage: Storage) -> None:
        """It queues no second run, and does not take the run from a live holder."""
        queued = await submit_one(storage, idempotency_key="k")
        held = await start_one(storage, idempotency_key="k")
        assert held.run.id == queued.id
        before = await look(storage, queued.id)
        with pytest.raises(RunNotClaimable):
            await start_one(storage, BORIS, idempotency_key="k")
        with pytest.raises(KeyReused):
            await start_one(storage, BORIS, idempotency_key="k", max_attempts=7)
        assert await look(storage, queued.id) == before
        assert len(await all_runs(storage)) == 1

    async def test_cycle_ids_count_up_within_a_day(self, storage: Storage) -> None:
        """Runs without a cycle id get the next of the day, from 001 on, from every method."""
        first, second = await storage.submit([new_run(), new_run(agent_name="painter")])
        third = (await start_one(storage)).run
        day = first.created_at.date().isoformat()
        assert [run.cycle_id for run in (first, second, third)] == [f"{day}-001", f"{day}-002", f"{day}-003"]

    async def test_a_given_cycle_id_is_kept_and_may_repeat(self, storage: Storage) -> None:
        """Any text is a cycle id."""
        runs = await storage.submit([new_run(cycle_id="spring"), new_run(cycle_id="spring"), new_run(cycle_id="")])
        assert [run.cycle_id for run in runs] == ["spring", "spring", ""]

    @pytest.mark.parametrize(("given", "following"), [("007", "008"), ("7", "008"), ("999", "1000"), ("1041", "1042")])
    async def test_the_next_cycle_id_follows_the_highest(self, storage: Storage, given: str, following: str) -> None:
        """Ids from callers count, compared as numbers, and the number grows past 999."""
        day = (await submit_one(storage)).created_at.date().isoformat()
        await submit_one(storage, cycle_id=f"{day}-{given}")
        await submit_one(storage, cycle_id=f"{day}-004")
        assert (await submit_one(storage)).cycle_id == f"{day}-{following}"
        await submit_one(storage, cycle_id=f"{day}-003")
        later = int(following) + 1
        assert (await submit_one(storage)).cycle_id == f"{day}-{later:03d}"

    async def test_texts_that_only_look_like_cycle_ids_do_not_count(self, storage: Storage) -> None:
        """Other days, other texts and numbers that are too long are ignored."""
        day = (await submit_one(storage)).created_at.date().isoformat()
        strange = [
            "2019-01-01-500",
            f"{day}-12x",
            f"{day}-",
            f"x{day}-77",
            f"{day}--5",
            f"{day}- 9",
            f"{day}-" + "9" * 40,
        ]
        await storage.submit([new_run(cycle_id=text) for text in strange])
        assert (await submit_one(storage)).cycle_id == f"{day}-002"

    async def test_one_batch_may_mix_given_and_drawn_cycle_ids(self, storage: Storage) -> None:
        """An id from the caller counts for the runs after it in the batch."""
        day = (await submit_one(storage)).created_at.date().isoformat()
        runs = await storage.submit([new_run(), new_run(cycle_id=f"{day}-050"), new_run()])
        assert [run.cycle_id for run in runs] == [f"{day}-002", f"{day}-050", f"{day}-051"]

    async def test_each_day_begins_anew(self, storage: Storage, clock: StoreClock) -> None:
        """Numbers start at 001 on the next UTC date of the store's clock."""
        self.needs_hand(clock)
        first = await submit_one(storage)
        clock.advance(timedelta(days=1))
        second = await submit_one(storage)
        assert second.cycle_id == f"{second.created_at.date().isoformat()}-001"
        assert second.created_at.date() > first.created_at.date()

    async def test_parallel_submits_share_out_the_numbers(self, storage: Storage) -> None:
        """Concurrent submits never get the same cycle id, and skip none."""
        answers = await in_threads([lambda: storage.submit([new_run(), new_run()]) for _ in range(5)])
        numbers = sorted(int(run.cycle_id[11:]) for batch in answers for run in batch)
        assert numbers == list(range(1, 11))
