"""The runner: many runs at once, draining, serving, stopping."""

import gc
import threading
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import loopkit
from loopkit import MemoryStore, Run, Runner, RunStatus, StageContext, Stopping
from loopkit.core.journal import Change
from loopkit.core.lease import Claimant, Lease, LeaseState
from loopkit.errors import StorageError, StorageUnavailable
from loopkit.runner.held_run import HeldRun
from loopkit.storage import RunnerInfo, RunQuery, Storage
from tests.runner.agent_helpers import small_agent

QUICK = timedelta(milliseconds=200)


async def statuses(store: MemoryStore) -> list[str]:
    return [run.status.value for run in (await store.list_runs(RunQuery(limit=200))).runs]


async def test_a_drain_works_everything_and_never_more_at_once_than_its_slots() -> None:
    """Every queued run ends, at most ``concurrency`` of them are under way, and the counts say so."""
    store, under_way, most = MemoryStore(), 0, 0

    async def produce(context: StageContext) -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await anyio.lowlevel.checkpoint()
        under_way -= 1
        return "x"

    agent = small_agent(produce=produce, revise=produce)
    await loopkit.submit(store, agent, [{} for _ in range(30)])
    runner = Runner(store, [agent], concurrency=4)
    await runner.drain()
    assert await statuses(store) == ["passed"] * 30
    assert (most, runner.status.claimed, runner.status.passed, runner.status.busy) == (4, 30, 30, 0)


async def test_an_ended_run_leaves_nothing_to_the_garbage_collector() -> None:
    """What worked it is freed at once; in a cycle it would wait for a collection, with the texts of its run."""
    store, agent = MemoryStore(), small_agent()
    await loopkit.submit(store, agent, [{} for _ in range(20)])
    gc.collect()  # what other tests left
    gc.disable()
    try:
        await Runner(store, [agent], concurrency=4).drain()
        left = [found for found in gc.get_objects() if type(found) is HeldRun]
    finally:
        gc.enable()
    assert left == []


async def test_no_run_is_claimed_for_which_no_slot_is_free() -> None:
    """At no moment does the store hold more running runs than the runner has slots."""
    store, most = MemoryStore(), 0

    async def evaluate(context: StageContext) -> float:
        nonlocal most
        most = max(most, len(await store.holdings()))
        return 1.0

    agent = small_agent(evaluate=evaluate)
    await loopkit.submit(store, agent, [{} for _ in range(20)])
    await Runner(store, [agent], concurrency=3).drain()
    assert most == 3


async def test_runs_of_unknown_agents_stay_queued() -> None:
    """A runner that lacks the code neither claims nor fails a run."""
    store = MemoryStore()
    await loopkit.submit(store, small_agent(name="other"), [{}])
    await Runner(store, [small_agent()]).drain()
    assert await statuses(store) == ["queued"]


async def test_serving_picks_up_new_runs_and_leaves_nothing_claimed() -> None:
    """Runs submitted later are worked; a stop ends the serving; the second request releases a hanging run."""
    store, stopping, hangs = MemoryStore(), Stopping(), anyio.Event()

    async def produce(context: StageContext) -> str:
        if context.inputs.get("hang"):
            hangs.set()
            await anyio.sleep_forever()
        return "x"

    agent = small_agent(produce=produce)
    runner = Runner(store, [agent], stopping=stopping)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(runner.serve)
        [first] = await loopkit.submit(store, agent, [{}])
        assert (await loopkit.wait(store, first.id)).status is RunStatus.PASSED
        [second] = await loopkit.submit(store, agent, [{"hang": True}])
        await hangs.wait()
        stopping.ask()
        await anyio.sleep(0.05)
        assert (await store.get_run(second.id)).status is RunStatus.RUNNING
        stopping.end()
    given_back = await store.get_run(second.id)
    assert (given_back.status, given_back.claimed_at) == (RunStatus.QUEUED, None)


async def test_a_cancelled_server_leaves_nothing_claimed() -> None:
    """Cancelling serve() from outside gives the runs under way back."""
    store, begun = MemoryStore(), anyio.Event()

    async def hang(context: StageContext) -> str:
        begun.set()
        await anyio.sleep_forever()
        return ""

    agent = small_agent(produce=hang)
    await loopkit.submit(store, agent, [{}])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Runner(store, [agent]).serve)
        await begun.wait()
        tasks.cancel_scope.cancel()
    assert await statuses(store) == ["queued"]


async def test_many_runners_share_the_work_without_doing_any_twice() -> None:
    """Of several runners each run is worked by exactly one."""
    store, worked = MemoryStore(), []

    async def produce(context: StageContext) -> str:
        worked.append(context.run_id)
        await anyio.lowlevel.checkpoint()
        return "x"

    agent = small_agent(produce=produce, evaluate=lambda context: 1.0)
    await loopkit.submit(store, agent, [{} for _ in range(40)])
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(Runner(store, [agent], concurrency=3).drain)
    assert len(worked) == len(set(worked)) == 40


