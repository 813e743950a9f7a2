"""Functions to run agents from Python: run one here to its end, queue many, wait for one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, Self

import anyio
import attrs
from anyio import to_thread

from loopkit.agents.agent import Agent
from loopkit.agents.error_text import kind_of
from loopkit.agents.stages.lifespan import Lifespan, check_lifespan, open_deps
from loopkit.core import strict_json
from loopkit.core.attempts import read_evaluation
from loopkit.core.ids import request_digest
from loopkit.core.journal import Artifact, ArtifactType
from loopkit.core.labels.label_change import KEEP, Keep, label_change
from loopkit.core.labels.label_text import checked_tags, checked_title
from loopkit.core.lease import HEARTBEAT
from loopkit.core.ledger.budget import Budget
from loopkit.core.outcome import Evaluation
from loopkit.core.policy import Policy
from loopkit.core.run import EndReason, NewRun, Run, RunStatus
from loopkit.errors import Fault, InvalidInputs, RunCancelled, RunFailed, UnusableOption
from loopkit.eventloop import Turns
from loopkit.storage import Labelling, Storage
from loopkit.stores.memory import MemoryStore

__all__ = ["Attempt", "Result", "label", "new_run", "read_result", "run", "submit", "wait"]

WAIT_SECONDS: Final = (0.02, 1.0)
"""Shortest and longest pause between two reads of a run that is waited for."""


@attrs.frozen(kw_only=True)
class Attempt:
    """Attempt of a run, as it is stored."""

    number: int
    """Number of the attempt, from 1."""
    output: Any = None
    """Output of the attempt: text, or the stored JSON; None: it has none."""
    evaluation: Evaluation | None = None
    """Evaluation of that output; None: it was not evaluated."""


@attrs.frozen(kw_only=True)
class Result:
    """Result of a run. A failed or cancelled run is a result, not an exception."""

    run: Run
    """The run as it ended."""
    output: Any = None
    """Output of the best attempt: text, or the mapping or list that the stage returned; None: no best attempt."""
    evaluation: Evaluation | Any = None
    """Evaluation of the best attempt; None: there is none. Typed so that a run that passed need not be asked."""
    attempts: tuple[Attempt, ...] = ()
    """Attempts that have an output, by number."""

    @property
    def error(self) -> str | None:
        """Message of the run's error; None: it has none."""
        return self.run.error_message

    def raise_for_status(self) -> Self:
        """Return this result if the run passed.

        Raises:
            RunFailed: it failed.
            RunCancelled: it was cancelled.
        """
        if self.status is RunStatus.FAILED:
            raise RunFailed(self.run.id, _end_reason(self.run), self.run.headline, self.error, result=self)
        if self.status is RunStatus.CANCELLED:
            raise RunCancelled(self.run.id, _end_reason(self.run), result=self)
        return self

    @property
    def status(self) -> RunStatus:
        """Status in which the run ended."""
        return self.run.status


def new_run(
    agent: Agent,
    inputs: Mapping[str, Any] | None = None,
    *,
    cycle_id: str | None = None,
    max_attempts: int | None = None,
    pass_threshold: float | None = None,
    title: str | None = None,
    tags: Sequence[str] | None = None,
    budget: Budget | None = None,
    actor: str | None = None,
    idempotency_key: str | None = None,
) -> NewRun:
    """Build a run that a store can queue, from checked arguments.

    Raises:
        InvalidInputs: the inputs do not fit the agent's schema.
        UnusableOption: ``agent`` is not an Agent, ``max_attempts`` not a whole number in 1..2147483647,
            ``pass_threshold`` not a number in 0..1, or too small for the agent's checks, ``cycle_id`` not text of
            1 to 200 characters, ``title`` not 1 to 200 characters on one line, ``tags`` not at most 20 texts of 1
            to 50, or ``budget`` not a Budget.
    """
    _check_agent(agent)
    given_inputs = {} if inputs is None else inputs
    checked_inputs = agent.checked_inputs(given_inputs)
    if cycle_id is not None:
        _check_cycle_id(cycle_id)
    run_title = agent.run_title(checked_inputs) if title is None else checked_title(title)
    run_tags = () if tags is None else checked_tags(tags)
    options = {
        "cycle_id": cycle_id,
        "max_attempts": max_attempts,
        "pass_threshold": pass_threshold,
        "title": title,
        "tags": None if tags is None else list(tags),
        "budget": None if budget is None else _budget_document(budget),
    }
    new = NewRun(
        agent_name=agent.name,
        inputs=checked_inputs,
        cycle_id=cycle_id,
        max_attempts=agent.max_attempts if max_attempts is None else max_attempts,
        pass_threshold=agent.pass_threshold if pass_threshold is None else pass_threshold,
        actor=actor,
        idempotency_key=idempotency_key,
        request_digest=None if idempotency_key is None else request_digest(agent.name, given_inputs, **options),
        policy=agent.definition.policy if budget is None else _policy(agent, budget).document(),
        title=run_title,
        tags=run_tags,
    )
    if fault := agent.threshold_fault(new.pass_threshold):
        raise UnusableOption(f"pass_threshold {fault}")
    return new


