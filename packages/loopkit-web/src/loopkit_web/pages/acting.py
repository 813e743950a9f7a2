"""What a run's buttons do: cancel and retry, one run or many. A form is answered by sending the browser on."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from starlette.responses import Response

from loopkit.core.machine import Action, actions
from loopkit.core.run import Run
from loopkit.errors import ConflictError, RunEnded, RunNotFound
from loopkit_web import workflows
from loopkit_web.context import Call
from loopkit_web.pages.layout import form_key, new_key, page, segment
from loopkit_web.routing import Form
from loopkit_web.views.status import status_of

__all__ = ["cancel_many", "cancel_run", "retry_many", "retry_run"]

_MOST = 200


async def cancel_run(call: Call) -> Response:
    """``POST /agents/{runId}/cancel``. A run that has ended meanwhile is no failure: its page says how it ended."""
    run_id = call.path["run_id"]
    with suppress(RunEnded):
        await workflows.cancel(call, run_id)
    return call.see_other(f"/agents/{segment(run_id)}")


async def retry_run(call: Call) -> Response:
    """``POST /agents/{runId}/retry``: on to the new run; the same form sent twice makes one."""
    form: Form = call.body
    run = await workflows.retry(call, call.path["run_id"], key=form_key(form))
    return call.see_other(f"/agents/{segment(run.id)}")


async def cancel_many(call: Call) -> Response:
    """``POST /bulk/cancel``: show what would be cancelled; once that is confirmed, cancel it."""

    async def cancel(run: Run) -> None:
        await workflows.cancel(call, run.id)

    return await _many(call, Action.CANCEL, cancel)


async def retry_many(call: Call) -> Response:
    """``POST /bulk/retry``: show what would be retried; once that is confirmed, retry it."""

    async def retry(run: Run) -> None:
        await workflows.retry(call, run.id, key=form_key(call.body, run.id))

    return await _many(call, Action.RETRY, retry)


async def _many(call: Call, action: Action, act: Callable[[Run], Awaitable[None]]) -> Response:
    form: Form = call.body
    runs = await _runs(call, form.getlist("id"))
    ready = [run for run in runs if action in actions(run)]
    if form.get("confirmed"):
        for run in ready:
            try:
                await act(run)
            except (ConflictError, RunNotFound):
                continue  # it has ended, or gone, since it was looked at
        return call.see_other("/agents")
    left = [run for run in runs if action not in actions(run)]
    return page(
        call,
        "bulk.html",
        title=f"{action.value.title()} {len(ready)} {'run' if len(ready) == 1 else 'runs'}?",
        nav="/agents",
        action=action.value,
        key=new_key(),
        ready=[(run, status_of(run)) for run in ready],
        left=[(run, status_of(run)) for run in left],
    )


async def _runs(call: Call, ids: Sequence[str]) -> list[Run]:
    """Give the chosen runs that are still there, at most 200."""
    found = []
    for run_id in list(dict.fromkeys(ids))[:_MOST]:
        try:
            found.append(await call.store.get_run(run_id))
        except RunNotFound:
            continue
    return found
