"""The steps that the suites take with a store, and what they compare."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import anyio
import anyio.to_thread
import attrs

from loopkit.core import machine
from loopkit.core.journal import Artifact, RunEvent
from loopkit.core.lease import Claimant, Lease
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome, Produced
from loopkit.core.run import NewRun, Run
from loopkit.storage import Held, Order, RunQuery, Storage

AGENT: Final = "writer"
AGENTS: Final = {AGENT: "digest-of-writer"}
ANNA: Final = Claimant(name="anna:1")
BORIS: Final = Claimant(name="boris:2")


def new_run(**fields: Any) -> NewRun:
    """Give a run to submit: agent ``writer``, some inputs, and whatever ``fields`` say otherwise."""
    return NewRun(**{"agent_name": AGENT, "inputs": {"thesis": "loops"}, **fields})


def scored(score: float, feedback: str = "go on", **rest: Any) -> Evaluated:
    """Give the outcome of an evaluator that gave ``score``."""
    return Evaluated(Evaluation(score, feedback, rest=rest))


async def submit_one(storage: Storage, **fields: Any) -> Run:
    """Queue one run and give it."""
    [run] = await storage.submit([new_run(**fields)])
    return run


async def claim_one(storage: Storage, claimant: Claimant = ANNA) -> Held:
    """Claim a run that is known to be there."""
    [held] = await storage.claim(claimant, AGENTS)
    return held


async def start_one(storage: Storage, claimant: Claimant = ANNA, **fields: Any) -> Held:
    """Make a run and claim it."""
    return await storage.start(new_run(**fields), claimant, definition="digest-of-writer")


async def work(storage: Storage, held: Held, *outcomes: Outcome) -> Run:
    """Record what each next stage of a held run came to, and give the run after the last."""
    run = held.run
    for outcome in outcomes:
        run = await storage.record(held.lease, machine.advance(run, outcome))
    return run


async def work_to_end(storage: Storage, held: Held, score: float = 0.9) -> Run:
    """End a freshly claimed run in its first attempt, ``passed`` with the usual threshold."""
    return await work(storage, held, Produced("a draft"), scored(score))


async def fail(storage: Storage, held: Held) -> Run:
    """End a held run by a stage's error."""
    return await work(storage, held, Errored("the stage gave up"))


@attrs.frozen
class Everything:
    """All that a store shows of one run."""

    run: Run
    events: tuple[RunEvent, ...]
    artifacts: tuple[Artifact, ...]


async def look(storage: Storage, run_id: str) -> Everything:
    """Give all of one run, to compare with a later look."""
    return Everything(
        await storage.get_run(run_id),
        tuple(await storage.list_events(run_id, limit=1000)),
        tuple(await storage.list_artifacts(run_id)),
    )


async def messages(storage: Storage, run_id: str) -> list[str | None]:
    """Give the messages of a run's events, oldest first."""
    return [event.message for event in await storage.list_events(run_id)]


async def all_runs(storage: Storage) -> list[Run]:
    """Give every run, oldest first."""
    runs: list[Run] = []
    cursor: str | None = None
    while True:
        page = await storage.list_runs(RunQuery(limit=200, order=Order.CREATED_ASC, cursor=cursor))
        runs += page.runs
        if (cursor := page.next_cursor) is None:
            return runs


def forged(lease: Lease) -> list[Lease]:
    """Give leases that differ from a valid one in one part each."""
    return [
        attrs.evolve(lease, fencing_token=lease.fencing_token + 1),
        attrs.evolve(lease, lease_id=f"{lease.lease_id}x"),
        attrs.evolve(lease, claimed_by=f"{lease.claimed_by}x"),
    ]


async def in_threads(calls: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Await each call on an event loop of its own in a thread of its own, all at once; give the answers in order."""
    answers: list[Any] = [None] * len(calls)

    async def run_one(number: int, call: Callable[[], Awaitable[Any]]) -> None:
        answers[number] = await anyio.to_thread.run_sync(
            lambda: anyio.run(_awaiting(call)), limiter=anyio.CapacityLimiter(1)
        )

    async with anyio.create_task_group() as tasks:
        for number, call in enumerate(calls):
            tasks.start_soon(run_one, number, call)
    return answers


def _awaiting(call: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    async def wait() -> Any:
        return await call()

    return wait
