"""Start, label, cancel and retry: the changes of runs that the API and the pages' forms share."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Final

import attrs
from anyio import to_thread

from loopkit import Agent, new_run
from loopkit.agents import find_agent
from loopkit.core import strict_json
from loopkit.core.ids import fingerprint, request_digest
from loopkit.core.labels.label_change import KEEP, LabelChange
from loopkit.core.labels.label_text import tag_faults, title_faults
from loopkit.core.ledger.budget import MOST_AMOUNT, MOST_TOKENS, Budget
from loopkit.core.run import MAX_ATTEMPTS, NewRun, Run
from loopkit.errors import Fault, InvalidConfig, InvalidInputs, KeyReused
from loopkit.storage import IdempotencyKeys, Labelling
from loopkit_web.http.call import Call
from loopkit_web.http.json_schema import documented
from loopkit_web.http.problems import ProblemCode, Refused

__all__ = [
    "LabelRequest",
    "StartRequest",
    "cancel",
    "check_labels",
    "check_start",
    "find_repeated_start",
    "label",
    "retry",
    "start",
]


_TITLE: Final = "Title for people: 1 to 200 printable characters, trimmed."
_TAGS: Final = "Tags for people: at most 20 of 1 to 50 printable characters, trimmed, doubles once."


_BUDGET: Final[Mapping[str, Any]] = {
    "description": "Limits in place of those of the agent's budget that it names; they may be lower, not higher.",
    "properties": {
        "usd": {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_AMOUNT},
        "tokens": {"type": "integer", "minimum": 1, "maximum": MOST_TOKENS},
        "seconds": {"type": "number", "exclusiveMinimum": 0, "maximum": MOST_AMOUNT},
    },
    "additionalProperties": False,
}


@attrs.frozen(kw_only=True)
class StartRequest:
    """Run to start: the body of ``POST /api/workflows``."""

    agent_name: str
    inputs: Mapping[str, Any]
    cycle_id: str | None = documented(None, minLength=1, maxLength=200)
    max_attempts: int | None = documented(None, minimum=1, maximum=MAX_ATTEMPTS)
    pass_threshold: float | None = documented(None, minimum=0, maximum=1)
    budget: Mapping[str, Any] | None = documented(None, **_BUDGET)
    title: str | None = documented(None, description=_TITLE)
    tags: tuple[str, ...] | None = documented(None, description=_TAGS)


@attrs.frozen(kw_only=True)
class LabelRequest:
    """New labels of a run: the body of ``PATCH /api/workflows``; what is left out stays."""

    title: str | None = documented(KEEP, description=f"{_TITLE} Null takes the title away.")
    tags: tuple[str, ...] = documented(KEEP, description=f"{_TAGS} They replace those of the run.")


async def start(call: Call, body: StartRequest, *, key: str | None = None) -> Run:
    """Queue a run and return it; for a repeated key, return the run of the first request.

    Args:
        call: the current request; its actor is recorded as the one who started the run.
        body: the run to start.
        key: idempotency key, one of the actor's own; None: every request starts a run.

    Raises:
        UnknownAgent: there is no such agent.
        InvalidInputs: the inputs do not match the agent's schema.
        KeyReused: the key was used with another request.
    """
    agent = find_agent(call.agents, body.agent_name)
    build = partial(
        new_run,
        agent,
        body.inputs,
        cycle_id=body.cycle_id,
        max_attempts=body.max_attempts,
        pass_threshold=body.pass_threshold,
        budget=_budget(body.budget),
        title=body.title,
        tags=body.tags,
        actor=call.access.actor,
        idempotency_key=_own_key(call, key),
    )
    (run,) = await call.store.submit([await to_thread.run_sync(build)])  # in a thread: validation can be slow
    return run


async def find_repeated_start(call: Call, body: StartRequest, key: str) -> Run | None:
    """Return the run that the actor has started with this key; None if there is none.

    Raises:
        KeyReused: the key was used with another request.
    """
    own_key = _own_key(call, key)
    if own_key is None or not isinstance(call.store, IdempotencyKeys):
        return None
    known = await call.store.find_key(own_key)
    if known is None:
        return None
    if known.fingerprint not in (_digest(body), _older_fingerprint(body, known.run)):
        raise KeyReused(key)
    return known.run


def _digest(body: StartRequest) -> str:
    """Return the digest of a request as ``new_run`` makes it."""
    budget = _budget(body.budget)
    document = None if budget is None else budget.document()
    return request_digest(**{**attrs.asdict(body, recurse=False), "budget": document})


def _budget(limits: Mapping[str, Any] | None) -> Budget | None:
    """Return the budget of a request; to JSON Schema 80000.0 is a whole number as well."""
    if limits is None:
        return None
    return Budget(**{key: int(limit) if key == "tokens" else limit for key, limit in limits.items()})


def _older_fingerprint(body: StartRequest, run: Run) -> str:
    """Return the fingerprint that an older loopkit has stored for ``run``, if this request made it.

    It was one of the request with what the agent had added, so that is taken from the run.
    """
    is_part = all(name in run.inputs and run.inputs[name] == value for name, value in body.inputs.items())
    return fingerprint(
        NewRun(
            agent_name=body.agent_name,
            inputs=run.inputs if is_part else body.inputs,
            max_attempts=run.max_attempts if body.max_attempts is None else body.max_attempts,
            pass_threshold=run.pass_threshold if body.pass_threshold is None else body.pass_threshold,
            cycle_id=body.cycle_id,
            title=body.title,
            tags=body.tags or (),
        )
    )


async def label(call: Call, run_id: str, change: LabelChange) -> Run:
    """Update the title and the tags of a run, and return the run as it is now.

    Raises:
        RunNotFound: there is no such run.
        UnusableOption: the run would have too many tags.
        Refused: the store cannot change them.
    """
    if not isinstance(call.store, Labelling):
        raise Refused(ProblemCode.NOT_FOUND, "The store of this app cannot change titles and tags.")
    return await call.store.label(run_id, change)


async def cancel(call: Call, run_id: str) -> Run:
    """Request the cancellation of a run for the current actor, and return the run as it is now.

    Raises:
        RunNotFound: there is no such run.
        RunEnded: it has passed or failed.
    """
    return await call.store.request_cancel(run_id, actor=call.access.actor)


async def retry(call: Call, run_id: str, *, key: str | None = None) -> Run:
    """Queue a new run with the inputs and settings of an ended one, for the current actor, and return it.

    Raises:
        RunNotFound: there is no such run.
        RunNotEnded: the run has not ended.
        KeyReused: the key was used with another request.
    """
    return await call.store.retry(run_id, actor=call.access.actor, idempotency_key=_own_key(call, key))


def _own_key(call: Call, key: str | None) -> str | None:
    """Return the key as the store keeps it: keys of two actors differ, and clients without a name share theirs."""
    actor = call.access.actor
    if key is None or actor is None:
        return key
    digest = sha256(json.dumps([actor, key]).encode()).hexdigest()
    return f"actor\n{digest}"  # no header can contain a line end: no client can send the key of an actor


def check_start(call: Call, document: Mapping[str, Any]) -> Sequence[Fault]:
    """Return the faults of a start request that its class cannot find.

    These are a cycle id that cannot be stored, labels that are none, a pass threshold that the agent's checks do not
    allow, and inputs that do not match the agent's schema.

    Raises:
        UnknownAgent: there is no such agent.
    """
    name, inputs, cycle_id = (document.get(key) for key in ("agentName", "inputs", "cycleId"))
    faults: list[Fault] = []
    if isinstance(cycle_id, str) and (detail := strict_json.text_fault(cycle_id)):
        faults.append(Fault("/cycleId", detail))
    faults += check_labels(call, document)
    if isinstance(name, str):
        agent = find_agent(call.agents, name)
        faults += _threshold_faults(agent, document.get("passThreshold"))
        faults += _budget_faults(agent, document.get("budget"))
        if isinstance(inputs, dict):
            faults += _input_faults(agent, inputs)
    return faults


def _threshold_faults(agent: Agent, threshold: object) -> Sequence[Fault]:
    if not isinstance(threshold, int | float) or isinstance(threshold, bool) or not 0 <= threshold <= 1:
        return ()  # found by the class of the request
    detail = agent.threshold_fault(threshold)
    return [Fault("/passThreshold", detail)] if detail else ()


def _budget_faults(agent: Agent, limits: object) -> Sequence[Fault]:
    if not isinstance(limits, dict):
        return ()
    try:
        raised = agent.budget.raised_by(_budget(limits) or Budget())
    except (InvalidConfig, TypeError, ValueError, OverflowError):
        return ()  # found by the class of the request
    own = agent.budget.document()
    return [Fault(f"/budget/{key}", f"must be at most {own[key]}, the limit of the agent") for key in raised]


def check_labels(_: Call, document: Mapping[str, Any]) -> Sequence[Fault]:
    """Return the faults of a title and of tags that their types do not show."""
    title, tags = document.get("title"), document.get("tags")
    faults = title_faults(title) if isinstance(title, str) else []
    if isinstance(tags, list) and all(isinstance(tag, str) for tag in tags):
        faults += tag_faults(tags)
    return faults


def _input_faults(agent: Agent, inputs: Mapping[str, Any]) -> Sequence[Fault]:
    try:
        agent.checked_inputs(inputs)
    except InvalidInputs as error:
        return [Fault(f"/inputs{fault.pointer}", fault.detail) for fault in error.faults]
    return ()
