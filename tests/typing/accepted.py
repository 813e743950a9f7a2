"""Code of users that mypy --strict accepts. It is checked and never run."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, assert_type

import loopkit
import loopkit.testing
import loopkit_web
from loopkit.storage import RunQuery, Storage
from loopkit.testing import StorageSuite
from loopkit_web import Access, Permission


def produce(ctx: loopkit.StageContext) -> str:
    """Stages are plain functions, typed by the context that they get."""
    ctx.log("thinking", about=ctx.inputs["thing"])
    assert_type(ctx.attempt, int)
    assert_type(ctx.stage, loopkit.Stage)
    return f"A name for {ctx.inputs['thing']}"


async def evaluate(ctx: loopkit.StageContext) -> dict[str, Any]:
    return {"score": min(1.0, 0.4 * ctx.attempt), "feedback": "shorter"}


def revise(ctx: loopkit.StageContext) -> str:
    assert ctx.evaluation is not None
    score: float = ctx.evaluation.score
    print(f"{score:.2f}")
    return str(ctx.output).replace(ctx.evaluation.feedback, "")


namer = loopkit.Agent(name="namer", produce=produce, evaluate=evaluate, revise=revise, max_attempts=5)
tiny = loopkit.Agent(name="tiny", produce=lambda ctx: "a", evaluate=lambda ctx: 1.0)


class Styled:
    """A stage may be any object that can be called with one argument."""

    def __call__(self, ctx: loopkit.StageContext, *, strict: bool = True) -> tuple[float, str]:
        return 0.5, "shorter"


with_options = loopkit.Agent(
    name="options",
    produce=loopkit.stage(produce, timeout=60, retries=2),
    evaluate=loopkit.command(["python3", "score.py"], timeout=timedelta(minutes=1), env={"LANG": "C.UTF-8"}),
    revise=loopkit.prompt("prompts/revise.md", model="openai:gpt-5-mini", temperature=0),
)
styled = loopkit.Agent(name="styled", produce=loopkit.stage(evaluate), evaluate=Styled())


def cites_sources(ctx: loopkit.StageContext) -> tuple[bool, str]:
    """A check is a stage whose answer is whether the output holds."""
    return "http" in ctx.output, "name a source"


judged = loopkit.Agent(
    name="judged",
    produce=produce,
    evaluate=loopkit.Panel(
        checks=[cites_sources, loopkit.command(["vale", "{output_file}"], timeout=20), loopkit.Check(cites_sources)],
        judges=[
            loopkit.Judge(
                loopkit.prompt("prompts/facts.md", model="openai:gpt-5"),
                weight=2,
                samples=3,
                criteria={
                    "supported": loopkit.Criterion("Every claim is supported.", weight=3, pass_mark=0.8),
                    "complete": loopkit.Criterion("It names all findings.", answer="yes-no"),
                    "plain": "A newcomer understands it.",
                },
            ),
            evaluate,
            loopkit.Judge(Styled(), name="other", weight=0),
        ],
        combine="mean",
        close=0.1,
        quorum=1,
    ),
    stop=loopkit.Stop(patience=2, min_delta=0.02, repeat=True),
    budget=loopkit.Budget(usd=0.5, tokens=80_000, seconds=timedelta(minutes=15)),
)
alone = loopkit.Agent(
    name="alone",
    produce=produce,
    evaluate=loopkit.prompt("facts.md", model="openai:gpt-5", criteria={"plain": "Plain."}, samples=3, close=0.1),
)


@asynccontextmanager
async def resources() -> AsyncIterator[dict[str, str]]:
    yield {"client": "open"}


def with_shared_clients(ctx: loopkit.StageContext) -> str:
    """A stage that knows its time, and stops what it began."""
    ctx.on_cancel(print)
    assert_type(ctx.cancelled, bool)
    assert_type(ctx.deadline, float | None)
    return str(ctx.deps["client"])


def of_sync_code() -> list[loopkit.Attempt]:
    """Blocking calls, and a result that raises unless the run passed."""
    with loopkit.sync.open_store("sqlite:///loopkit.db") as store:
        runs = loopkit.sync.submit(store, namer, [{"thing": "a dog"}])
        for event in loopkit.sync.follow(store, runs[0].id):
            assert_type(event, loopkit.RunEvent)
        assert_type(store.get_run(runs[0].id), loopkit.Run)
        assert_type(loopkit.sync.wait(store, runs[0].id), loopkit.Result)
        result = loopkit.sync.run(namer, {"thing": "a cat"}, store=store, lifespan=resources).raise_for_status()
    try:
        loopkit.run_sync(namer, store="sqlite:///loopkit.db").raise_for_status()
    except loopkit.RunFailed as error:
        print(error.run_id, error.reason)
    print(result.status, result.output, result.evaluation.score, result.run.id, result.error)
    return list(result.attempts)


def a_tested_stage() -> None:
    ctx = loopkit.testing.context(inputs={"thing": "a cat"})
    assert produce(ctx) == "A name for a cat"
    assert_type(ctx.logs, list[tuple[str, dict[str, Any]]])


def in_one_process() -> str | None:
    """A run without a store."""
    result = loopkit.run_sync(namer, {"thing": "a cat"}, pass_threshold=0.7)
    assert_type(result, loopkit.Result)
    assert_type(result.status, loopkit.RunStatus)
    if result.evaluation is None:
        return result.run.error_message
    return f"{result.evaluation.score:.2f} {result.output}"


async def queued_and_worked() -> None:
    """A queue, a runner, and everything that can be asked of a store."""
    async with loopkit.open_store("sqlite:///loopkit.db") as store:
        runs = await loopkit.submit(store, namer, [{"thing": "a dog"}, {"thing": "an owl"}], cycle_id="birds")
        assert_type(runs, list[loopkit.Run])
        await loopkit.Runner(store, [namer, tiny], concurrency=8, heartbeat=timedelta(seconds=5)).drain()
        result = await loopkit.wait(store, runs[0].id)
        assert_type(result, loopkit.Result)
        async for event in loopkit.follow(store, runs[0].id):
            assert_type(event, loopkit.RunEvent)
        page = await store.list_runs(RunQuery(agent="namer"))
        assert_type(page.runs[0].final_score, float | None)
        assert_type(await store.request_cancel(runs[1].id), loopkit.Run)


async def any_store(store: Storage) -> loopkit.Run:
    """Every store is a :class:`Storage`; families of errors are caught by who must act."""
    try:
        return await store.get_run("run_1")
    except loopkit.RunNotFound as error:
        print(error.run_id)
        raise
    except (loopkit.StorageError, loopkit.UsageError) as error:
        raise RuntimeError(str(error)) from error


async def in_memory() -> loopkit.Run:
    async with loopkit.MemoryStore() as store:
        return await any_store(store)


def agents_of_a_file() -> Mapping[str, loopkit.Agent]:
    return loopkit.load_agents("agents.yaml")


async def access(request: Any) -> Access | None:
    """An access hook of a web app."""
    user: str | None = request.headers.get("x-user")
    return Access(user, [Permission.VIEW, Permission.START]) if user else None


web = loopkit_web.create_app("sqlite:///loopkit.db", [namer, tiny], access=access, read_only=False)
assert_type(web, loopkit_web.App)


class MyStoreKeepsItsPromises(StorageSuite):
    """The suite for a store of one's own."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Storage]:
        async with loopkit.MemoryStore() as store:
            yield store
