"""``/agents/{runId}/compare`` and ``/compare``: two attempts of a run, or the best attempts of two runs."""

from collections.abc import Sequence
from functools import partial
from typing import Final
from urllib.parse import urlencode

import attrs
from starlette.responses import Response

from loopkit.core.journal import Artifact, ArtifactInfo, ArtifactType
from loopkit.core.run import MAX_ATTEMPTS, Run
from loopkit_web.dashboard.markup.bidi_text import isolated
from loopkit_web.dashboard.pages.layout import page, segment
from loopkit_web.dashboard.pages.page_worker import in_worker
from loopkit_web.dashboard.views.comparison_view import Mode, Side, comparison_view, scale_fault
from loopkit_web.dashboard.views.evaluations import MAX_EVALUATION_CHARS, evaluation_views
from loopkit_web.http.call import Call
from loopkit_web.http.endpoint import Form
from loopkit_web.http.json_schema import documented
from loopkit_web.http.problems import ProblemCode, Refused

__all__ = ["AttemptsQuery", "RunsQuery", "compare_attempts", "compare_runs", "redirect_to_comparison"]

_MAX_RUN_CHARS: Final = 60_000
"""Characters of each text of a run that are read."""
_MAX_OUTPUT_CHARS: Final = 200_000
"""Characters of an output that are read; longer ones are not compared."""
_MAX_NUMBERS: Final = 100
"""Newest attempts to choose from."""


@attrs.frozen(kw_only=True)
class AttemptsQuery:
    """Query of the comparison of two attempts."""

    a: int | None = documented(None, minimum=1, maximum=MAX_ATTEMPTS)
    b: int | None = documented(None, minimum=1, maximum=MAX_ATTEMPTS)
    view: str = Mode.SPLIT.value
    """An unknown mode is ``split``."""


@attrs.frozen(kw_only=True)
class RunsQuery:
    """Query of the comparison of two runs."""

    runs: str = ""
    """Two ids, separated by a comma."""
    view: str = Mode.SPLIT.value
    """An unknown mode is ``split``."""


async def compare_attempts(call: Call) -> Response:
    """``GET /agents/{runId}/compare``: two attempts; without ``a`` and ``b`` the best and the one before it."""
    query: AttemptsQuery = call.query
    run = await call.store.get_run(call.path["run_id"], max_chars=_MAX_RUN_CHARS)
    infos = await call.store.describe_artifacts(run.id)
    numbers = sorted({info.attempt for info in infos if info.artifact_type is ArtifactType.OUTPUT})
    if not numbers:
        raise Refused(ProblemCode.NOT_FOUND, "This run has no output yet, so there is nothing to compare.")
    b = query.b or (run.best_attempt if (run.best_attempt or 0) > 1 and query.a is None else numbers[-1])
    a = query.a or max([number for number in numbers if number < (b or 1)], default=numbers[0])
    sides = [await _side(call, run, infos, number or 1, f"attempt {number}") for number in (a, b)]
    numbers = sorted({*numbers[-_MAX_NUMBERS:], *(number for number in numbers if number in (a, b))})
    path = f"/agents/{segment(run.id)}/compare?a={a}&b={b}"
    modes = [(mode, f"{path}&view={mode}") for mode in Mode]
    title = f"Did attempt {b} improve on attempt {a}?"
    return await _page(call, sides[0], sides[1], query.view, modes, title=title, same_run=True, numbers=numbers)


async def compare_runs(call: Call) -> Response:
    """``GET /compare?runs=A,B``: the best attempts of two runs."""
    query: RunsQuery = call.query
    ids = [part.strip() for part in query.runs.split(",") if part.strip()]
    if len(ids) != 2:
        raise Refused(ProblemCode.BAD_QUERY, "Choose two runs to compare: /compare?runs=A,B")
    sides = []
    for run_id, name in zip(ids, "AB", strict=True):
        run = await call.store.get_run(run_id, max_chars=_MAX_RUN_CHARS)
        attempt = run.best_attempt or run.current_attempt
        infos = await call.store.describe_artifacts(run.id)
        sides.append(await _side(call, run, infos, attempt, f"run {name}"))
    modes = [(mode, f"/compare?{urlencode({'runs': ','.join(ids), 'view': mode})}") for mode in Mode]
    fault = scale_fault(sides[0].run, sides[1].run)
    title = "Two runs side by side" if fault else f"Is the second {isolated(sides[1].run.agent_name)} better?"
    return await _page(
        call, sides[0], sides[1], query.view, modes, title=title, same_run=False, numbers=[], scale_fault=fault
    )


async def redirect_to_comparison(call: Call) -> Response:
    """``POST /compare``: leads to the comparison of the two runs that were selected in the list."""
    form: Form = call.body
    ids = list(dict.fromkeys(form.getlist("id")))
    if len(ids) != 2:
        selected = f"{len(ids)} {'is' if len(ids) == 1 else 'are'} selected"
        raise Refused(ProblemCode.BAD_QUERY, f"Choose two runs to compare; {selected}.")
    # Without scripts the order of choosing is not known: the list shows the newest first, the comparison the older one.
    return call.see_other(f"/compare?{urlencode({'runs': ','.join(reversed(ids))})}")


async def _side(call: Call, run: Run, infos: Sequence[ArtifactInfo], attempt: int, label: str) -> Side:
    ids = {info.artifact_type: info.id for info in infos if info.attempt == attempt}
    outputs = await _read(call, run, ids.get(ArtifactType.OUTPUT), _MAX_OUTPUT_CHARS)
    evaluations = await _read(call, run, ids.get(ArtifactType.EVALUATION), MAX_EVALUATION_CHARS)
    views = await in_worker(call, evaluation_views, evaluations, run.pass_threshold)
    ended_at = max((info.created_at for info in infos if info.attempt == attempt), default=None)
    earlier = [info.created_at for info in infos if info.attempt < attempt]
    started_at = max(earlier) if earlier else run.started_at
    return Side(
        label=label,
        run=run,
        attempt=attempt,
        output=outputs[0] if outputs else None,
        evaluation=views.get(attempt),
        path=f"/agents/{segment(run.id)}?tab=artifacts#attempt-{attempt}-output",
        duration=ended_at - started_at if ended_at and started_at else None,
    )


async def _read(call: Call, run: Run, artifact_id: int | None, max_chars: int) -> Sequence[Artifact]:
    """Read one artifact, or the beginning of it; none without an id."""
    if artifact_id is None:
        return ()
    return await call.store.list_artifacts(run.id, only=[artifact_id], max_chars=max_chars)


async def _page(
    call: Call,
    a: Side,
    b: Side,
    view: str,
    modes: Sequence[tuple[Mode, str]],
    *,
    title: str,
    same_run: bool,
    numbers: Sequence[int],
    scale_fault: str = "",
) -> Response:
    mode = Mode(view) if view in set(Mode) else Mode.SPLIT
    values = await in_worker(
        call, partial(comparison_view, a, b, mode, title=title, same_run=same_run, scale_fault=scale_fault)
    )
    return await page(
        call,
        "compare.html",
        title=title,
        nav="/agents",
        run=a.run,
        same_run=same_run,
        swapped=f"/compare?{urlencode({'runs': f'{b.run.id},{a.run.id}', 'view': mode})}",
        numbers=numbers,
        mode=mode,
        modes=modes,
        durations=(a.duration, b.duration) if a.duration is not None and b.duration is not None else None,
        **values,
    )
