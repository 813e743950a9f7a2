"""Cases for titles and tags of new runs, and for lists that are filtered by tags and reason."""

from collections.abc import AsyncIterator
from typing import Any, Final

from loopkit.core.labels.words import Words
from loopkit.core.outcome import Produced
from loopkit.core.run import EndReason, Run, RunStatus
from loopkit.storage import IdempotencyKeys, Order, RunnerRegistry, RunQuery, Storage
from loopkit.testing.cases.case_base import TICK, Cases
from loopkit.testing.hand_clock import StoreClock
from loopkit.testing.steps import claim_one, fail, new_run, scored, start_one, submit_one, work, work_to_end

LABELS: Final[dict[str, Any]] = {"title": "Loops in spring", "tags": ("urgent", "Zebra", "ärger")}
SORTED_TAGS = ("Zebra", "urgent", "ärger")


async def every_page(storage: Storage, **fields: object) -> AsyncIterator[Run]:
    """Yield the runs of all pages of a list, two a page."""
    cursor: str | None = None
    while True:
        page = await storage.list_runs(RunQuery(**{**fields, "limit": 2, "cursor": cursor}))  # type: ignore[arg-type]
        assert len(page.runs) <= 2
        for run in page.runs:
            yield run
        if (cursor := page.next_cursor) is None:
            return


async def listed(storage: Storage, **fields: object) -> list[str]:
    """Return the ids of a list, in its order."""
    return [run.id async for run in every_page(storage, **fields)]