class SlowToAnnounce(MemoryStore):
    """A store whose first announcement is written late."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bool] = []

    async def announce(self, runner: RunnerInfo) -> None:
        if not self.written and not runner.gone:
            await anyio.sleep(0.2)
        self.written.append(runner.gone)
        await super().announce(runner)


async def test_the_last_announcement_is_written_last() -> None:
    """A runner that ends while its first announcement is under way is not live afterwards."""
    store = SlowToAnnounce()
    await loopkit.submit(store, small_agent(), [{}])
    await Runner(store, [small_agent()]).drain()
    assert store.written == [False, True]


async def test_a_runner_announces_itself_and_says_goodbye() -> None:
    """What pages show of runners comes from the runners, and one that is gone is marked."""
    store = MemoryStore()
    await loopkit.submit(store, small_agent(), [{}])
    runner = Runner(store, [small_agent()], concurrency=5)
    await runner.drain()
    [seen] = await store.runners()
    assert (seen.id, seen.slots, seen.busy, seen.agents, seen.gone) == (runner.id, 5, 0, ("writer",), True)


class Flaky(MemoryStore):
    """A store that gives no answer to some calls; those calls did nothing."""

    def __init__(self, **failing: int) -> None:
        super().__init__()
        self.failing = failing

    def _fail(self, verb: str) -> None:
        if self.failing.get(verb, 0) > 0:
            self.failing[verb] -= 1
            raise StorageUnavailable(f"no answer to {verb}")

    async def claim(self, *args: Any, **kwargs: Any) -> Any:
        self._fail("claim")
        return await super().claim(*args, **kwargs)

    async def record(self, *args: Any, **kwargs: Any) -> Any:
        self._fail("record")
        return await super().record(*args, **kwargs)


async def test_a_store_that_does_not_answer_is_asked_again() -> None:
    """A stage's result survives a store that is away for a while; no stage is called twice for it."""
    store, calls = Flaky(record=2), []

    def produce(context: StageContext) -> str:
        calls.append(context.attempt)
        return "x"

    agent = small_agent(produce=produce, evaluate=lambda context: 1.0)
    await loopkit.submit(store, agent, [{}])
    await Runner(store, [agent]).drain()
    assert (calls, await statuses(store)) == ([1], ["passed"])


async def test_serving_goes_on_when_claims_get_no_answer_and_draining_says_so() -> None:
    """A server backs off and claims again; a drain, which has an end to report, raises."""
    store, stopping = Flaky(claim=1), Stopping()
    [run] = await loopkit.submit(store, small_agent(), [{}])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Runner(store, [small_agent()], stopping=stopping).serve)
        assert (await loopkit.wait(store, run.id)).status is RunStatus.PASSED
        stopping.ask()
    store.failing["claim"] = 1
    with pytest.raises(StorageUnavailable):
        await Runner(store, [small_agent()]).drain()


async def test_a_stop_is_a_stop_although_the_claim_under_way_gets_no_answer() -> None:
    """No claim is wanted any more, so that it failed is no error of the server's."""
    stopping = Stopping()

    class Leaving(MemoryStore):
        async def claim(self, *args: Any, **kwargs: Any) -> Any:
            stopping.ask()
            raise StorageUnavailable("no answer")

    await Runner(Leaving(), [small_agent()], stopping=stopping).serve()


async def test_a_stop_does_not_wait_for_ever_for_a_claim() -> None:
    """A claim that gets no answer is abandoned after the grace time, although nobody asks a second time."""
    stopping, claiming = Stopping(), anyio.Event()

    class Mute(MemoryStore):
        async def claim(self, *args: Any, **kwargs: Any) -> Any:
            claiming.set()
            await anyio.sleep_forever()

    runner = Runner(Mute(), [small_agent()], stopping=stopping, grace=timedelta(milliseconds=50))
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.serve)
            await claiming.wait()
            stopping.ask()


async def test_unusable_numbers_are_refused_at_once() -> None:
    """No slots, or a heartbeat that leaves no room for a late one, is a usage error."""
    for bad in ({"concurrency": 0}, {"heartbeat": timedelta(seconds=61)}, {"heartbeat": timedelta(0)}):
        with pytest.raises(loopkit.UnusableOption):
            Runner(MemoryStore(), [small_agent()], **bad)


class Dead(MemoryStore):
    """A store whose heartbeats get no answer any more."""

    async def heartbeat(self, leases: Sequence[Lease]) -> list[LeaseState]:
        raise StorageUnavailable("gone")

    async def watch(self, leases: Sequence[Lease]) -> list[LeaseState]:
        raise StorageUnavailable("gone")


async def test_a_runner_that_cannot_renew_stops_its_stages_by_itself() -> None:
    """Past its own deadline the stage is cancelled and nothing is written: another runner may hold the run by then."""
    store = Dead(stalled_after=timedelta(milliseconds=600))

    async def hang(context: StageContext) -> str:
        await anyio.sleep_forever()
        return ""

    agent = small_agent(produce=hang)
    [run] = await loopkit.submit(store, agent, [{}])
    runner, stopping = Runner(store, [agent], heartbeat=QUICK), Stopping()
    runner.stopping = stopping
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner.serve)
            while not runner.status.lost:  # noqa: ASYNC110
                await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()
    assert (await store.get_run(run.id)).current_stage is not None