async def run(
    agent: Agent,
    inputs: Mapping[str, Any] | None = None,
    *,
    store: Storage | None = None,
    cycle_id: str | None = None,
    max_attempts: int | None = None,
    pass_threshold: float | None = None,
    title: str | None = None,
    tags: Sequence[str] | None = None,
    budget: Budget | None = None,
    lifespan: Lifespan | None = None,
    heartbeat: timedelta = HEARTBEAT,
) -> Result:
    """Make a run and work it here to its end; without a store it is kept in memory only.

    When the caller is cancelled, the run goes back to the queue of the store, with its finished stages.

    Args:
        title: title for people, in place of the agent's.
        tags: tags for people, at most 20.
        budget: limits in place of those of the agent's budget that it names.
        lifespan: callable without arguments that returns an async context manager, entered before the run is made;
            what it yields is ``ctx.deps``. None: the agent's own.

    Raises:
        InvalidInputs: the inputs do not fit the agent's schema; ``.faults`` lists every fault.
        UnusableOption: an argument is of the wrong type, or a limit is out of its range.
        LeaseLost: another runner took the run over, because this one could not renew its lease for too long.
        StorageUnavailable: the store gave no answer.
    """
    from loopkit.runner import check_heartbeat, claimant, work_run  # not loaded by programs that only queue runs

    build = partial(
        new_run,
        agent,
        cycle_id=cycle_id,
        max_attempts=max_attempts,
        pass_threshold=pass_threshold,
        title=title,
        tags=tags,
        budget=budget,
    )
    new = await _build_run(build, inputs)
    storage = MemoryStore() if store is None else store
    _check_store(storage)
    _check_heartbeat_type(heartbeat)
    check_heartbeat(heartbeat, storage)
    check_lifespan(lifespan)
    agent.problems()  # imports the stages in this thread and outside their timeouts; one that fails says so when called
    async with open_deps([agent], lifespan) as deps:
        held = await storage.start(new, claimant(heartbeat), definition=agent.definition)
        ended = await work_run(storage, agent, held, heartbeat=heartbeat, deps=deps)
    return await read_result(storage, ended)


async def submit(
    store: Storage,
    agent: Agent,
    inputs: Sequence[Mapping[str, Any]],
    *,
    cycle_id: str | None = None,
    max_attempts: int | None = None,
    pass_threshold: float | None = None,
    title: str | None = None,
    tags: Sequence[str] | None = None,
    budget: Budget | None = None,
) -> list[Run]:
    """Queue a run for each of ``inputs``, all or none, and return them in the order of the inputs.

    ``title``, in place of the agent's, ``tags`` and ``budget`` are those of every run.

    Raises:
        InvalidInputs: some inputs do not fit the agent's schema; nothing was queued.
        UnusableOption: an argument is of the wrong type, or a limit is out of its range.
    """
    _check_store(store)
    if not isinstance(inputs, Iterable):
        raise UnusableOption(f"submit takes a list of inputs, one for each run, not {kind_of(inputs)}")
    inputs = [inputs] if isinstance(inputs, Mapping) else list(inputs)
    build = partial(
        new_run,
        agent,
        cycle_id=cycle_id,
        max_attempts=max_attempts,
        pass_threshold=pass_threshold,
        title=title,
        tags=tags,
        budget=budget,
    )
    new_runs: list[NewRun] = []
    faults: list[Fault] = []
    turns = Turns()
    for number, run_inputs in enumerate(inputs, 1):
        try:
            new_runs.append(await _build_run(build, run_inputs))
            await turns.pause_after(run_inputs)
        except InvalidInputs as error:
            place = f" (inputs {number} of {len(inputs)})" if len(inputs) > 1 else ""
            faults += [Fault(fault.pointer, fault.detail + place) for fault in error.faults]
    if faults:
        raise InvalidInputs(faults)
    return await store.submit(new_runs)


async def _build_run(build: Callable[[Any], NewRun], inputs: Any) -> NewRun:
    """Build a run; in a worker thread if its inputs have so many values that checking them takes long."""
    return await to_thread.run_sync(build, inputs) if strict_json.is_large(inputs) else build(inputs)


