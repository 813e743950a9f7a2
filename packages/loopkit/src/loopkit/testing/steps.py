"""Steps that the suites take with a store, and the values that they compare."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import anyio
import anyio.to_thread
import attrs

from loopkit.core import machine
from loopkit.core.journal import Artifact, Change, RunEvent
from loopkit.core.lease import Claimant, Lease
from loopkit.core.ledger.calls import ModelCall, StoredCall, spending_of
from loopkit.core.outcome import Errored, Evaluated, Evaluation, Outcome, Produced
from loopkit.core.panel.verdict import Verdict, VerdictKind
from loopkit.core.run import NewRun, Run, Stage
from loopkit.storage import Held, Ledger, Order, RunQuery, Storage

AGENT: Final = "writer"
AGENTS: Final = {AGENT: "digest-of-writer"}
ANNA: Final = Claimant(name="anna:1")
BORIS: Final = Claimant(name="boris:2")


def new_run(**fields: Any) -> NewRun:
    """Return a run to submit: agent ``writer``, some inputs, and ``fields``."""
    return NewRun(**{"agent_name": AGENT, "inputs": {"thesis": "loops"}, **fields})


def scored(score: float, feedback: str = "go on", **rest: Any) -> Evaluated:
    """Return the outcome of an evaluator that returned ``score``."""
    return Evaluated(Evaluation(score, feedback, rest=rest))


async def submit_one(storage: Storage, **fields: Any) -> Run:
    """Queue one run and return it."""
    [run] = await storage.submit([new_run(**fields)])
    return run


async def claim_one(storage: Storage, claimant: Claimant = ANNA) -> Held:
    """Claim one run, which must be there."""
    [held] = await storage.claim(claimant, AGENTS)
    return held


async def start_one(storage: Storage, claimant: Claimant = ANNA, **fields: Any) -> Held:
    """Queue a run and claim it."""
    return await storage.start(new_run(**fields), claimant, definition="digest-of-writer")


async def work(storage: Storage, held: Held, *outcomes: Outcome) -> Run:
    """Record the outcomes of the next stages of a held run, and return the run after the last."""
    run = held.run
    for outcome in outcomes:
        run = await storage.record(held.lease, machine.advance(run, outcome))
    return run


async def work_to_end(storage: Storage, held: Held, score: float = 0.9) -> Run:
    """End a freshly claimed run in its first attempt, ``passed`` with the usual threshold."""
    return await work(storage, held, Produced("a draft"), scored(score))


async def fail(storage: Storage, held: Held) -> Run:
    """End a held run by the error of a stage."""
    return await work(storage, held, Errored("the stage gave up"))


def new_call(call_id: str, **fields: Any) -> ModelCall:
    """Return a model call of the first attempt's output, with ``fields``."""
    return ModelCall(**{"id": call_id, "stage": Stage.PRODUCING, "attempt": 1, **fields})


def new_verdict(name: str, **fields: Any) -> Verdict:
    """Return a judge's verdict on the first attempt's output, with ``fields``."""
    given = {"attempt": 1, "kind": VerdictKind.JUDGE, "name": name, "made_by": "digest", "score": 0.5, **fields}
    return Verdict(**given)


def with_ledger(change: Change, call: ModelCall, verdict: Verdict) -> Change:
    """Return a change that adds a model call and a verdict as well."""
    return attrs.evolve(change, calls=(call,), verdicts=(verdict,), spending=spending_of([call]))


@attrs.frozen
class Everything:
    """Everything that a store returns of one run."""

    run: Run
    events: tuple[RunEvent, ...]
    artifacts: tuple[Artifact, ...]
    ledger: "LedgerOfRun"


@attrs.frozen
class LedgerOfRun:
    """Model calls and verdicts of one run; none of a store that is no :class:`loopkit.storage.Ledger`."""

    calls: tuple[StoredCall, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


async def look(storage: Storage, run_id: str) -> Everything:
    """Return everything of one run, to compare it later."""
    run = await storage.get_run(run_id)
    return Everything(
        run,
        tuple(await storage.list_events(run_id, limit=1000)),
        tuple(await storage.list_artifacts(run_id)),
        await read_ledger(storage, run),
    )


async def read_ledger(storage: Storage, run: Run) -> LedgerOfRun:
    """Return the model calls of a run, and the verdicts on all its attempts so far."""
    if not isinstance(storage, Ledger):
        return LedgerOfRun()
    verdicts = [
        verdict
        for attempt in range(1, run.current_attempt + 1)
        for verdict in await storage.list_verdicts(run.id, attempt)
    ]
    return LedgerOfRun(tuple(await storage.list_calls(run.id)), tuple(verdicts))


async def messages(storage: Storage, run_id: str) -> list[str | None]:
    """Return the messages of a run's events, oldest first."""
    return [event.message for event in await storage.list_events(run_id)]


async def all_runs(storage: Storage) -> list[Run]:
    """Return every run, oldest first."""
    runs: list[Run] = []
    cursor: str | None = None
    while True:
        page = await storage.list_runs(RunQuery(limit=200, order=Order.CREATED_ASC, cursor=cursor))
        runs += page.runs
        if (cursor := page.next_cursor) is None:
            return runs


def forged(lease: Lease) -> list[Lease]:
    """Return leases that differ from a valid one in one part each."""
    return [
        attrs.evolve(lease, fencing_token=lease.fencing_token + 1),
        attrs.evolve(lease, lease_id=f"{lease.lease_id}x"),
        attrs.evolve(lease, claimed_by=f"{lease.claimed_by}x"),
    ]


async def in_threads(calls: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
    """Await all calls at once, each on an event loop and in a thread of its own, and return the results in order."""
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
