"""``/agents/{runId}``: one run, further events of it, and its artifacts as files."""

import re
from collections.abc import Mapping, Sequence

import attrs
from anyio import to_thread
from starlette.responses import Response

from loopkit import wire
from loopkit.core.journal import Artifact, ArtifactInfo, ArtifactType, EventType, RunEvent
from loopkit.core.run import Run, RunStatus
from loopkit_web.context import Call
from loopkit_web.pages.layout import Live, new_key, page, segment, state_of, unchanged
from loopkit_web.problems import Refused
from loopkit_web.rendering import json_tree
from loopkit_web.schema import documented
from loopkit_web.views.artifacts import PREVIEW_LINES, Shown, show_all
from loopkit_web.views.fleet import fleet_of
from loopkit_web.views.run import TABS, RunView, run_view
from loopkit_web.views.timeline import WINDOW, Timeline, groups_of

__all__ = ["Shows", "Window", "send_artifact", "show_events", "show_run"]

_LAST_ID = 2**63 - 1
_BUSY_SECONDS = 2
_QUIET_SECONDS = 30


@attrs.frozen(kw_only=True)
class Shows:
    """What of a run is shown."""

    tab: str = "timeline"
    before: int = documented(_LAST_ID, minimum=1, maximum=_LAST_ID)
    part: str | None = None


@attrs.frozen(kw_only=True)
class Window:
    """Which events: those after one, or those before one."""

    after: int = documented(0, minimum=0, maximum=_LAST_ID)
    before: int | None = documented(None, minimum=1, maximum=_LAST_ID)


async def show_run(call: Call) -> Response:
    """``GET /agents/{runId}``: the run in one of its tabs; with ``part`` all that changes but the timeline."""
    query: Shows = call.query
    tab = query.tab if query.tab in TABS else "timeline"
    is_part = query.part is not None
    run = await call.store.get_run(call.path["run_id"])
    infos = await call.store.describe_artifacts(run.id)
    fleet = await fleet_of(call) if _waits(run) else None
    serving = [one.name for one in fleet.serving(run.agent_name)] if fleet is not None else None
    facts = (state_of(run), [one.id for one in infos], serving, tab)
    if is_part and (same := unchanged(call, "run.html", facts)):
        return same
    first = await call.store.list_events(run.id, limit=1)
    events = await _window(call, run, before=query.before) if tab == "timeline" and not is_part else []
    newest = await call.store.list_events(run.id, before=_LAST_ID, limit=1) if query.before != _LAST_ID else events
    texts = await call.store.list_artifacts(run.id, only=_wanted(infos, events, tab))
    shown = await to_thread.run_sync(_shown, texts, events, tab)
    view = run_view(run, infos, texts, shown, fleet, _actor(first))
    return page(
        call,
        "run.html",
        title=f"{view.status.words} · {run.agent_name}",
        part=is_part,
        facts=facts,
        nav="/agents",
        live=_live(call, run, tab, events),
        view=view,
        tab=tab,
        key=new_key(),
        can_rerun=run.agent_name in call.agents,
        timeline=_timeline(view, events, first, newest),
        raw=json_tree.tree(wire.run(run)) if tab == "raw" else None,
    )


async def show_events(call: Call) -> Response:
    """``GET /agents/{runId}/events``: a window of the timeline, to be added to the one that is open."""
    query: Window = call.query
    run = await call.store.get_run(call.path["run_id"])
    events = await _window(call, run, before=query.before, after=query.after)
    newest = await call.store.list_events(run.id, before=_LAST_ID, limit=1)
    facts = (state_of(run), [event.id for event in events], newest)
    if same := unchanged(call, "events.html", facts):
        return same
    first = await call.store.list_events(run.id, limit=1)
    infos: Sequence[ArtifactInfo] = ()
    texts: Sequence[Artifact] = ()
    if any(map(_tells_of_artifact, events)):  # a talkative stage asks often
        infos = await call.store.describe_artifacts(run.id)
        texts = await call.store.list_artifacts(run.id, only=_wanted(infos, events, "timeline"))
    shown = await to_thread.run_sync(_shown, texts, events, "timeline")
    view = run_view(run, infos, texts, shown, None, None)
    timeline = _timeline(view, events, first, newest)
    return page(call, "events.html", title="Events", part=True, facts=facts, run=run, timeline=timeline)


