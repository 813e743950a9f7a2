"""``/agents/{runId}/compare`` and ``/compare``: two attempts of a run, or the best attempts of two runs."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import attrs
from anyio import to_thread
from starlette.responses import Response

from loopkit.core import plain
from loopkit.core.journal import Artifact, ArtifactType
from loopkit.core.run import MAX_ATTEMPTS, Run
from loopkit_web import compare
from loopkit_web.compare import Answer
from loopkit_web.context import Call
from loopkit_web.pages.layout import page, segment
from loopkit_web.problems import Refused
from loopkit_web.rendering import diff, words
from loopkit_web.routing import Form
from loopkit_web.schema import documented
from loopkit_web.views.artifacts import Shown, show
from loopkit_web.views.judging import Judgement, judgements

__all__ = ["Attempts", "RunsToCompare", "compare_attempts", "compare_runs", "take_choice"]

_MODES = ("split", "inline", "rendered")


@attrs.frozen(kw_only=True)
class Attempts:
    """Which attempts, and how."""

    a: int | None = documented(None, minimum=1, maximum=MAX_ATTEMPTS)
    b: int | None = documented(None, minimum=1, maximum=MAX_ATTEMPTS)
    view: str = "split"


@attrs.frozen(kw_only=True)
class RunsToCompare:
    """Which runs, and how."""

    runs: str = ""
    """Two ids with a comma between them."""
    view: str = "split"


@attrs.frozen(kw_only=True)
class Side:
    """One side of a comparison."""

    words: str
    run: Run
    attempt: int
    output: Artifact | None
    judgement: Judgement | None
    path: str
    shown: Shown | None = None
    span: timedelta | None = None

    @property
    def filename(self) -> str:
        return self.output.filename if self.output else f"attempt {self.attempt}"

    @property
    def text(self) -> str:
        return self.output.content if self.output else ""


async def compare_attempts(call: Call) -> Response:
    """``GET /agents/{runId}/compare``: two attempts; without ``a`` and ``b`` the best and the one before it."""
    query: Attempts = call.query
    run = await call.store.get_run(call.path["run_id"])
    artifacts = await call.store.list_artifacts(run.id)
    numbers = sorted({one.attempt for one in artifacts if one.artifact_type is ArtifactType.OUTPUT})
    if not numbers:
        raise Refused("not-found", "This run has no output yet, so there is nothing to compare.")
    b = query.b or (run.best_attempt if (run.best_attempt or 0) > 1 and query.a is None else numbers[-1])
    a = query.a or max([number for number in numbers if number < (b or 1)], default=numbers[0])
    sides = [_side(run, artifacts, number or 1, f"attempt {number}") for number in (a, b)]
    here = f"/agents/{segment(run.id)}/compare?a={a}&b={b}"
    modes = [(name, f"{here}&view={name}") for name in _MODES]
    title = f"Did attempt {b} improve on attempt {a}?"
    return await _page(call, sides[0], sides[1], query.view, modes, title=title, same_run=True, numbers=numbers)


async def compare_runs(call: Call) -> Response:
    """``GET /compare?runs=A,B``: the best attempts of two runs."""
    query: RunsToCompare = call.query
    ids = [part.strip() for part in query.runs.split(",") if part.strip()]
    if len(ids) != 2:
        raise Refused("bad-query", "Choose two runs to compare: /compare?runs=A,B")
    sides = []
    for run_id, name in zip(ids, "AB", strict=True):
        run = await call.store.get_run(run_id)
        attempt = run.best_attempt or run.current_attempt
        sides.append(_side(run, await call.store.list_artifacts(run.id), attempt, f"run {name}"))
    modes = [(name, f"/compare?{urlencode({'runs': ','.join(ids), 'view': name})}") for name in _MODES]
    title = f"Is the second {sides[1].run.agent_name} better?"
    return await _page(call, sides[0], sides[1], query.view, modes, title=title, same_run=False, numbers=[])


async def take_choice(call: Call) -> Response:
    """``POST /compare``: on to the comparison of the two runs that were ticked."""
    form: Form = call.body
    ids = list(dict.fromkeys(form.getlist("id")))
    if len(ids) != 2:
        raise Refused("bad-query", f"Choose two runs to compare; {len(ids)} {'is' if len(ids) == 1 else 'are'} chosen.")
    return call.see_other(f"/compare?{urlencode({'runs': ','.join(reversed(ids))})}")


def _side(run: Run, artifacts: Sequence[Artifact], attempt: int, words: str) -> Side:
    found = {one.artifact_type: one for one in artifacts if one.attempt == attempt}
    output = found.get(ArtifactType.OUTPUT)
    ended = max((one.created_at for one in found.values()), default=None)
    before = [one.created_at for one in artifacts if one.attempt < attempt]
    started = max(before) if before else run.started_at
    return Side(
        words=words,
        run=run,
        attempt=attempt,
        output=output,
        judgement=judgements(artifacts, run.pass_threshold).get(attempt),
        path=f"/agents/{segment(run.id)}?tab=artifacts#attempt-{attempt}-output",
        span=ended - started if ended and started else None,
    )


# --- The page --------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Difference:
    """What the outputs' comparison came to."""

    state: str
    """``changed``, ``identical``, ``missing``, ``too-large`` or ``rendered``."""
    is_json: bool = False
    parts: Sequence[Any] = ()