async def label(
    store: Storage, run_id: str, *, title: str | Keep | None = KEEP, tags: Sequence[str] | Keep = KEEP
) -> Run:
    """Update the title and the tags of a run, whatever its state, and return the run as it is then.

    Args:
        store: the store of the run.
        run_id: id of the run.
        title: the new title; None: no title; left out: the title stays.
        tags: tags in place of those that the run has; left out: they stay.

    Raises:
        RunNotFound: there is no such run.
        UnusableOption: a value is not a title or not tags, or the store cannot change them.
    """
    _check_store(store)
    change = label_change(title=title, tags=tags)
    if not isinstance(store, Labelling):
        raise UnusableOption(f"{type(store).__name__} cannot change titles and tags: it has no method `label`")
    return await store.label(run_id, change)


async def wait(store: Storage, run_id: str) -> Result:
    """Wait until a run has ended, wherever it is worked, and return its result.

    Raises:
        RunNotFound: there is no such run.
        UnusableOption: an argument is of the wrong type.
    """
    _check_store(store)
    if not isinstance(run_id, str):
        raise UnusableOption(f"wait takes the id of a run, as text, not {kind_of(run_id)}")
    pause = WAIT_SECONDS[0]
    while not (run := await store.get_run(run_id)).ended:
        await anyio.sleep(pause)
        pause = min(pause * 1.5, WAIT_SECONDS[1])
    return await read_result(store, run)


async def read_result(store: Storage, ended: Run) -> Result:
    """Read the result of an ended run: its attempts, and the output and the evaluation of the best one."""
    by_attempt: dict[int, dict[ArtifactType, Artifact]] = {}
    for artifact in await store.list_artifacts(ended.id):
        by_attempt.setdefault(artifact.attempt, {})[artifact.artifact_type] = artifact
    attempts = tuple(_read_attempt(number, by_attempt[number]) for number in sorted(by_attempt))
    best = next((attempt for attempt in attempts if attempt.number == ended.best_attempt), None)
    if best is None:
        return Result(run=ended, attempts=attempts)
    return Result(run=ended, output=best.output, evaluation=best.evaluation, attempts=attempts)


def _read_attempt(number: int, artifacts: Mapping[ArtifactType, Artifact]) -> Attempt:
    evaluation = artifacts.get(ArtifactType.EVALUATION)
    return Attempt(
        number=number,
        output=_read_output(artifacts.get(ArtifactType.OUTPUT)),
        evaluation=None if evaluation is None else read_evaluation(evaluation),
    )


def _end_reason(run: Run) -> str:
    """Return the reason of the run's end; for a run that another program ended, what its row allows to say."""
    if run.end_reason is not None:
        return run.end_reason
    if run.status is RunStatus.CANCELLED:
        return EndReason.CANCEL_REQUESTED.value
    return (EndReason.ATTEMPTS_SPENT if run.error_message is None else EndReason.STAGE_ERROR).value


def _read_output(output: Artifact | None) -> Any:
    if output is None:
        return None
    return strict_json.loads_or_text(output.content) if output.is_json else output.content


def _check_agent(agent: object) -> None:
    if not isinstance(agent, Agent):
        raise UnusableOption(
            f"the agent must be a loopkit.Agent, not {kind_of(agent)}; loopkit.load_agents(...) returns them by name"
        )


def _policy(agent: Agent, budget: Budget) -> Policy:
    """Return the policy of a run of the agent, with the limits that its own budget names."""
    return attrs.evolve(agent.policy, budget=agent.budget.replaced_by(budget))


def _budget_document(budget: object) -> Mapping[str, Any]:
    if not isinstance(budget, Budget):
        raise UnusableOption(f"the budget must be a loopkit.Budget, not {kind_of(budget)}")
    return budget.document()


def _check_store(store: object) -> None:
    """Check that the argument has the methods of a store; a URL or a store that was not entered has not."""
    if not hasattr(store, "get_run"):
        raise UnusableOption(
            f"the store must be an open store, not {kind_of(store)}; "
            "open one with: async with loopkit.open_store(url) as store"
        )


def _check_cycle_id(cycle_id: object) -> None:
    if not isinstance(cycle_id, str) or not 1 <= len(cycle_id) <= 200 or strict_json.text_fault(cycle_id):
        raise UnusableOption("the cycle id must be text of 1 to 200 characters")


def _check_heartbeat_type(heartbeat: object) -> None:
    if not isinstance(heartbeat, timedelta):
        raise UnusableOption(f"the heartbeat must be a datetime.timedelta, not {kind_of(heartbeat)}")
