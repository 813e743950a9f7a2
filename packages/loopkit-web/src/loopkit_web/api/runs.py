"""Runs over HTTP: list, read, start, label, cancel, retry."""

from contextlib import aclosing
from datetime import datetime

import attrs
from starlette.responses import Response

from loopkit.core import strict_json
from loopkit.core.labels.label_change import label_change
from loopkit.core.labels.label_text import MAX_TAGS
from loopkit.core.run import EndReason, Run, RunStatus
from loopkit.storage import Order, RunPage, RunQuery
from loopkit_web.actions import LabelRequest, StartRequest, cancel, find_repeated_start, label, retry, start
from loopkit_web.api.shapes import RunReference
from loopkit_web.http.access import Permission
from loopkit_web.http.call import Call
from loopkit_web.http.json_response import json_parts_response, json_response
from loopkit_web.http.json_schema import CLAMPED, documented
from loopkit_web.http.problems import ProblemCode, Refused
from loopkit_web.row_parts import MAX_ROW_CHARS, Parts, documents, needs_whole_row, run_windows, single

__all__ = [
    "RunIdQuery",
    "RunListQuery",
    "cancel_workflow",
    "find_started",
    "get_workflows",
    "label_workflow",
    "retry_workflow",
    "start_workflow",
]


@attrs.frozen(kw_only=True)
class RunListQuery:
    """Query of the list endpoint: one run by its id, or a page of the runs that match."""

    id: str | None = documented(None, description="Id of one run, to be returned instead of a page.")
    status: frozenset[RunStatus] = documented(frozenset(), description="Statuses, separated by commas.")
    agent: str | None = documented(None, description="Name of an agent.")
    limit: int = documented(50, **CLAMPED, description="At most 200; clamped.")
    cursor: str | None = documented(None, description="`nextCursor` of the page before, as it is.")
    order: Order = documented(Order.CREATED, description="Sort key, the highest first.")
    q: str | None = documented(
        None, description="Prefix of a run id, a cycle id, an agent's name or a tag, or words of a title or a tag."
    )
    since: datetime | None = documented(None, description="Earliest time of creation.")
    before: datetime | None = documented(None, description="Time before which the runs were created.")
    stalled: bool = documented(False, description="Stalled runs only.")
    tag: tuple[str, ...] = documented((), maxItems=MAX_TAGS, description="Tag of the runs; repeated: all of them.")
    reason: EndReason | None = documented(None, description="Reason for which the runs ended.")

    def query(self) -> RunQuery:
        """Return the query for the store, with the limit clamped, for the beginnings of the runs."""
        return RunQuery(
            statuses=self.status,
            agent=self.agent,
            limit=self.limit,
            cursor=self.cursor,
            order=self.order,
            created_since=self.since,
            created_before=self.before,
            text=self.q,
            stalled=self.stalled,
            max_chars=MAX_ROW_CHARS,
            tags=tuple(tag.strip() for tag in self.tag),
            reason=self.reason,
        )


@attrs.frozen(kw_only=True)
class RunIdQuery:
    """Query of the endpoints that change one run."""

    id: str = documented(minLength=1, description="Id of the run.")


async def get_workflows(call: Call) -> Response:
    """``GET /api/workflows``: a page of runs, or with ``id`` the run."""
    query: RunListQuery = call.query
    if query.id is not None:
        return await _run_response(call, query.id)
    page = await call.store.list_runs(query.query())
    return await json_parts_response(call, _run_list(call, page), ("runs", page))


async def _run_response(call: Call, run_id: str) -> Response:
    run = await call.store.get_run(run_id, max_chars=MAX_ROW_CHARS)
    if not needs_whole_row(run):
        return await json_response(call, run)
    return await json_parts_response(call, documents(single(await call.store.get_run(run_id))), ("run", run))


async def _run_list(call: Call, page: RunPage) -> Parts:
    yield b'{"runs":['
    async with aclosing(documents(run_windows(call.store, page.runs))) as parts:
        async for part in parts:
            yield part
    yield b'],"nextCursor":' + strict_json.dumps(page.next_cursor).encode() + b"}"


async def start_workflow(call: Call) -> Response:
    """``POST /api/workflows``: 201 the run, with its address in ``Location``."""
    run = call.repeated or await start(call, call.body, key=_idempotency_key(call))
    # A run that nobody has worked on contains only what the client has sent, so it may be shown without ``view``.
    is_new = run.status is RunStatus.QUEUED and run.started_at is None and run.cancel_requested_at is None
    return await _created(call, run, run if is_new else _visible(call, run))


async def find_started(call: Call, body: StartRequest) -> Run | None:
    """Return the run that an earlier request with the same idempotency key and body has started."""
    key = _idempotency_key(call)
    return None if key is None else await find_repeated_start(call, body, key)


async def label_workflow(call: Call) -> Response:
    """``PATCH /api/workflows?id=X``: 200 the run with its new labels."""
    body: LabelRequest = call.body
    run = await label(call, call.query.id, label_change(title=body.title, tags=body.tags))
    return await json_response(call, _visible(call, run))


async def cancel_workflow(call: Call) -> Response:
    """``POST /api/workflow-cancel?id=X``: 202 the run as it is now."""
    return await json_response(call, _visible(call, await cancel(call, call.query.id)), status=202)


async def retry_workflow(call: Call) -> Response:
    """``POST /api/workflow-retry?id=X``: 201 the new run, with its address in ``Location``."""
    run = await retry(call, call.query.id, key=_idempotency_key(call))
    return await _created(call, run, _visible(call, run))


def _visible(call: Call, run: Run) -> Run | RunReference:
    """Return what the client may see of a run: the run with the permission to view runs, else its id and status."""
    return run if call.may(Permission.VIEW) else RunReference(id=run.id, status=run.status)


async def _created(call: Call, run: Run, content: Run | RunReference) -> Response:
    return await json_response(call, content, status=201, headers={"Location": call.url(f"/api/workflows?id={run.id}")})


def _idempotency_key(call: Call) -> str | None:
    """Return the idempotency key of the request; None if there is none.

    Raises:
        Refused: the key is empty, too long or not printable ASCII.
    """
    key = call.request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= 255 and key.isascii() and key.isprintable()):
        raise Refused(ProblemCode.BAD_HEADER, "Idempotency-Key must be 1 to 255 printable ASCII characters.")
    return key