class LabelCases(Cases):
    """Cases for labels of runs."""

    async def test_new_runs_have_their_labels(self, storage: Storage) -> None:
        """Every read of a run has its title and its sorted tags; one without labels has none."""
        run = await submit_one(storage, **LABELS)
        plain = await submit_one(storage)
        assert (run.title, run.tags) == (LABELS["title"], SORTED_TAGS)
        assert (plain.title, plain.tags) == (None, ())
        assert await storage.get_run(run.id) == run
        assert await storage.get_run(run.id, max_chars=100) == run
        assert (await storage.list_runs(RunQuery())).runs in ((run, plain), (plain, run))
        held = [await claim_one(storage), await claim_one(storage)]
        assert sorted((h.run.title or "", h.run.tags) for h in held) == [("", ()), (LABELS["title"], SORTED_TAGS)]
        labelled = next(h for h in held if h.run.id == run.id)
        ended = await work_to_end(storage, labelled)
        assert (ended.title, ended.tags) == (LABELS["title"], SORTED_TAGS)
        if isinstance(storage, RunnerRegistry):
            assert [(r.title, r.tags) for r in await storage.holdings()] == [(None, ())]
        assert await storage.check() == []

    async def test_a_run_started_here_has_its_labels(self, storage: Storage) -> None:
        """A run that is queued and claimed in one transaction has its labels at once."""
        held = await start_one(storage, **LABELS)
        assert (held.run.title, held.run.tags) == (LABELS["title"], SORTED_TAGS)
        assert await storage.get_run(held.run.id) == held.run
        assert await storage.check() == []

    async def test_runs_of_a_batch_have_their_own_labels(self, storage: Storage) -> None:
        """Each run of a call has the labels of its own request."""

        requests = [new_run(title=f"number {n}", tags=("all", f"n{n % 3}")[: n + 1]) for n in range(4)]
        runs = await storage.submit(requests)
        assert [(run.title, run.tags) for run in runs] == [(r.title, r.tags) for r in requests]
        assert [await storage.get_run(run.id) for run in runs] == runs

    async def test_a_repeated_request_changes_no_labels(self, storage: Storage) -> None:
        """A request with a known key leaves the labels of the first run as they are."""
        first = await submit_one(storage, idempotency_key="k", **LABELS)
        again = await submit_one(storage, idempotency_key="k", **LABELS)
        assert again == first == await storage.get_run(first.id)
        if isinstance(storage, IdempotencyKeys):
            keyed = await storage.find_key("k")
            assert keyed is not None
            assert keyed.run == first
        assert len((await storage.list_runs(RunQuery(tags=("urgent",)))).runs) == 1
        assert await storage.check() == []

    async def test_a_retry_has_the_labels_of_its_run(self, storage: Storage) -> None:
        """``retry`` copies title and tags."""
        old = await fail(storage, await start_one(storage, **LABELS))
        new = await storage.retry(old.id)
        assert (new.title, new.tags) == (LABELS["title"], SORTED_TAGS)
        assert await storage.get_run(new.id) == new

    async def test_lists_are_filtered_by_tags(self, storage: Storage, clock: StoreClock) -> None:
        """A run is listed when it has all of the tags, in every order and whatever the other filters."""
        made: list[Run] = []
        for number in range(12):
            tags = tuple(tag for tag, every in (("two", 2), ("three", 3), ("all", 1)) if number % every == 0)
            run = await submit_one(storage, tags=tags, agent_name="writer" if number % 4 else "painter")
            made.append(run)
            clock.advance(TICK)
        newest = [run.id for run in reversed(made)]
        assert await listed(storage, tags=("two",)) == newest[1::2]
        assert await listed(storage, tags=("three", "two")) == [made[6].id, made[0].id]
        assert await listed(storage, tags=("all",), order=Order.CREATED_ASC) == newest[::-1]
        assert await listed(storage, tags=("two",), agent="writer") == [made[10].id, made[6].id, made[2].id]
        assert await listed(storage, tags=("two",), text="paint") == [made[8].id, made[4].id, made[0].id]
        assert await listed(storage, tags=("three",), created_since=made[4].created_at) == [made[9].id, made[6].id]
        assert await listed(storage, tags=("all",), statuses=frozenset({RunStatus.PASSED})) == []
        assert await listed(storage, tags=("Two",)) == await listed(storage, tags=("two", "nobody")) == []

    async def test_lists_are_filtered_by_reason(self, storage: Storage, clock: StoreClock) -> None:
        """A run is listed when loopkit ended it for that reason."""
        ended: dict[EndReason, list[str]] = {reason: [] for reason in EndReason}
        for _ in range(3):
            ended[EndReason.SCORE_PASSED].append((await work_to_end(storage, await start_one(storage))).id)
            ended[EndReason.STAGE_ERROR].append((await fail(storage, await start_one(storage, tags=("t",)))).id)
            spent = await work(storage, await start_one(storage, max_attempts=1), Produced("x"), scored(0.1))
            ended[EndReason.ATTEMPTS_SPENT].append(spent.id)
            ended[EndReason.CANCEL_REQUESTED].append((await storage.request_cancel((await submit_one(storage)).id)).id)
            clock.advance(TICK)
        await submit_one(storage)
        for reason, ids in ended.items():
            assert await listed(storage, reason=reason) == ids[::-1]
            assert await listed(storage, reason=reason, order=Order.COMPLETED) == ids[::-1]
        both = await listed(storage, reason=EndReason.STAGE_ERROR, tags=("t",))
        assert both == ended[EndReason.STAGE_ERROR][::-1]
        assert await listed(storage, reason=EndReason.STAGE_ERROR, statuses=frozenset({RunStatus.PASSED})) == []
        assert await listed(storage, reason=EndReason.SCORE_PASSED, tags=("t",)) == []

    async def test_a_search_finds_words_of_labels(self, storage: Storage) -> None:
        """Each word of the search begins a word of the title, or of one tag; a beginning of a tag is found as well."""
        titled = (await submit_one(storage, title="Frühling: Loops of the moon")).id
        tagged = (await submit_one(storage, tags=("Ünit test", "moon-base"))).id
        await submit_one(storage)
        assert sorted(await listed(storage, text="MOON")) == sorted([titled, tagged])
        assert await listed(storage, text="loop frühl") == [titled]
        assert await listed(storage, text="moon-b") == [tagged]
        assert await listed(storage, text="test ün") == [tagged]
        assert await listed(storage, text="Ünit t") == [tagged]
        assert await listed(storage, text="moon", tags=("moon-base",)) == [tagged]
        assert await listed(storage, text="moon test") == await listed(storage, text="oon") == []
        assert await listed(storage, text=" :% ") == []
        assert not Words(" :% ")
