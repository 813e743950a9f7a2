"""Running agents from Python: loopkit.run, run_sync, submit, wait."""

import threading
from datetime import timedelta
from pathlib import Path

import anyio
import pytest

import loopkit
from loopkit import MemoryStore, RunStatus
from tests.runner.agent_helpers import small_agent

pytestmark = pytest.mark.anyio


async def test_a_run_is_worked_to_its_end_and_gives_the_best_attempt() -> None:
    """The result holds the attempt that passed, and the run as it was stored."""
    async with MemoryStore() as store:
        result = await loopkit.run(small_agent(), {"topic": "cats"}, store=store, cycle_id="mine")
        assert result.status is RunStatus.PASSED
        assert (result.output, result.evaluation and result.evaluation.score) == ("draft 2", 0.9)
        assert result.run == await store.get_run(result.run.id)
        assert (result.run.cycle_id, result.run.best_attempt, result.run.lease_id) == ("mine", 2, None)


async def test_a_failed_run_is_a_result_and_gives_its_best_attempt() -> None:
    """Scores 0.6, 0.9, 0.7 below the threshold end failed and return attempt 2."""
    scores = {1: 0.6, 2: 0.9, 3: 0.7}
    result = await loopkit.run(small_agent(evaluate=lambda context: scores[context.attempt], pass_threshold=0.95))
    assert (result.status, result.run.final_score, result.run.best_attempt) == (RunStatus.FAILED, 0.9, 2)
    assert result.output == "draft 2"
    assert result.run.error_message is None


async def test_a_run_without_a_score_has_no_output() -> None:
    """Where no attempt was judged there is no best one."""

    def broken(context: loopkit.StageContext) -> float:
        raise RuntimeError("no judge")

    result = await loopkit.run(small_agent(evaluate=broken))
    assert (result.status, result.output, result.evaluation) == (RunStatus.FAILED, None, None)
    assert "no judge" in str(result.run.error_message)


async def test_json_outputs_come_back_as_values() -> None:
    """A mapping that a stage gave is a mapping for the next stage and in the result."""
    seen = []

    def judge(context: loopkit.StageContext) -> float:
        seen.append(context.output)
        return 1.0

    result = await loopkit.run(small_agent(produce=lambda context: {"a": [1, "ü"]}, evaluate=judge))
    assert seen == [{"a": [1, "ü"]}]
    assert result.output == {"a": [1, "ü"]}


async def test_limits_out_of_range_are_refused_before_anything_is_stored() -> None:
    """A bad limit or cycle id is a usage error, and no run is made."""
    async with MemoryStore() as store:
        for bad in (
            *({"max_attempts": 0}, {"max_attempts": 2.5}, {"max_attempts": "3"}, {"max_attempts": 10**30}),
            *({"pass_threshold": 1.5}, {"pass_threshold": True}),
            *({"cycle_id": ""}, {"cycle_id": "a\0b"}, {"cycle_id": 5}, {"cycle_id": ["a"]}),
        ):
            with pytest.raises(loopkit.UnusableOption):
                await loopkit.run(small_agent(), store=store, **bad)
            with pytest.raises(loopkit.UnusableOption):
                await loopkit.submit(store, small_agent(), [{}], **bad)
        assert await store.claim(loopkit.runner.claimant(), {"writer": "d"}) == []


async def test_a_url_in_the_place_of_a_store_is_a_clear_error() -> None:
    """It says how to open the store, also where one was made and not entered, and does not repeat the password."""
    for url in ("postgresql://me:secret@db/loops", loopkit.open_store("sqlite:///t.db"), Path("t.db")):
        calls = (
            loopkit.run(small_agent(), store=url),  # type: ignore[arg-type]
            loopkit.submit(url, small_agent(), [{}]),  # type: ignore[arg-type]
            loopkit.wait(url, "run_1"),  # type: ignore[arg-type]
        )
        for call in calls:
            with pytest.raises(loopkit.UnusableOption, match=r"async with loopkit\.open_store\(") as caught:
                await call
            assert "secret" not in str(caught.value)


async def test_an_argument_of_another_type_is_a_usage_error() -> None:
    """A name in the place of an agent, a run in that of its id, seconds in that of a span of time."""
    async with MemoryStore() as store:
        [run] = await loopkit.submit(store, small_agent(), [{}])
        for call, words in (
            (loopkit.run("writer"), r"loopkit\.Agent"),  # type: ignore[arg-type]
            (loopkit.submit(store, "writer", [{}]), r"loopkit\.Agent"),  # type: ignore[arg-type]
            (loopkit.submit(store, small_agent(), 5), "list of inputs"),  # type: ignore[arg-type]
            (loopkit.wait(store, run), "id of a run"),  # type: ignore[arg-type]
            (loopkit.run(small_agent(), store=store, heartbeat=5), "timedelta"),  # type: ignore[arg-type]
        ):
            with pytest.raises(loopkit.UnusableOption, match=words):
                await call
        assert [stored.id for stored in (await store.list_runs(loopkit.storage.RunQuery())).runs] == [run.id]