async def test_a_stalled_run_with_a_cancel_request_is_ended_by_any_runner() -> None:
    """Nobody needs its agent to end it."""
    store = MemoryStore(stalled_after=timedelta(milliseconds=1))
    [run] = await loopkit.submit(store, small_agent(name="other"), [{}])
    await store.claim(Claimant(name="dead:1"), {"other": "d"})
    await store.request_cancel(run.id)
    await anyio.sleep(0.01)
    await Runner(store, [small_agent()], heartbeat=timedelta(microseconds=500)).drain()
    assert await statuses(store) == ["cancelled"]


class Silent(MemoryStore):
    """A store that a runner may not announce itself to."""

    async def announce(self, runner: RunnerInfo) -> None:
        raise StorageError("permission denied for table loopkit_runners")


async def test_a_runner_that_may_not_announce_itself_works_all_the_same() -> None:
    """What pages show of runners is information only."""
    store = Silent()
    await loopkit.submit(store, small_agent(), [{}])
    await Runner(store, [small_agent()]).drain()
    assert await statuses(store) == ["passed"]


class Unanswering:
    """A store of which one write is done and not answered."""

    def __init__(self, store: Storage, nth: int) -> None:
        self._store = store
        self._left = nth
        self.done = anyio.Event()

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._store, verb)

    async def record(self, lease: Lease, change: Change) -> Run:
        run: Run = await self._store.record(lease, change)
        self._left -= 1
        if self._left == 0:
            self.done.set()
            await anyio.sleep_forever()
        return run


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
async def test_what_was_written_when_a_runner_is_cancelled_stays(sqlite_url: str, nth: int) -> None:
    """Its score, its attempt and its stage: the release builds on them, though their writer never had the answer."""
    agent = small_agent(evaluate=lambda context: {"score": 0.5, "feedback": "more"})
    async with loopkit.open_store(sqlite_url) as store:
        [run] = await loopkit.submit(store, agent, [{}], max_attempts=4, pass_threshold=1.0)
        slow = Unanswering(store, nth)
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Runner(slow, [agent]).serve)
                await slow.done.wait()
                tasks.cancel_scope.cancel()
        left = await store.get_run(run.id)
        assert left.status is RunStatus.QUEUED
        assert left.current_attempt == nth // 2 + 1
        assert (left.final_score, left.best_attempt) == ((0.5, 1) if nth > 1 else (None, None))
        assert len(await store.list_artifacts(run.id)) == nth
        assert await store.check() == []
        await Runner(store, [agent]).drain()
        assert (await store.get_run(run.id)).status is RunStatus.FAILED
        assert len(await store.list_artifacts(run.id)) == 8
        assert await store.check() == []


CONFIG = """
agents:
  good:
    produce: {{python: "{module}:produce", timeout: 0.5}}
    evaluate: {{python: "{module}:evaluate"}}
  bad:
    produce: {{python: "{module}:missing"}}
    evaluate: {{python: "{module}:evaluate"}}
"""

STAGES = """
import threading, time

time.sleep(1)  # longer than the timeout of a stage
IMPORTED_IN = threading.current_thread()

def produce(ctx):
    return IMPORTED_IN.name

def evaluate(ctx):
    return 1.0
"""


def load_slow_agents(folder: Path, module: str) -> dict[str, loopkit.Agent]:
    (folder / f"{module}.py").write_text(STAGES)
    (folder / "agents.yaml").write_text(CONFIG.format(module=module))
    return loopkit.load_agents(folder / "agents.yaml")


async def test_a_runner_imports_stages_in_its_own_thread_and_outside_their_timeout(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As the command line does; an agent that cannot be loaded is left out, and its runs stay queued."""
    module = f"slow_stages_{len(str(tmp_path))}_{tmp_path.name.replace('-', '_')}"
    agents = load_slow_agents(tmp_path, module)
    store = MemoryStore()
    (good,) = await loopkit.submit(store, agents["good"], [{}])
    (bad,) = await loopkit.submit(store, agents["bad"], [{}])
    await Runner(store, agents).drain()
    assert (await loopkit.wait(store, good.id)).output == threading.current_thread().name
    assert (await store.get_run(bad.id)).status is RunStatus.QUEUED
    assert "agent 'bad' is left out: produce: cannot load" in caplog.text
    with pytest.raises(loopkit.InvalidConfig, match="no agent can be worked here: agent 'bad': produce: cannot load"):
        await Runner(store, [agents["bad"]]).drain()


async def test_run_imports_stages_in_its_own_thread_and_outside_their_timeout(tmp_path: Path) -> None:
    """And a stage that cannot be imported fails the run, with its error."""
    module = f"slow_run_stages_{tmp_path.name.replace('-', '_')}"
    agents = load_slow_agents(tmp_path, module)
    assert (await loopkit.run(agents["good"])).output == threading.current_thread().name
    failed = await loopkit.run(agents["bad"])
    assert (failed.error or "").startswith(f"produce: cannot load {module}:missing")