def _waits(run: Run) -> bool:
    """True when it is told who could work the run."""
    return run.stalled or run.status is RunStatus.QUEUED


async def _window(call: Call, run: Run, *, before: int | None = None, after: int = 0) -> Sequence[RunEvent]:
    return await call.store.list_events(run.id, after=after, before=before, limit=WINDOW)


def _wanted(infos: Sequence[ArtifactInfo], events: Sequence[RunEvent], tab: str) -> list[int]:
    """Give the ids of the artifacts whose texts a tab needs: every evaluation, and the outputs that it shows."""
    told = _attempts_told(events)
    return [
        one.id
        for one in infos
        if tab == "artifacts" or one.artifact_type is ArtifactType.EVALUATION or one.attempt in told
    ]


def _shown(artifacts: Sequence[Artifact], events: Sequence[RunEvent], tab: str) -> Mapping[int, Shown]:
    """Give the artifacts that a tab shows: all of them, or the beginnings of those that its events tell of."""
    if tab == "artifacts":
        return show_all(artifacts)
    told = _attempts_told(events)
    return show_all([one for one in artifacts if one.attempt in told], lines=PREVIEW_LINES)


def _attempts_told(events: Sequence[RunEvent]) -> set[int | None]:
    return {event.attempt for event in events if _tells_of_artifact(event)}


def _tells_of_artifact(event: RunEvent) -> bool:
    return event.event_type is EventType.SCORE_UPDATE or "filename" in (event.metadata or {})


def _timeline(
    view: RunView, events: Sequence[RunEvent], first: Sequence[RunEvent], newest: Sequence[RunEvent]
) -> Timeline:
    by_place = {(one.attempt, one.artifact_type): one for one in view.artifacts}
    return Timeline(
        groups=groups_of(view.run, events, by_place, view.shown, view.rail.attempts if view.artifacts else ()),
        first=events[0].id if events else 0,
        last=events[-1].id if events else 0,
        has_earlier=bool(events and first and first[0].id < events[0].id),
        has_later=bool(events and newest and events[-1].id < newest[-1].id),
    )


def _actor(first: Sequence[RunEvent]) -> str | None:
    """Give who started a run, as its first event has it."""
    actor = (first[0].metadata or {}).get("actor") if first else None
    return actor if isinstance(actor, str) else None


def _live(call: Call, run: Run, tab: str, events: Sequence[RunEvent]) -> Live:
    here = f"/agents/{segment(run.id)}"
    after = events[-1].id if events else 0
    return Live(
        kind="run",
        stream="" if run.ended else call.url(f"/api/workflow-events?runId={segment(run.id)}&after={after}"),
        refresh=call.url(f"{here}?tab={tab}&part=live"),
        events=call.url(f"{here}/events") if tab == "timeline" else "",
        active=not run.ended,
        seconds=_BUSY_SECONDS if not run.ended else _QUIET_SECONDS,
    )


# --- Files -----------------------------------------------------------------------------------------------------------


async def send_artifact(call: Call) -> Response:
    """``GET /agents/{runId}/artifacts/{attempt}/{kind}``: an artifact as a file to keep; no browser opens it here."""
    wanted = (call.path["attempt"], call.path["kind"])
    run_id = call.path["run_id"]
    infos = await call.store.describe_artifacts(run_id)
    ids = [one.id for one in infos if (str(one.attempt), one.artifact_type.value) == wanted]
    for artifact in await call.store.list_artifacts(run_id, only=ids):
        return _file(artifact)
    raise Refused("not-found", "This run has no such artifact.")


def _file(artifact: Artifact) -> Response:
    suffix = re.sub(r"[^A-Za-z0-9.]", "", artifact.filename.partition(".")[2])[:16] or "txt"
    kind = "" if artifact.artifact_type is ArtifactType.OUTPUT or suffix.startswith("eval") else ".eval"
    name = f"attempt-{artifact.attempt}{kind}.{suffix}"
    return Response(
        artifact.content.encode(),
        media_type="application/octet-stream",
        headers={
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "Cache-Control": "private, no-store",
        },
    )