async def test_inputs_may_come_one_by_one() -> None:
    """Whatever gives inputs in turn is read once, and a fault in it names its place like that of a list."""
    async with MemoryStore() as store:
        runs = await loopkit.submit(store, small_agent(), ({"n": n} for n in range(2)))  # type: ignore[arg-type]
        assert [run.inputs["n"] for run in runs] == [0, 1]
        with pytest.raises(loopkit.InvalidInputs, match="inputs 2 of 2"):
            await loopkit.submit(store, small_agent(), iter([{}, 5]))  # type: ignore[arg-type]


async def test_invalid_inputs_name_every_fault_and_queue_nothing() -> None:
    """One bad item of a batch queues none of it."""
    picky = small_agent(inputs={"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "string"}}})
    async with MemoryStore() as store:
        with pytest.raises(loopkit.InvalidInputs) as caught:
            await loopkit.submit(store, picky, [{"a": "x", "b": 1}, {"a": 1}])
        assert {fault.pointer for fault in caught.value.faults} == {"/a", "/b"}
        assert all("inputs 2 of 2" in fault.detail for fault in caught.value.faults)
        assert (await store.list_runs(loopkit.storage.RunQuery())).runs == ()


async def test_submitted_runs_keep_their_order_and_wait_gives_their_results() -> None:
    """Runs are queued in the order given; wait ends with the run."""
    async with MemoryStore() as store:
        runs = await loopkit.submit(store, small_agent(), [{"n": n} for n in range(5)])
        assert [run.inputs["n"] for run in runs] == list(range(5))
        assert [run.id for run in runs] == sorted(run.id for run in runs)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(loopkit.Runner(store, [small_agent()]).drain)
            results = [await loopkit.wait(store, run.id) for run in runs]
        assert all(result.status is RunStatus.PASSED for result in results)


async def test_waiting_for_a_run_that_is_not_there_is_an_error() -> None:
    """wait does not wait for ever for an unknown id."""
    with pytest.raises(loopkit.RunNotFound):
        await loopkit.wait(MemoryStore(), "run_none")


async def test_run_sync_inside_an_event_loop_is_a_clear_error() -> None:
    """It says what to call instead of blocking the loop."""
    with pytest.raises(loopkit.UsageError, match=r"await loopkit\.run"):
        loopkit.run_sync(small_agent())


async def test_a_cancelled_caller_gives_the_run_back() -> None:
    """When the caller goes, the run is queued again with nothing claimed."""
    started = anyio.Event()

    async def hang(context: loopkit.StageContext) -> str:
        started.set()
        await anyio.sleep_forever()
        return ""

    async with MemoryStore() as store:
        async with anyio.create_task_group() as tasks:

            async def call() -> None:
                await loopkit.run(small_agent(produce=hang), store=store)

            tasks.start_soon(call)
            await started.wait()
            tasks.cancel_scope.cancel()
        [run] = (await store.list_runs(loopkit.storage.RunQuery())).runs
        assert (run.status, run.claimed_at, run.lease_id) == (RunStatus.QUEUED, None, None)


async def test_a_result_has_its_attempts() -> None:
    """By number, each with its output and its evaluation, if it has one."""
    result = await loopkit.run(small_agent(), {"topic": "owls"})
    assert [(attempt.number, attempt.output) for attempt in result.attempts] == [(1, "draft 1"), (2, "draft 2")]
    assert result.evaluation == result.attempts[1].evaluation

    def judge(context: loopkit.StageContext) -> float:
        raise ValueError("no judge")

    failed = await loopkit.run(small_agent(evaluate=judge), {"topic": "owls"})
    assert [(attempt.number, attempt.evaluation) for attempt in failed.attempts] == [(1, None)]
    assert failed.error == "evaluate: ValueError: no judge"


async def test_a_result_raises_for_its_status() -> None:
    """A run that passed gives its result; the errors name the run and the reason, and hold the result."""
    passed = await loopkit.run(small_agent(), {"topic": "owls"})
    assert passed.raise_for_status() is passed
    assert passed.error is None

    spent = await loopkit.run(small_agent(), {"topic": "owls"}, max_attempts=1)
    with pytest.raises(loopkit.RunFailed, match=r"ended as Failed \(0\.45\): attempts_spent") as failure:
        spent.raise_for_status()
    assert (failure.value.run_id, failure.value.reason) == (spent.run.id, "attempts_spent")
    assert failure.value.result is spent

    broken = await loopkit.run(small_agent(produce=lambda _: 5), {"topic": "owls"})
    with pytest.raises(loopkit.RunFailed, match="invalid output") as failure:
        broken.raise_for_status()
    assert failure.value.reason == "stage_error"

    async with loopkit.MemoryStore() as store:
        (queued,) = await loopkit.submit(store, small_agent(), [{"topic": "owls"}])
        await store.request_cancel(queued.id)
        cancelled = await loopkit.wait(store, queued.id)
    with pytest.raises(loopkit.RunCancelled) as cancel:
        cancelled.raise_for_status()
    assert (cancel.value.run_id, cancel.value.reason) == (queued.id, "cancel_requested")
    assert cancel.value.result is cancelled


@pytest.mark.parametrize("how", ["cancel", "end"])
async def test_a_sync_stage_learns_that_its_run_is_cancelled_or_its_runner_ends(how: str) -> None:
    """While it works: it can stop what it began."""
    began, called = threading.Event(), threading.Event()

    def produce(context: loopkit.StageContext) -> str:
        context.on_cancel(called.set)
        began.set()
        assert called.wait(60)
        return "late"

    stopping = loopkit.Stopping()
    async with loopkit.MemoryStore() as store:
        (queued,) = await loopkit.submit(store, small_agent(produce=produce), [{"topic": "owls"}])
        heartbeat = timedelta(milliseconds=20)
        runner = loopkit.Runner(store, [small_agent(produce=produce)], heartbeat=heartbeat, stopping=stopping)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.drain)
            await anyio.to_thread.run_sync(began.wait, abandon_on_cancel=True)
            if how == "cancel":
                await store.request_cancel(queued.id)
            else:
                stopping.end()
            with anyio.fail_after(60):
                await anyio.to_thread.run_sync(called.wait, abandon_on_cancel=True)
        status = (await store.get_run(queued.id)).status
    assert status == ("cancelled" if how == "cancel" else "queued")


async def test_runs_have_titles_and_tags() -> None:
    """Given ones win over the agent's; each is checked before anything is stored, and can be changed later."""
    agent = small_agent(title=lambda inputs: f"On {inputs['topic']}")
    async with MemoryStore() as store:
        result = await loopkit.run(agent, {"topic": "cats"}, store=store, tags=["b", "a ", "b"])
        assert (result.run.title, result.run.tags) == ("On cats", ("a", "b"))
        runs = await loopkit.submit(store, agent, [{"topic": "a"}, {"topic": "b"}], title="Mine")
        assert [(run.title, run.tags) for run in runs] == [("Mine", ())] * 2
        for bad in ({"title": ""}, {"title": "a\nb"}, {"tags": "abc"}, {"tags": [""]}):
            with pytest.raises(loopkit.UnusableOption):
                await loopkit.submit(store, agent, [{"topic": "a"}], **bad)
        assert (await loopkit.label(store, runs[0].id, title="New")).title == "New"
        assert (await loopkit.label(store, runs[0].id, tags=["x"])).tags == ("x",)
        assert (await loopkit.label(store, runs[0].id, title=None)).title is None
        assert (await loopkit.label(store, runs[0].id)).tags == ("x",)
        with pytest.raises(loopkit.UnusableOption, match="title"):
            await loopkit.label(store, runs[0].id, title="")
        with pytest.raises(loopkit.RunNotFound):
            await loopkit.label(store, "run_unknown", tags=[])
        assert len((await store.list_runs(loopkit.storage.RunQuery())).runs) == 3


async def test_a_key_is_that_of_the_request_as_it_was_sent() -> None:
    """A request is the same after its run, or its agent, got another title."""
    async with MemoryStore() as store:
        first, other = (small_agent(title=title) for title in ("A", "B"))
        [run] = await store.submit([loopkit.new_run(first, {}, tags=["t"], idempotency_key="k")])
        changed = await loopkit.label(store, run.id, title="New", tags=[])
        assert await store.submit([loopkit.new_run(other, {}, tags=["t"], idempotency_key="k")]) == [changed]
        for labels in ({"tags": ["u"]}, {"tags": ["t"], "title": "A"}, {}):
            with pytest.raises(loopkit.KeyReused):
                await store.submit([loopkit.new_run(first, {}, idempotency_key="k", **labels)])
