"""Cases for reads: one run, lists, journals, artifacts, and the store's own check."""

from datetime import timedelta
from typing import Final

import attrs
import pytest

from loopkit.core import machine
from loopkit.core.journal import EventType, NewEvent
from loopkit.core.outcome import Produced
from loopkit.core.run import Run, RunStatus
from loopkit.errors import RunNotFound, UnusableOption
from loopkit.storage import Order, RunQuery, Storage
from loopkit.testing.cases.case_base import TICK, Cases, fall_silent
from loopkit.testing.hand_clock import StoreClock
from loopkit.testing.steps import ANNA, fail, new_run, scored, start_one, submit_one, work, work_to_end

SECOND: Final = timedelta(seconds=1)


async def pages(storage: Storage, query: RunQuery) -> list[Run]:
    """Return all runs of a query by reading its pages, each of which but the last must have ``limit`` runs."""
    runs: list[Run] = []
    while True:
        page = await storage.list_runs(query)
        runs += page.runs
        if page.next_cursor is None:
            return runs
        assert len(page.runs) == query.limit
        query = RunQuery(
            **{name: getattr(query, name) for name in ("statuses", "agent", "limit", "order", "stalled", "text")},
            cursor=page.next_cursor,
        )


async def variety(storage: Storage, clock: StoreClock) -> dict[str, Run]:
    """Store one run of each kind, oldest first, and return them by kind."""
    runs: dict[str, Run] = {}
    runs["stalled"] = (await start_one(storage, cycle_id="alpha-1")).run
    fall_silent(storage, clock)
    runs["queued"] = await submit_one(storage, agent_name="painter", cycle_id="alpha-2")
    clock.advance(SECOND)
    for name, score in (("passed", 0.9), ("best", 1.0)):
        held = await start_one(storage, cycle_id="beta")
        clock.advance(SECOND)
        runs[name] = await work_to_end(storage, held, score)
    held = await start_one(storage, max_attempts=1)
    clock.advance(5 * SECOND)
    runs["failed"] = await work(storage, held, Produced("x"), scored(0.4))
    runs["errored"] = await fail(storage, await start_one(storage))
    clock.advance(SECOND)
    runs["cancelled"] = await storage.request_cancel((await submit_one(storage)).id)
    clock.advance(SECOND)
    runs["running"] = (await start_one(storage)).run
    return {name: await storage.get_run(run.id) for name, run in runs.items()}


