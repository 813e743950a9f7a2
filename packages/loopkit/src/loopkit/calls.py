"""Running agents from Python: run one here to its end, queue many, wait for one."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

import anyio
import attrs
from anyio.lowlevel import current_token

from loopkit.agents.agent import Agent
from loopkit.agents.wording import kind_of
from loopkit.core import machine, plain
from loopkit.core.journal import Artifact, ArtifactType
from loopkit.core.outcome import Evaluation
from loopkit.core.run import NewRun, Run, RunStatus
from loopkit.errors import Fault, InvalidInputs, UnusableOption, UsageError
from loopkit.runner import HEARTBEAT, check_heartbeat, claimant, work
from loopkit.storage import Storage
from loopkit.stores.memory import MemoryStore

__all__ = ["Result", "new_run", "result_of", "run", "run_sync", "submit", "wait"]

WAIT_SECONDS: Final = (0.02, 1.0)


@attrs.frozen(kw_only=True)
class Result:
    """What a run came to. A failed or cancelled run is a result, not an exception."""

    run: Run
    output: Any = None
    """The best attempt's output: text, or the mapping or list the stage gave; None where there is no best attempt."""
    evaluation: Evaluation | None = None
    """The best attempt's evaluation."""

    @property
    def status(self) -> RunStatus:
        """How the run ended."""
        return self.run.status


def new_run(
    agent: Agent,
    inputs: Mapping[str, Any] | None = None,
    *,
    cycle_id: str | None = None,
    max_attempts: int | None = None,
    pass_threshold: float | None = None,
    actor: str | None = None,
    idempotency_key: str | None = None,
) -> NewRun:
    """Check what is asked of an agent and give it as a run that a store can queue.

    Raises:
        InvalidInputs: the inputs do not fit the agent's schema.
        UnusableOption: ``agent`` is no Agent, ``max_attempts`` is no whole number in 1..2147483647, ``pass_threshold``
            no number in 0..1, or ``cycle_id`` not usable text.
    """
    _check_agent(agent)
    checked = agent.checked_inputs({} if inputs is None else inputs)
    if cycle_id is not None:
        _check_cycle_id(cycle_id)
    return NewRun(
        agent_name=agent.name,
        inputs=checked,
        cycle_id=cycle_id,
        max_attempts=agent.max_attempts if max_attempts is None else max_attempts,
        pass_threshold=agent.pass_threshold if pass_threshold is None else pass_threshold,
        actor=actor,
        idempotency_key=idempotency_key,
    )


async def run(
    agent: Agent,
    inputs: Mapping[str, Any] | None = None,
    *,
    store: Storage | None = None,
    cycle_id: str | None = None,
    max_attempts: int | None = None,
    pass_threshold: float | None = None,
    heartbeat: timedelta = HEARTBEAT,
) -> Result:
    """Make a run and work it here to its end; without a store it lives in memory.

    When the caller is cancelled the run goes back to the queue of the store, its finished stages kept.

    Raises:
        InvalidInputs: the inputs do not fit the agent's schema; ``.faults`` has all that is wrong.
        UnusableOption: an argument is of the wrong type, or a limit out of its range.
        LeaseLost: another runner took the run over, because this one was silent for too long.
        StorageUnavailable: the store gave no answer.
    """
    new = new_run(agent, inputs, cycle_id=cycle_id, max_attempts=max_attempts, pass_threshold=pass_threshold)
    storage = MemoryStore() if store is None else store
    _check_store(storage)
    _check_span(heartbeat)
    check_heartbeat(heartbeat, storage)
    held = await storage.start(new, claimant(heartbeat), definition=agent.definition)
    return await result_of(storage, await work(storage, agent, held, heartbeat=heartbeat))


def run_sync(
    agent: Agent,
    inputs: Mapping[str, Any] | None = None,
    *,
    store: Storage | None = None,
    cycle_id: str | None = None,
    max_attempts: int | None = None,
    pass_threshold: float | None = None,
) -> Result:
    """Do what :func:`run` does, from code that is not async.

    Raises:
        UsageError: an event loop runs in this thread; ``await loopkit.run(...)`` there.
    """
    try:
        current_token()
    except anyio.NoEventLoopError:
        pass
    else:
        raise UsageError("run_sync cannot be called while an event loop runs; use: await loopkit.run(...)")
    call = partial(
        run,
        agent,
        inputs,
        store=store,
        cycle_id=cycle_id,
        max_attempts=max_attempts,
        pass_threshold=pass_threshold,
    )
    return anyio.run(call)


