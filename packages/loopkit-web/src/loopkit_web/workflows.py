"""Runs over HTTP: list, look, start, cancel, retry. The three verbs serve the API and the pages' forms alike."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import attrs
from anyio import to_thread
from starlette.responses import Response

from loopkit.agents.agent import Agent
from loopkit.calls import new_run
from loopkit.core import plain
from loopkit.core.run import MAX_ATTEMPTS, Run, RunStatus
from loopkit.errors import Fault, InvalidInputs, UnknownAgent
from loopkit.storage import Order, RunQuery
from loopkit_web.context import Call
from loopkit_web.problems import Refused
from loopkit_web.replies import RunList, json_reply
from loopkit_web.schema import documented

__all__ = [
    "RunId",
    "Runs",
    "Start",
    "cancel",
    "cancel_workflow",
    "check_start",
    "get_workflows",
    "retry",
    "retry_workflow",
    "start",
    "start_workflow",
]


@attrs.frozen(kw_only=True)
class Runs:
    """Which runs: one by its id, or a page of those that match."""

    id: str | None = None
    status: frozenset[RunStatus] = documented(frozenset())
    agent: str | None = None
    limit: int = documented(50, description="At most 200; clamped.")
    cursor: str | None = None
    order: Order = Order.CREATED
    q: str | None = documented(None, description="Beginning of a run id, a cycle id or an agent's name.")
    since: datetime | None = None
    before: datetime | None = None
    stalled: bool = False

    def query(self) -> RunQuery:
        """Give what the store is asked."""
        return RunQuery(
            statuses=self.status,
            agent=self.agent,
            limit=min(max(self.limit, 1), 200),
            cursor=self.cursor,
            order=self.order,
            created_since=self.since,
            created_before=self.before,
            text=self.q,
            stalled=self.stalled,
        )


@attrs.frozen(kw_only=True)
class RunId:
    """Which run."""

    id: str = documented(minLength=1)


@attrs.frozen(kw_only=True)
class Start:
    """A run to start."""

    agent_name: str
    inputs: Mapping[str, Any]
    cycle_id: str | None = documented(None, minLength=1, maxLength=200)
    max_attempts: int | None = documented(None, minimum=1, maximum=MAX_ATTEMPTS)
    pass_threshold: float | None = documented(None, minimum=0, maximum=1)


async def get_workflows(call: Call) -> Response:
    """``GET /api/workflows``: a page of runs, or with ``id`` the one run."""
    query: Runs = call.query
    if query.id is not None:
        return json_reply(call, await call.store.get_run(query.id))
    page = await call.store.list_runs(query.query())
    return json_reply(call, RunList(runs=page.runs, next_cursor=page.next_cursor))


async def start_workflow(call: Call) -> Response:
    """``POST /api/workflows``: 201 the run and where it is."""
    return _made(call, await start(call, call.body, key=idempotency_key(call)))


async def cancel_workflow(call: Call) -> Response:
    """``POST /api/workflow-cancel?id=X``: 202 the run as it is now."""
    return json_reply(call, await cancel(call, call.query.id), status=202)


async def retry_workflow(call: Call) -> Response:
    """``POST /api/workflow-retry?id=X``: 201 the new run and where it is."""
    return _made(call, await retry(call, call.query.id, key=idempotency_key(call)))


def _made(call: Call, run: Run) -> Response:
    return json_reply(call, run, status=201, headers={"Location": call.url(f"/api/workflows?id={run.id}")})


# --- The verbs, for the API and the pages -------------------------------------------------------------------------


async def start(call: Call, body: Start, *, key: str | None = None) -> Run:
    """Queue a run and give it; with a key that came before, the run made then.

    Raises:
        UnknownAgent: there is no such agent.
        InvalidInputs: the inputs do not fit it.
        KeyReused: the key came before with another request.
    """
    agent = _agent(call, body.agent_name)
    ask = partial(
        new_run,
        agent,
        body.inputs,
        cycle_id=body.cycle_id,
        max_attempts=body.max_attempts,
        pass_threshold=body.pass_threshold,
        actor=call.access.actor,
        idempotency_key=key,
    )
    (run,) = await call.store.submit([await to_thread.run_sync(ask)])  # a schema may take its time
    return run


async def cancel(call: Call, run_id: str) -> Run:
    """Ask for a run to be cancelled, in the name of who asks."""
    return await call.store.request_cancel(run_id, actor=call.access.actor)


async def retry(call: Call, run_id: str, *, key: str | None = None) -> Run:
    """Queue a run like an ended one, in the name of who asks."""
    return await call.store.retry(run_id, actor=call.access.actor, idempotency_key=key)


def check_start(call: Call, document: Mapping[str, Any]) -> Sequence[Fault]:
    """Find what the class alone cannot: an agent that is not there (it raises), and inputs that do not fit it."""
    name, inputs, cycle_id = (document.get(key) for key in ("agentName", "inputs", "cycleId"))
    found: list[Fault] = []
    if isinstance(cycle_id, str) and (detail := plain.text_fault(cycle_id)):
        found.append(Fault("/cycleId", detail))
    if isinstance(name, str):
        agent = _agent(call, name)
        if isinstance(inputs, dict):
            found += _input_faults(agent, inputs)
    return found


def _agent(call: Call, name: str) -> Agent:
    agent = call.agents.get(name)
    if agent is None:
        raise UnknownAgent(name, call.agents)
    return agent


def _input_faults(agent: Agent, inputs: Mapping[str, Any]) -> Sequence[Fault]:
    try:
        agent.checked_inputs(inputs)
    except InvalidInputs as error:
        return [Fault(f"/inputs{fault.pointer}", fault.detail) for fault in error.faults]
    return ()


def idempotency_key(call: Call) -> str | None:
    """Give the request's idempotency key.

    Raises:
        Refused: it is empty, too long or not plain ASCII.
    """
    key = call.request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
        raise Refused("bad-header", "Idempotency-Key is 1 to 255 printable ASCII characters.")
    return key