class ReadCases(Cases):
    async def test_an_unknown_run_is_an_error(self, storage: Storage) -> None:
        """The run, its journal and its artifacts all raise RunNotFound."""
        for look in (storage.get_run, storage.list_events, storage.list_artifacts, storage.describe_artifacts):
            with pytest.raises(RunNotFound) as caught:
                await look("run_0")
            assert caught.value.run_id == "run_0"

    async def test_a_run_without_artifacts_has_none(self, storage: Storage) -> None:
        """The result is an empty list."""
        run = await submit_one(storage)
        assert await storage.list_artifacts(run.id) == []
        assert await storage.describe_artifacts(run.id) == []

    async def test_artifacts_are_told_of_and_picked_out(self, storage: Storage) -> None:
        """A description is an artifact without its content; with ids, only those of this run are returned, in order."""
        other = await start_one(storage)
        await work_to_end(storage, other)
        held = await start_one(storage)
        await work(storage, held, Produced("a"), scored(0.1), Produced('{"b": 1}', is_json=True), scored(0.2))
        whole = await storage.list_artifacts(held.run.id)
        assert len(whole) == 4
        assert await storage.describe_artifacts(held.run.id) == [artifact.info for artifact in whole]
        foreign = (await storage.list_artifacts(other.run.id))[0].id
        wanted = [whole[3].id, foreign, whole[0].id, -1]
        assert await storage.list_artifacts(held.run.id, only=wanted) == [whole[0], whole[3]]
        assert await storage.list_artifacts(held.run.id, only=[]) == []

    async def test_a_run_is_read_with_the_beginnings_of_its_texts(self, storage: Storage) -> None:
        """With ``max_chars`` the texts of a run end there, and the run says so; a run whose texts are shorter is whole.

        Of inputs and policy, the members that are whole and the beginning of the text with the cut are read.
        """
        inputs = {"topic": "cats", "notes": "é" * 50_000, "rest": [1, 2, 3]}
        long = await submit_one(storage, inputs=inputs, policy={"reviseFrom": "x" * 300}, cycle_id="c" * 300)
        short = await submit_one(storage)
        expected = attrs.evolve(
            long,
            inputs={"topic": "cats", "notes": "é" * (100 - 25)},
            policy={"reviseFrom": "x" * (100 - 15)},
            cycle_id="c" * 100,
            is_cut=True,
        )
        assert await storage.get_run(long.id, max_chars=100) == expected
        assert await storage.get_run(short.id, max_chars=100) == short
        for order in (Order.CREATED, Order.CREATED_ASC):
            page = await storage.list_runs(RunQuery(order=order, max_chars=100))
            assert set(map(repr, page.runs)) == {repr(expected), repr(short)}
        assert await storage.get_run(long.id, max_chars=60_000) == long
        assert await storage.get_run(long.id) == long

    async def test_events_are_read_with_the_beginnings_of_their_texts(self, storage: Storage) -> None:
        """With ``max_chars`` messages and metadata end there, and the event says so."""
        held = await start_one(storage)
        metadata = {"filename": "a.md", "text": "x" * 5_000}
        lines = [NewEvent(event_type=EventType.LOG, message="m" * 5_000, metadata=metadata)]
        lines += [NewEvent(event_type=EventType.LOG, message="short", metadata={"a": [1]})]
        await storage.record(held.lease, machine.log_change(held.run, lines))
        long, short = (await storage.list_events(held.run.id))[-2:]
        cut = attrs.evolve(long, message="m" * 50, metadata={"filename": "a.md", "text": "x" * (50 - 27)}, is_cut=True)
        assert (await storage.list_events(held.run.id, max_chars=50))[-2:] == [cut, short]
        assert await storage.list_events(held.run.id, before=short.id, limit=1, max_chars=50) == [cut]

    async def test_an_artifact_is_read_in_parts(self, storage: Storage) -> None:
        """With ``max_chars`` a content is a part of the whole, and ``length`` is that of the whole if it is longer."""
        held = await start_one(storage)
        content = "".join(chr(0x1F600 + n % 50) if n % 3 else "é" for n in range(1_000))
        await work(storage, held, Produced(content), scored(0.1))
        whole, evaluation = await storage.list_artifacts(held.run.id)
        parts = []
        for start in range(0, 1_000, 300):
            [part] = await storage.list_artifacts(held.run.id, only=[whole.id], start=start, max_chars=300)
            assert part == attrs.evolve(whole, content=content[start : start + 300], length=1_000)
            parts.append(part.content)
        assert "".join(parts) == content
        assert await storage.list_artifacts(held.run.id, max_chars=1_000) == [whole, evaluation]
        [beyond] = await storage.list_artifacts(held.run.id, only=[whole.id], start=2_000, max_chars=300)
        assert (beyond.content, beyond.length) == ("", 1_000)

    async def test_times_are_utc_in_milliseconds(self, storage: Storage) -> None:
        """Every time that a store returns is aware, in UTC, and truncated to milliseconds."""
        run = await work_to_end(storage, await start_one(storage))
        await submit_one(storage)
        event = (await storage.list_events(run.id))[-1]
        artifact = (await storage.list_artifacts(run.id))[-1]
        times = [run.created_at, run.claimed_at, run.heartbeat_at, run.started_at, run.completed_at]
        for moment in (*times, event.created_at, artifact.created_at):
            assert moment is not None
            assert moment.utcoffset() == timedelta(0)
            assert moment.microsecond % 1000 == 0

    async def test_an_empty_store_lists_nothing(self, storage: Storage) -> None:
        """The list is empty in every order."""
        for order in Order:
            page = await storage.list_runs(RunQuery(order=order))
            assert (page.runs, page.next_cursor) == ((), None)

    async def test_the_newest_run_comes_first(self, storage: Storage, clock: StoreClock) -> None:
        """Runs are sorted by creation, then by id; a list has the current rows."""
        made = await storage.submit([new_run(), new_run()])
        clock.advance(TICK)
        made += await storage.submit([new_run(), new_run()])
        listed = (await storage.list_runs(RunQuery())).runs
        assert list(listed) == made[::-1]
        ascending = (await storage.list_runs(RunQuery(order=Order.CREATED_ASC))).runs
        assert list(ascending) == made

    @pytest.mark.parametrize("order", Order)
    async def test_pages_give_every_run_once(self, storage: Storage, clock: StoreClock, order: Order) -> None:
        """Pages read by cursor have the same runs as one long page, equal keys included."""
        for turn in range(4):
            await storage.submit([new_run(cycle_id="c")])
            await work_to_end(storage, await start_one(storage))
            clock.advance((turn % 2) * SECOND)
        whole = (await storage.list_runs(RunQuery(order=order, limit=200))).runs
        assert len(whole) == (8 if order in (Order.CREATED, Order.CREATED_ASC) else 4)
        for limit in (1, 3, 4):
            assert tuple(await pages(storage, RunQuery(order=order, limit=limit))) == whole

    async def test_new_runs_do_not_disturb_a_walk(self, storage: Storage, clock: StoreClock) -> None:
        """The next page continues where the last one ended, although newer runs were added."""
        made = await storage.submit([new_run() for _ in range(4)])
        first = await storage.list_runs(RunQuery(limit=2))
        clock.advance(TICK)
        await submit_one(storage)
        second = await storage.list_runs(RunQuery(limit=2, cursor=first.next_cursor))
        assert [run.id for run in (*first.runs, *second.runs)] == [run.id for run in made[::-1]]

    async def test_orders(self, storage: Storage, clock: StoreClock) -> None:
        """Each order sorts by its key, and leaves out runs without it."""
        made = await variety(storage, clock)
        names = {run.id: name for name, run in made.items()}

        async def listed(order: Order) -> list[str]:
            return [names[run.id] for run in (await storage.list_runs(RunQuery(order=order))).runs]

        assert await listed(Order.CREATED) == list(made)[::-1]
        assert await listed(Order.CREATED_ASC) == list(made)
        ends = await listed(Order.COMPLETED)
        assert set(ends) == {"passed", "best", "failed", "errored", "cancelled"}
        assert ends[0] == "cancelled"
        assert ends[-2:] == ["best", "passed"]
        assert await listed(Order.SCORE) == ["best", "passed", "failed"]
        durations = await listed(Order.DURATION)
        assert durations[0] == "failed"
        assert set(durations) == {"passed", "best", "failed", "errored"}

    async def test_filters(self, storage: Storage, clock: StoreClock) -> None:
        """Statuses, agent, text, times and stalls filter the list; an empty filter matches every run."""
        made = await variety(storage, clock)
        names = {run.id: name for name, run in made.items()}

        async def listed(query: RunQuery) -> set[str]:
            return {names[run.id] for run in (await storage.list_runs(query)).runs}

        everything = set(made)
        assert await listed(RunQuery(agent="", text="", statuses=frozenset())) == everything
        assert await listed(RunQuery(statuses=frozenset({RunStatus.PASSED}))) == {"passed", "best"}
        both = frozenset({RunStatus.QUEUED, RunStatus.CANCELLED})
        assert await listed(RunQuery(statuses=both)) == {"queued", "cancelled"}
        assert await listed(RunQuery(statuses=frozenset({RunStatus.RUNNING}))) == {"running", "stalled"}
        assert await listed(RunQuery(agent="painter")) == {"queued"}
        assert await listed(RunQuery(agent="paint")) == set()
        assert await listed(RunQuery(statuses=both, agent="writer")) == {"cancelled"}
        assert await listed(RunQuery(stalled=True)) == {"stalled"}
        assert await listed(RunQuery(text="alpha")) == {"stalled", "queued"}
        assert await listed(RunQuery(text="paint")) == {"queued"}
        assert await listed(RunQuery(text=made["best"].id)) == {"best"}
        assert await listed(RunQuery(text="lpha")) == set()
        since = made["failed"].created_at
        after = {"failed", "errored", "cancelled", "running"}
        assert await listed(RunQuery(created_since=since)) == after
        assert await listed(RunQuery(created_before=since)) == everything - after

    @pytest.mark.parametrize("text", ["%", "_", "\\", "a%", "a_c", "'", "A"])
    async def test_a_text_is_no_pattern(self, storage: Storage, text: str) -> None:
        """Every character of a text is literal, and case matters."""
        await storage.submit([new_run(cycle_id="abc"), new_run(cycle_id="a\\c")])
        assert (await storage.list_runs(RunQuery(text=text))).runs == ()
        exact = await submit_one(storage, cycle_id=f"{text}x")
        assert (await storage.list_runs(RunQuery(text=text))).runs == (exact,)

    async def test_limits_are_clamped(self, storage: Storage) -> None:
        """A page has 1 to 200 runs for any limit, and 50 by default."""
        await storage.submit([new_run(cycle_id="c") for _ in range(205)])
        for limit, length in ((0, 1), (-5, 1), (7, 7), (200, 200), (100_000, 200)):
            page = await storage.list_runs(RunQuery(limit=limit))
            assert len(page.runs) == length
            assert page.next_cursor is not None
        assert len((await storage.list_runs(RunQuery())).runs) == 50

    async def test_a_cursor_belongs_to_its_order(self, storage: Storage) -> None:
        """A cursor of another order, or an invalid one, is a clear error."""
        await storage.submit([new_run(), new_run()])
        cursor = (await storage.list_runs(RunQuery(limit=1))).next_cursor
        for order in (Order.CREATED_ASC, Order.COMPLETED, Order.SCORE, Order.DURATION):
            with pytest.raises(UnusableOption):
                await storage.list_runs(RunQuery(order=order, cursor=cursor))
        for nonsense in ("", "x", "bm8", "ä", "W10", "eyJhIjoxfQ", "' OR 1=1 --"):
            with pytest.raises(UnusableOption):
                await storage.list_runs(RunQuery(cursor=nonsense))

    async def test_a_list_shows_stalls(self, storage: Storage, clock: StoreClock) -> None:
        """A run is stalled by the store's clock, in a list and when it is read alone."""
        held = await start_one(storage)
        fall_silent(storage, clock)
        [run] = (await storage.list_runs(RunQuery())).runs
        assert run.stalled
        assert run == await storage.get_run(held.run.id)

    async def test_a_journal_is_read_in_parts(self, storage: Storage) -> None:
        """After an id, before an id, and between: oldest first, each event once."""
        held = await start_one(storage)
        lines = [NewEvent(event_type=EventType.LOG, message=str(n)) for n in range(7)]
        await storage.record(held.lease, machine.log_change(held.run, lines))
        other = await start_one(storage)
        events = await storage.list_events(held.run.id)
        ids = [event.id for event in events]
        assert len(events) == 10
        for n in range(10):
            assert await storage.list_events(held.run.id, after=ids[n]) == events[n + 1 :]
            assert await storage.list_events(held.run.id, before=ids[n]) == events[:n]
            assert await storage.list_events(held.run.id, before=ids[n], limit=2) == events[max(n - 2, 0) : n]
        assert await storage.list_events(held.run.id, after=ids[2], before=ids[7]) == events[3:7]
        assert await storage.list_events(held.run.id, after=ids[2], before=ids[7], limit=2) == events[5:7]
        assert await storage.list_events(held.run.id, after=ids[2], limit=3) == events[3:6]
        assert await storage.list_events(held.run.id, limit=0) == events[:1]
        assert await storage.list_events(held.run.id, limit=-1) == events[:1]
        assert await storage.list_events(held.run.id, after=ids[-1]) == []
        assert {event.run_id for event in await storage.list_events(other.run.id)} == {other.run.id}

    async def test_a_journal_gives_at_most_a_thousand_events(self, storage: Storage) -> None:
        """Limits are clamped; 500 by default."""
        held = await start_one(storage)
        lines = [NewEvent(event_type=EventType.LOG, message=str(n)) for n in range(1100)]
        await storage.record(held.lease, machine.log_change(held.run, lines))
        assert len(await storage.list_events(held.run.id)) == 500
        events = await storage.list_events(held.run.id, limit=10_000)
        assert [event.message for event in events[3:]] == [str(n) for n in range(997)]
        last = await storage.list_events(held.run.id, before=events[-1].id + 10_000, limit=10_000)
        assert (len(last), last[-1].message) == (1000, "1099")

    async def test_a_store_in_use_checks_clean(self, storage: Storage, clock: StoreClock) -> None:
        """None of the methods breaks an invariant."""
        await variety(storage, clock)
        fall_silent(storage, clock)
        held = await storage.claim(ANNA, {"writer": "d", "painter": "p"}, limit=2)
        for held_run in held:
            await work(storage, held_run, Produced("x"), scored(0.1))
        failed = (await storage.list_runs(RunQuery(statuses=frozenset({RunStatus.FAILED})))).runs[0]
        await storage.retry(failed.id)
        assert await storage.check() == []

    async def test_closing_twice_is_no_error(self, storage: Storage) -> None:
        """``aclose`` may be called again."""
        await submit_one(storage)
        await storage.aclose()
        await storage.aclose()
