"""Handlers of the buttons that cancel, retry and label runs. Each submitted form leads on with a 303."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

from starlette.responses import Response

from loopkit.core import run_actions
from loopkit.core.labels.label_change import label_change
from loopkit.core.labels.label_text import tag_faults, title_faults
from loopkit.core.run import Run
from loopkit.core.run_actions import Action
from loopkit.errors import ConflictError, Fault, RunEnded, RunNotFound
from loopkit_web import actions
from loopkit_web.dashboard.pages.layout import form_key, new_key, page, segment
from loopkit_web.dashboard.views.status import status_of
from loopkit_web.http.access import Permission
from loopkit_web.http.call import Call
from loopkit_web.http.endpoint import Form

__all__ = ["cancel_many", "cancel_run", "label_run", "retry_many", "retry_run"]

_MAX_RUNS: Final = 200
"""Most runs of one bulk action."""
_MAX_CHARS: Final = 200
"""Characters of each text of a run that are read."""


async def cancel_run(call: Call) -> Response:
    """``POST /agents/{runId}/cancel``. If the run has ended meanwhile, this is no error: its page shows how."""
    run_id = call.path["run_id"]
    with suppress(RunEnded):
        await actions.cancel(call, run_id)
    return call.see_other(f"/agents/{segment(run_id)}")


async def retry_run(call: Call) -> Response:
    """``POST /agents/{runId}/retry``: leads to the new run. The same form submitted twice makes one run."""
    form: Form = call.body
    run = await actions.retry(call, call.path["run_id"], key=form_key(form))
    return call.see_other(f"/agents/{segment(run.id)}")


async def label_run(call: Call) -> Response:
    """``POST /agents/{runId}/labels``: the title, empty for none, and the tags, one a line.

    A value that is not a title or not a tag changes nothing: the response, a 422, names it, and has the form as it was
    submitted.
    """
    form: Form = call.body
    title, tags = form.get("title").strip(), [tag for tag in form.get("tags").splitlines() if tag.strip()]
    faults = [*(title_faults(title) if title else []), *tag_faults(tags)]
    if faults:
        return await page(
            call,
            "labels.html",
            title="Edit title and tags",
            nav="/agents",
            status=422,
            run_id=call.path["run_id"],
            run_title=title,
            tags=tags,
            faults=[(_field_name(fault), fault.detail) for fault in faults],
        )
    run = await actions.label(call, call.path["run_id"], label_change(title=title or None, tags=tags))
    return call.see_other(f"/agents/{segment(run.id)}")


def _field_name(fault: Fault) -> str:
    """Return the name of a field of the form, and of a tag its line: ``Tag 2``."""
    field, _, position = fault.pointer.strip("/").partition("/")
    return f"Tag {int(position) + 1}" if position else field.title()


async def cancel_many(call: Call) -> Response:
    """``POST /bulk/cancel``: shows the runs that would be cancelled; when that is confirmed, cancels them."""

    async def cancel(run: Run) -> None:
        await actions.cancel(call, run.id)

    return await _act_on_many(call, Action.CANCEL, cancel)


async def retry_many(call: Call) -> Response:
    """``POST /bulk/retry``: shows the runs that would be retried; when that is confirmed, retries them."""

    async def retry(run: Run) -> None:
        await actions.retry(call, run.id, key=form_key(call.body, run.id))

    return await _act_on_many(call, Action.RETRY, retry)


async def _act_on_many(call: Call, action: Action, act: Callable[[Run], Awaitable[None]]) -> Response:
    form: Form = call.body
    chosen = form.getlist("id")
    if chosen and not form.get("confirmed"):
        call.require(Permission.VIEW)  # the preview shows the runs
    runs = await _read_runs(call, chosen)
    possible = [run for run in runs if action in run_actions.allowed_actions(run)]
    if form.get("confirmed"):
        for run in possible:
            try:
                await act(run)
            except (ConflictError, RunNotFound):
                continue  # it has ended, or was deleted, since it was read
        return call.see_other("/agents")
    skipped = [run for run in runs if action not in run_actions.allowed_actions(run)]
    return await page(
        call,
        "bulk.html",
        title=f"{action.value.title()} {len(possible)} {'run' if len(possible) == 1 else 'runs'}?",
        nav="/agents",
        action=action.value,
        key=new_key(),
        possible=[(run, status_of(run)) for run in possible],
        skipped=[(run, status_of(run)) for run in skipped],
    )


async def _read_runs(call: Call, ids: Sequence[str]) -> list[Run]:
    """Read the chosen runs that exist, at most 200."""
    runs = []
    for run_id in list(dict.fromkeys(ids))[:_MAX_RUNS]:
        try:
            runs.append(await call.store.get_run(run_id, max_chars=_MAX_CHARS))
        except RunNotFound:
            continue
    return runs
