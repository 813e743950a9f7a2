"""The sentence that a run's page opens with: what an operator would be told by a colleague, and what happens next."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import attrs

from loopkit.core.run import Run, RunStatus, Stage
from loopkit_web.rendering import words
from loopkit_web.views.fleet import FleetView, holder
from loopkit_web.views.judging import REGRESSED, Judgement

__all__ = ["Strip", "strip_of"]

_DOING: Final[Mapping[Stage, str]] = {
    Stage.PRODUCING: "is being produced",
    Stage.EVALUATING: "is being evaluated",
    Stage.REVISING: "is being revised",
}


@attrs.frozen(kw_only=True)
class Strip:
    """One statement, one line of what follows, and at most one command and one link."""

    tone: str
    """``live``, ``good``, ``bad``, ``warn`` or ``""``."""
    fact: str
    rest: str = ""
    next: str = ""
    since: datetime | None = None
    """What the statement's time counts from."""
    command: str | None = None
    link: tuple[str, str] | None = None
    """Words and path."""


def strip_of(run: Run, judged: Mapping[int, Judgement], fleet: FleetView | None) -> Strip:
    """Say how a run is."""
    if run.stalled:
        return _stalled(run, judged, fleet)
    match run.status:
        case RunStatus.QUEUED:
            return _queued(run, fleet)
        case RunStatus.RUNNING:
            return _cancelling(run) if run.cancel_requested_at else _running(run, judged)
        case RunStatus.PASSED:
            return _passed(run, judged)
        case RunStatus.FAILED:
            return _failed(run, judged)
        case RunStatus.CANCELLED:
            return _cancelled(run, judged)


def _command(run: Run) -> str:
    return f"loopkit-cli worker --agent {run.agent_name}"


def _queued(run: Run, fleet: FleetView | None) -> Strip:
    if fleet is not None and not fleet.serving(run.agent_name):
        return Strip(
            tone="warn",
            fact="Waiting: no live runner serves this agent.",
            next="The run is safe and starts as soon as one is there. Start one:",
            command=_command(run),
            link=("See runners", "/runners"),
        )
    return Strip(
        tone="", fact="Waiting for a free slot.", next="It starts when a runner takes it; oldest runs go first."
    )


def _running(run: Run, judged: Mapping[int, Judgement]) -> Strip:
    stage = run.current_stage or Stage.PRODUCING
    last = run.current_attempt >= run.max_attempts
    mark = words.score(run.pass_threshold)
    before = judged.get(run.current_attempt - 1)
    rest = ""
    if before is not None and before.score is not None:
        rest = f"Attempt {before.attempt} reached {words.score(before.score)}, {_distance(run, before.score)}"
        rest += ", so it is revised." if stage is Stage.REVISING else ", so it was revised."
    after = "ends the run as failed." if last else f"starts attempt {run.current_attempt + 1}{_is_last(run)}."
    return Strip(
        tone="live",
        fact=f"Attempt {run.current_attempt} {_DOING[stage]}.",
        rest=rest,
        next=f"{mark} or more ends the run as passed. Anything less {after}",
    )


def _is_last(run: Run) -> str:
    return ", the last one" if run.current_attempt + 1 >= run.max_attempts else ""


def _distance(run: Run, score: float) -> str:
    return f"which is {run.pass_threshold - score:.2f} short of the pass mark"


def _stalled(run: Run, judged: Mapping[int, Judgement], fleet: FleetView | None) -> Strip:
    host, _ = holder(run)
    stage = run.current_stage or Stage.PRODUCING
    kept = "Its output is kept" if stage is Stage.EVALUATING else "Every finished attempt is kept"
    serving = fleet.serving(run.agent_name) if fleet is not None else ()
    command = None
    if run.cancel_requested_at:
        following = "It is cancelled by the next runner that looks, or by pressing Cancel once more."
    elif serving or fleet is None:
        names = words.joined([runner.name.split(":")[0] for runner in serving[:2]], "or") or "Any live runner"
        following = f"{names} takes it over and goes on. {kept}; nothing is done twice."
    else:
        following = f"Any live runner takes it over and goes on. {kept}. No live runner serves this agent; start one:"
        command = _command(run)
    return Strip(
        tone="warn",
        fact="Stalled: no heartbeat",
        since=run.last_seen_at,
        rest=f"Runner {host or 'unknown'} was {stage.value} attempt {run.current_attempt} when it went silent.",
        next=following,
        command=command,
        link=("See runners", "/runners"),
    )


def _cancelling(run: Run) -> Strip:
    stage = {Stage.EVALUATING: "evaluation", Stage.REVISING: "revision"}.get(run.current_stage or Stage.PRODUCING)
    return Strip(
        tone="",
        fact="Cancelling.",
        rest=f"The runner stops at the end of this {stage or 'output'} at the latest.",
        next="What was finished is kept.",
        since=run.cancel_requested_at,
    )


def _passed(run: Run, judged: Mapping[int, Judgement]) -> Strip:
    attempt = run.best_attempt or run.current_attempt
    score = words.score(run.final_score)
    fact = f"Passed on attempt {attempt} with {score}."
    first = judged.get(1)
    if attempt > 1 and first is not None and first.score is not None:
        rest = (
            f"The first attempt had reached {words.score(first.score)}; the mark is {words.score(run.pass_threshold)}."
        )
        return Strip(tone="good", fact=fact, rest=rest)
    return Strip(tone="good", fact=fact, rest=f"The mark is {words.score(run.pass_threshold)}.")


def _failed(run: Run, judged: Mapping[int, Judgement]) -> Strip:
    best = ""
    if run.final_score is not None:
        short = f", {run.pass_threshold - run.final_score:.2f} short of the pass mark"
        best = f"The best, attempt {run.best_attempt}, reached {words.score(run.final_score)}{short}."
    if run.error_message:
        stage = f"Failed in attempt {run.current_attempt}: a stage gave an error."
        kept = " What was finished before is kept." if judged else ""
        return Strip(tone="bad", fact=stage, rest=words.shorten(run.error_message, 300), next=(best + kept).strip())
    used = "the only attempt is used" if run.max_attempts == 1 else f"all {run.max_attempts} attempts are used"
    link = None
    if run.current_attempt > 1:
        path = f"/agents/{run.id}/compare?a={run.current_attempt - 1}&b={run.current_attempt}"
        link = (f"What changed in attempt {run.current_attempt}", path)
    return Strip(tone="bad", fact=f"Failed: {used}.", rest=best, next=_what_got_worse(run, judged), link=link)


def _what_got_worse(run: Run, judged: Mapping[int, Judgement]) -> str:
    """Say which criterion fell most in the last attempt."""
    last, before = judged.get(run.current_attempt), judged.get(run.current_attempt - 1)
    if last is None or before is None:
        return ""
    fallen = []
    for criterion in last.criteria:
        old = before.criterion(criterion.name)
        if old is not None and criterion.score - old.score <= REGRESSED:
            fallen.append((criterion.score - old.score, criterion.name, old.score, criterion.score))
    if not fallen:
        return ""
    _, name, was, now = min(fallen)
    return (
        f"Attempt {last.attempt} got worse: {name} fell from {was:.2f} to {now:.2f}. Its output and the best are kept."
    )


def _cancelled(run: Run, judged: Mapping[int, Judgement]) -> Strip:
    where = f"in attempt {run.current_attempt}" if run.started_at else "before it began"
    kept = "What was finished is kept." if judged or run.started_at else ""
    return Strip(tone="", fact=f"Cancelled {where}.", rest=kept)
