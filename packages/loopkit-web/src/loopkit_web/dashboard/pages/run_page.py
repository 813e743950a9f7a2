"""``/agents/{runId}``: one run, further events of it, and its artifacts as files."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Final

import attrs
from starlette.responses import Response, StreamingResponse

from loopkit import wire
from loopkit.core.journal import MAX_EVENT_ID, Artifact, ArtifactInfo, ArtifactType, EventType, RunEvent
from loopkit.core.run import MAX_ATTEMPTS, Run, RunStatus
from loopkit.journal_reader import read_newest_event
from loopkit.storage import Ledger
from loopkit_web.dashboard.markup import json_tree
from loopkit_web.dashboard.pages.layout import RefreshPlan, StreamKind, new_key, page, run_facts, segment, unchanged
from loopkit_web.dashboard.pages.page_worker import in_worker
from loopkit_web.dashboard.views.artifact_view import (
    BEST_OUTPUT_LINES,
    MAX_CHARS,
    PREVIEW_CHARS,
    PREVIEW_LINES,
    ArtifactView,
    ViewAllowance,
    artifact_view,
    artifact_views,
    find_best_output,
)
from loopkit_web.dashboard.views.evaluations import MAX_EVALUATION_CHARS, EvaluationView, evaluation_views
from loopkit_web.dashboard.views.run_view import RunView, Tab, run_view
from loopkit_web.dashboard.views.runners_view import fleet_view
from loopkit_web.dashboard.views.stage_failure import StageFailure, last_failure
from loopkit_web.dashboard.views.timeline import WINDOW, Timeline, event_groups
from loopkit_web.dashboard.views.usage_view import UsageView, has_usage, usage_text, usage_view
from loopkit_web.fleet import read_fleet
from loopkit_web.http.call import Call
from loopkit_web.http.json_schema import documented
from loopkit_web.http.problems import ProblemCode, Refused
from loopkit_web.row_parts import PART_CHARS, content_parts

__all__ = ["EventWindow", "RunPageQuery", "send_artifact", "show_events", "show_run"]

_MAX_CHARS: Final = 100_000
"""Characters of each text of the run that are read."""
_MAX_EVENT_CHARS: Final = 20_000
"""Characters of each message, and of the metadata, that are read: a traceback has at most 16 KB."""
_MAX_EVALUATIONS: Final = 21
"""Newest evaluations that are read: one more than the attempts with a column."""
_MAX_SHOWN: Final = 200
"""Most artifacts that are shown at once."""
_MAX_PREVIEWS_BYTES: Final = 300_000
_READ_AT_ONCE: Final = 8
_ACTIVE_SECONDS: Final = 2
_IDLE_SECONDS: Final = 30
_CLOSING_EVENTS: Final = 5
"""Newest events of a failed run, among which its error is: it is written together with the end."""


@attrs.frozen(kw_only=True)
class RunPageQuery:
    """Query of a run's page."""

    tab: str = Tab.TIMELINE.value
    """An unknown tab is the timeline."""
    before: int = documented(MAX_EVENT_ID, minimum=1, maximum=MAX_EVENT_ID)
    attempt: int | None = documented(None, minimum=1, maximum=MAX_ATTEMPTS)
    """Shows the artifacts of one attempt only, in their tab."""
    part: str | None = None
    """Set to fetch only the parts of the page that change while it is open."""


@attrs.frozen(kw_only=True)
class EventWindow:
    """Query for events after one, or before one."""

    after: int = documented(0, minimum=0, maximum=MAX_EVENT_ID)
    before: int | None = documented(None, minimum=1, maximum=MAX_EVENT_ID)