async def _page(
    call: Call,
    a: Side,
    b: Side,
    mode: str,
    modes: Sequence[tuple[str, str]],
    *,
    title: str,
    same_run: bool,
    numbers: Sequence[int],
) -> Response:
    mode = mode if mode in _MODES else "split"
    nothing = Judgement(attempt=0, score=None, feedback="")
    changes = compare.deltas(a.judgement or nothing, b.judgement or nothing, b.run.pass_threshold)
    said = compare.points(a.judgement) if a.judgement else []
    found = await to_thread.run_sync(_difference, a.text, b.text, a.output is not None and b.output is not None)
    parts = compare.answers(found.parts, said, changes)
    answers = [part for part in parts if isinstance(part, Answer)]
    open_points = compare.left_open(said, answers, changes) if found.state == "changed" else said
    sentence = compare.sentence(changes, open_points, said)
    if mode == "rendered":
        a, b = [attrs.evolve(side, shown=await _shown(side)) for side in (a, b)]
        found = attrs.evolve(found, state="rendered")
    return page(
        call,
        "compare.html",
        title=title,
        nav="/agents",
        run=a.run,
        same_run=same_run,
        numbers=numbers,
        a=a,
        b=b,
        mode=mode,
        modes=modes,
        sentence=sentence,
        changes=changes if a.judgement or b.judgement else [],
        spans=(a.span, b.span) if a.span is not None and b.span is not None else None,
        state=found.state,
        is_json=found.is_json,
        parts=parts,
        hunks=len(answers),
        words_added=sum(len(answer.hunk.added.split()) for answer in answers),
        words_removed=sum(len(answer.hunk.removed.split()) for answer in answers),
        open_points=open_points,
        markdown=_markdown(title, sentence, changes, answers, open_points),
    )


async def _shown(side: Side) -> Shown | None:
    return None if side.output is None else await to_thread.run_sync(show, side.output)


def _difference(before: str, after: str, are_there: bool) -> Difference:
    if not are_there:
        return Difference(state="missing")
    if before == after:
        return Difference(state="identical")
    if diff.is_too_large(before, after):
        return Difference(state="too-large")
    documents = [_document(text) for text in (before, after)]
    if all(document is not None for document in documents):
        return Difference(state="changed", is_json=True, parts=diff.json_diff(*documents))
    return Difference(state="changed", parts=diff.line_diff(before, after))


def _document(text: str) -> Mapping[str, Any] | list[Any] | None:
    found = plain.loads(text)
    return found if isinstance(found, dict | list) else None


def _markdown(
    title: str,
    sentence: str,
    changes: Sequence[compare.Delta],
    answers: Sequence[Answer],
    left: Sequence[compare.Point],
) -> str:
    """Give the comparison as text to paste elsewhere."""
    lines = [f"# {title}", "", sentence, "", "| criterion | before | after | change |", "|---|---|---|---|"]
    for one in changes:
        change = "" if one.change is None else f"{words.signed(one.change)} {one.words}"
        lines.append(f"| {one.name} | {words.score(one.before)} | {words.score(one.after)} | {change} |")
    for answer in answers:
        lines += ["", f"## Change {answer.number}: {answer.words}", ""]
        lines += [f"> {point.text}" for point in answer.points]
        lines += ["```diff", *(f"- {line.text}" for line in answer.hunk.before if line.kind == "removed")]
        lines += [*(f"+ {line.text}" for line in answer.hunk.after if line.kind == "added"), "```"]
    if left:
        lines += ["", "## Left open", "", *(f"- {point.text}" for point in left)]
    return "\n".join(lines)