async def submit(
    store: Storage,
    agent: Agent,
    inputs: Sequence[Mapping[str, Any]],
    *,
    cycle_id: str | None = None,
    max_attempts: int | None = None,
    pass_threshold: float | None = None,
) -> list[Run]:
    """Queue a run for each of ``inputs``, all or none, in their order.

    Raises:
        InvalidInputs: some do not fit the agent's schema; nothing was queued.
        UnusableOption: an argument is of the wrong type, or a limit out of its range.
    """
    _check_store(store)
    if not isinstance(inputs, Iterable):
        raise UnusableOption(f"submit takes a list of inputs, one for each run, not {kind_of(inputs)}")
    inputs = [inputs] if isinstance(inputs, Mapping) else list(inputs)
    new: list[NewRun] = []
    faults: list[Fault] = []
    for number, one in enumerate(inputs, 1):
        try:
            made = new_run(agent, one, cycle_id=cycle_id, max_attempts=max_attempts, pass_threshold=pass_threshold)
            new.append(made)
        except InvalidInputs as error:
            place = f" (inputs {number} of {len(inputs)})" if len(inputs) > 1 else ""
            faults += [Fault(fault.pointer, fault.detail + place) for fault in error.faults]
    if faults:
        raise InvalidInputs(faults)
    return await store.submit(new)


async def wait(store: Storage, run_id: str) -> Result:
    """Wait until a run has ended, wherever it is worked, and give its result.

    Raises:
        RunNotFound: there is no such run.
        UnusableOption: an argument is of the wrong type.
    """
    _check_store(store)
    if not isinstance(run_id, str):
        raise UnusableOption(f"wait takes the id of a run, as text, not {kind_of(run_id)}")
    pause = WAIT_SECONDS[0]
    while not (seen := await store.get_run(run_id)).ended:
        await anyio.sleep(pause)
        pause = min(pause * 1.5, WAIT_SECONDS[1])
    return await result_of(store, seen)


async def result_of(store: Storage, ended: Run) -> Result:
    """Give the result of a run: its best attempt's output and evaluation."""
    if ended.best_attempt is None:
        return Result(run=ended)
    kept = {a.artifact_type: a for a in await store.list_artifacts(ended.id) if a.attempt == ended.best_attempt}
    judged = kept.get(ArtifactType.EVALUATION)
    return Result(
        run=ended,
        output=_read(kept.get(ArtifactType.OUTPUT)),
        evaluation=machine.read_evaluation(judged) if judged else None,
    )


def _read(output: Artifact | None) -> Any:
    if output is None:
        return None
    return plain.loads(output.content) if output.is_json else output.content


# --- Arguments whose type a checker of types would refuse ------------------------------------------------------------


def _check_agent(agent: object) -> None:
    if not isinstance(agent, Agent):
        raise UnusableOption(
            f"the agent must be a loopkit.Agent, not {kind_of(agent)}; loopkit.load_agents(...) has them"
        )


def _check_store(store: object) -> None:
    """Refuse what has none of a store's methods, such as a URL, or a store that was not entered."""
    if not hasattr(store, "get_run"):
        raise UnusableOption(
            f"the store must be an open one, not {kind_of(store)}; "
            "open it with: async with loopkit.open_store(url) as store"
        )


def _check_cycle_id(cycle_id: object) -> None:
    if not isinstance(cycle_id, str) or not 1 <= len(cycle_id) <= 200 or plain.text_fault(cycle_id):
        raise UnusableOption("the cycle id must be text of 1 to 200 characters")


def _check_span(heartbeat: object) -> None:
    if not isinstance(heartbeat, timedelta):
        raise UnusableOption(f"the heartbeat must be a datetime.timedelta, not {kind_of(heartbeat)}")