async def show_run(call: Call) -> Response:
    """``GET /agents/{runId}``: a run in one of its tabs; with ``part`` all that changes except the timeline."""
    query: RunPageQuery = call.query
    tab = Tab(query.tab) if query.tab in set(Tab) else Tab.TIMELINE
    is_part = query.part is not None
    run = await call.store.get_run(call.path["run_id"], max_chars=_MAX_CHARS)
    infos = await call.store.describe_artifacts(run.id)
    fleet = await in_worker(call, fleet_view, await read_fleet(call)) if _waits_for_runner(run) else None
    serving = [runner.name for runner in fleet.serving(run.agent_name)] if fleet is not None else None
    facts = (run_facts(run), [info.id for info in infos], serving, tab, query.attempt)
    if is_part and (not_modified := unchanged(call, "run.html", facts)):
        return not_modified
    # Three queries of the journal for one page: first, window, newest. The protocol has none that answers all three.
    first = await call.store.list_events(run.id, limit=1, max_chars=_MAX_EVENT_CHARS)
    events = await _read_window(call, run, before=query.before) if tab is Tab.TIMELINE and not is_part else []
    newest = events[-1] if events else None
    if query.before != MAX_EVENT_ID:
        newest = await read_newest_event(call.store, run.id, max_chars=_MAX_EVENT_CHARS)
    evaluations = await _read_evaluations(call, run, infos)
    allowance = _view_allowance(tab)
    best_view = await _read_best(call, run, infos, allowance) if tab is Tab.TIMELINE else None
    shown = await _read_shown_artifacts(call, run, infos, events, tab, query.attempt, allowance)
    failure = await _read_failure(call, run)
    view = await in_worker(call, run_view, run, infos, evaluations, shown, fleet, _actor(first), best_view, failure)
    raw = await in_worker(call, json_tree.tree, wire.run(run)) if tab is Tab.RAW else None
    usage = await _read_usage(call, run) if tab is Tab.USAGE else None
    return await page(
        call,
        "run.html",
        title=f"{view.status.text} · {run.agent_name}",
        part=is_part,
        facts=facts,
        nav="/agents",
        live=_refresh_plan(call, run, tab, events, query.attempt),
        view=view,
        tab=tab,
        attempt=query.attempt,
        key=new_key(),
        can_rerun=run.agent_name in call.agents,
        timeline=_timeline(view, events, first, newest),
        raw=raw,
        usage=usage,
        usage_text=usage_text(run),
        has_usage=has_usage(run),
    )


async def show_events(call: Call) -> Response:
    """``GET /agents/{runId}/events``: a window of the timeline, which the script adds to the open page."""
    query: EventWindow = call.query
    run = await call.store.get_run(call.path["run_id"], max_chars=_MAX_CHARS)
    events = await _read_window(call, run, before=query.before, after=query.after)
    newest = await read_newest_event(call.store, run.id, max_chars=_MAX_EVENT_CHARS)
    facts = (run_facts(run), [event.id for event in events], newest)
    if not_modified := unchanged(call, "events.html", facts):
        return not_modified
    first = await call.store.list_events(run.id, limit=1, max_chars=_MAX_EVENT_CHARS)
    infos: Sequence[ArtifactInfo] = ()
    evaluations: Mapping[int, EvaluationView] = {}
    shown: Mapping[int, ArtifactView] = {}
    # A stage that logs much causes many requests: nothing needless is read. The end shows in the heads of all attempts.
    if run.ended or any(map(_reports_artifact, events)):
        infos = await call.store.describe_artifacts(run.id)
        evaluations = await _read_evaluations(call, run, infos)
        shown = await _read_shown_artifacts(call, run, infos, events, Tab.TIMELINE, None, _view_allowance(Tab.TIMELINE))
    view = await in_worker(call, run_view, run, infos, evaluations, shown, None, None)
    timeline = _timeline(view, events, first, newest)
    return await page(call, "events.html", title="Events", part=True, facts=facts, run=run, timeline=timeline)


def _waits_for_runner(run: Run) -> bool:
    """Return whether the page shows which runners could take the run."""
    return run.stalled or run.status is RunStatus.QUEUED


