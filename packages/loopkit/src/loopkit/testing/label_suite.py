"""Suite for the optional protocol :class:`loopkit.storage.Labelling`."""

from functools import partial

import pytest

from loopkit.core.labels.label_change import LabelChange
from loopkit.core.labels.label_text import MAX_TAGS
from loopkit.core.outcome import Produced
from loopkit.core.run import RunStatus
from loopkit.errors import RunNotFound, UnusableOption
from loopkit.storage import Labelling, RunQuery, Storage
from loopkit.testing.cases.case_base import Cases, fall_silent
from loopkit.testing.hand_clock import StoreClock
from loopkit.testing.steps import fail, in_threads, look, start_one, submit_one, work, work_to_end

__all__ = ["LabellingSuite"]


class LabellingSuite(Cases):
    """Cases for :class:`loopkit.storage.Labelling`."""

    async def test_labels_change_in_every_state(self, storage: Storage, clock: StoreClock) -> None:
        """A change writes title and tags and nothing else: no event, no other value of the run."""
        assert isinstance(storage, Labelling)
        running = (await start_one(storage)).run.id
        stalled = (await start_one(storage)).run.id
        ended = [
            (await work_to_end(storage, await start_one(storage))).id,
            (await fail(storage, await start_one(storage))).id,
            (await storage.request_cancel((await submit_one(storage)).id)).id,
        ]
        queued = (await submit_one(storage)).id
        fall_silent(storage, clock)
        for run_id in (queued, running, stalled, *ended):
            before = await look(storage, run_id)
            run = await storage.label(run_id, LabelChange(title="New", tags=("b", "a")))
            assert (run.title, run.tags) == ("New", ("a", "b"))
            assert await storage.get_run(run_id) == run
            assert await storage.label(run_id, LabelChange(title=None, tags=())) == before.run
            assert await look(storage, run_id) == before
        assert await storage.check() == []

    async def test_a_change_leaves_what_it_does_not_name(self, storage: Storage) -> None:
        """Tags are replaced, added or removed; a label that is not named stays, and no change changes nothing."""
        assert isinstance(storage, Labelling)
        run = await submit_one(storage, title="Old", tags=("a", "b"))
        assert await storage.label(run.id, LabelChange()) == run
        assert (await storage.label(run.id, LabelChange(title="New"))).tags == ("a", "b")
        changed = await storage.label(run.id, LabelChange(added=("c", "a"), removed=("b", "nobody")))
        assert (changed.title, changed.tags) == ("New", ("a", "c"))
        assert (await storage.label(run.id, LabelChange(tags=("d",)))).tags == ("d",)
        assert (await storage.label(run.id, LabelChange(title=None))).title is None
        assert [r.id for r in (await storage.list_runs(RunQuery(tags=("d",)))).runs] == [run.id]
        assert (await storage.list_runs(RunQuery(tags=("a",)))).runs == ()

    async def test_a_holder_works_on(self, storage: Storage) -> None:
        """A change takes no lease away; what the holder writes keeps the new labels."""
        assert isinstance(storage, Labelling)
        held = await start_one(storage, title="Old")
        await storage.label(held.run.id, LabelChange(title="New", tags=("t",)))
        await work(storage, held, Produced("a draft"))
        await work_to_end(storage, await start_one(storage))
        stored = await storage.get_run(held.run.id)
        assert (stored.status, stored.title, stored.tags) == (RunStatus.RUNNING, "New", ("t",))

    async def test_a_retry_has_the_labels_as_they_are_now(self, storage: Storage) -> None:
        """A retry copies the labels of its run; a repeated one is the same, whatever they are by then."""
        assert isinstance(storage, Labelling)
        run = await fail(storage, await start_one(storage, title="Old"))
        await storage.label(run.id, LabelChange(title="New", tags=("t",)))
        new = await storage.retry(run.id, idempotency_key="k")
        assert (new.title, new.tags) == ("New", ("t",))
        await storage.label(run.id, LabelChange(title="Newer"))
        assert await storage.retry(run.id, idempotency_key="k") == new

    async def test_a_key_stays_that_of_its_request(self, storage: Storage) -> None:
        """A request that is repeated after its run got other labels is the same request."""
        assert isinstance(storage, Labelling)
        run = await submit_one(storage, title="Old", tags=("t",), idempotency_key="k")
        changed = await storage.label(run.id, LabelChange(title="New", tags=()))
        assert await submit_one(storage, title="Old", tags=("t",), idempotency_key="k") == changed

    async def test_too_many_tags_are_refused(self, storage: Storage) -> None:
        """A change that would leave a run with more than 20 tags writes nothing."""
        assert isinstance(storage, Labelling)
        run = await submit_one(storage, tags=tuple(f"t{number}" for number in range(MAX_TAGS)))
        with pytest.raises(UnusableOption, match="at most 20"):
            await storage.label(run.id, LabelChange(title="New", added=("more",)))
        assert await storage.get_run(run.id) == run
        assert len((await storage.label(run.id, LabelChange(added=("more",), removed=("t0",)))).tags) == MAX_TAGS

    async def test_an_unknown_run_is_not_found(self, storage: Storage) -> None:
        """A change of a run that is not there is an error."""
        assert isinstance(storage, Labelling)
        with pytest.raises(RunNotFound):
            await storage.label("run_unknown", LabelChange(title="New"))

    async def test_changes_at_the_same_time_are_all_applied(self, storage: Storage) -> None:
        """Each of many concurrent changes that add a tag is in what is stored in the end."""
        assert isinstance(storage, Labelling)
        run = await submit_one(storage, tags=("first",))
        changes = [LabelChange(added=(f"t{number}",)) for number in range(8)]
        await in_threads([partial(storage.label, run.id, change) for change in changes])
        assert (await storage.get_run(run.id)).tags == ("first", *(f"t{number}" for number in range(8)))