async def _read_window(call: Call, run: Run, *, before: int | None = None, after: int = 0) -> Sequence[RunEvent]:
    return await call.store.list_events(run.id, after=after, before=before, limit=WINDOW, max_chars=_MAX_EVENT_CHARS)


async def _read_failure(call: Call, run: Run) -> StageFailure | None:
    """Return the failure of the stage that ended a run; None for every other run."""
    if run.status is not RunStatus.FAILED or not run.error_message:
        return None
    events = await call.store.list_events(
        run.id, before=MAX_EVENT_ID, limit=_CLOSING_EVENTS, max_chars=_MAX_EVENT_CHARS
    )
    return last_failure(events)


async def _read_best(
    call: Call, run: Run, infos: Sequence[ArtifactInfo], allowance: ViewAllowance
) -> ArtifactView | None:
    """Return the best output as the first screen of its run shows it; None while the run has not ended."""
    best = find_best_output(run, infos)
    if best is None:
        return None
    for artifact in await call.store.list_artifacts(run.id, only=[best.id], max_chars=MAX_CHARS):
        build = partial(artifact_view, artifact, max_lines=BEST_OUTPUT_LINES, allowance=allowance)
        return await in_worker(call, build)
    return None


async def _read_evaluations(call: Call, run: Run, infos: Sequence[ArtifactInfo]) -> Mapping[int, EvaluationView]:
    """Read the evaluations that the page shows: those of the newest attempts, of the best one and of the first."""
    ids = {info.attempt: info.id for info in infos if info.artifact_type is ArtifactType.EVALUATION}
    attempts = {*sorted(ids)[-_MAX_EVALUATIONS:], *({1, run.best_attempt} & set(ids))}
    only = [ids[attempt] for attempt in attempts if attempt is not None]
    texts = await call.store.list_artifacts(run.id, only=only, max_chars=MAX_EVALUATION_CHARS)
    views = await in_worker(call, evaluation_views, texts, run.pass_threshold)
    if call.scores is not None and any(view.is_cut and view.score is None for view in views.values()):
        # The score is behind the part that was read, but the store has it in a column of its own.
        trajectories = await call.scores.trajectories([run.id])
        scores = dict(trajectories[run.id].scores) if run.id in trajectories else {}
        return {n: view if view.score is not None else view.with_score(scores.get(n)) for n, view in views.items()}
    return views


async def _read_usage(call: Call, run: Run) -> UsageView:
    """Return the usage of a run; of a store without a ledger the sums alone."""
    calls = await call.store.list_calls(run.id) if isinstance(call.store, Ledger) else []
    return await in_worker(call, usage_view, run, calls)


def _view_allowance(tab: Tab) -> ViewAllowance:
    """Return what artifacts may take: nearly the whole page in their own tab, else beside the events."""
    return ViewAllowance() if tab is Tab.ARTIFACTS else ViewAllowance(max_bytes=_MAX_PREVIEWS_BYTES)


async def _read_shown_artifacts(
    call: Call,
    run: Run,
    infos: Sequence[ArtifactInfo],
    events: Sequence[RunEvent],
    tab: Tab,
    attempt: int | None,
    allowance: ViewAllowance,
) -> Mapping[int, ArtifactView]:
    """Return the artifacts that a tab shows, as far as one page can hold them.

    The tab of artifacts shows all of them, or those of one attempt; the timeline shows the first lines of those that
    its events report, beginning with the newest.
    """
    if tab is Tab.ARTIFACTS:
        wanted = [info for info in infos if attempt in (None, info.attempt)]
        max_lines, max_chars = None, MAX_CHARS
    else:
        reported = _reported_attempts(events)
        wanted = [info for info in reversed(infos) if info.attempt in reported]
        max_lines, max_chars = PREVIEW_LINES, PREVIEW_CHARS
    views: dict[int, ArtifactView] = {}
    for start in range(0, min(len(wanted), _MAX_SHOWN), _READ_AT_ONCE):
        if allowance.is_spent:
            break
        only = [info.id for info in wanted[start : start + _READ_AT_ONCE]]
        texts = await call.store.list_artifacts(run.id, only=only, max_chars=max_chars)
        in_order = sorted(texts, key=lambda artifact: only.index(artifact.id))
        build = partial(artifact_views, in_order, max_lines=max_lines, allowance=allowance)
        views |= await in_worker(call, build)
    return views


def _reported_attempts(events: Sequence[RunEvent]) -> set[int | None]:
    return {event.attempt for event in events if _reports_artifact(event)}


def _reports_artifact(event: RunEvent) -> bool:
    return event.event_type is EventType.SCORE_UPDATE or "filename" in (event.metadata or {})


def _timeline(
    view: RunView, events: Sequence[RunEvent], first: Sequence[RunEvent], newest: RunEvent | None
) -> Timeline:
    artifacts = {(info.attempt, info.artifact_type): info for info in view.artifacts}
    attempts = view.columns.attempts if view.artifacts or view.run.ended else ()
    return Timeline(
        groups=event_groups(view.run, events, artifacts, view.artifact_views, attempts),
        first=events[0].id if events else 0,
        last=events[-1].id if events else 0,
        has_earlier=bool(events and first and first[0].id < events[0].id),
        has_later=bool(events and newest is not None and events[-1].id < newest.id),
    )


def _actor(first: Sequence[RunEvent]) -> str | None:
    """Return who started a run, from the metadata of its first event."""
    actor = (first[0].metadata or {}).get("actor") if first else None
    return actor if isinstance(actor, str) else None


def _refresh_plan(call: Call, run: Run, tab: Tab, events: Sequence[RunEvent], attempt: int | None) -> RefreshPlan:
    path = f"/agents/{segment(run.id)}"
    after = events[-1].id if events else 0
    return RefreshPlan(
        kind=StreamKind.RUN,
        stream="" if run.ended else call.url(f"/api/workflow-events?runId={segment(run.id)}&after={after}"),
        refresh=call.url(f"{path}?tab={tab}{f'&attempt={attempt}' if attempt else ''}&part=live"),
        events=call.url(f"{path}/events") if tab is Tab.TIMELINE else "",
        active=not run.ended,
        seconds=_ACTIVE_SECONDS if not run.ended else _IDLE_SECONDS,
    )


async def send_artifact(call: Call) -> Response:
    """``GET /agents/{runId}/artifacts/{attempt}/{kind}``: an artifact as a download; a browser never displays it."""
    wanted = (call.path["attempt"], call.path["kind"])
    run_id = call.path["run_id"]
    infos = await call.store.describe_artifacts(run_id)
    ids = [info.id for info in infos if (str(info.attempt), info.artifact_type.value) == wanted]
    for artifact in await call.store.list_artifacts(run_id, only=ids, max_chars=PART_CHARS):
        return _download(call, artifact)
    raise Refused(ProblemCode.NOT_FOUND, "This run has no such artifact.")


def _download(call: Call, artifact: Artifact) -> Response:
    # other programs name artifacts too: only letters, digits and dots reach the header
    suffix = re.sub(r"[^A-Za-z0-9.]", "", artifact.filename.partition(".")[2])[:16] or "txt"
    kind = "" if artifact.artifact_type is ArtifactType.OUTPUT or suffix.startswith("eval") else ".eval"
    name = f"attempt-{artifact.attempt}{kind}.{suffix}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "private, no-store",
    }
    if artifact.length is None:
        return Response(artifact.content.encode(), media_type="application/octet-stream", headers=headers)

    async def parts() -> AsyncIterator[bytes]:
        async for part in content_parts(call.store, artifact):
            yield part.encode()

    return StreamingResponse(parts(), media_type="application/octet-stream", headers=headers)
