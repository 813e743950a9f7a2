"""Summary at the top of a run's page: its state in one sentence, and what happens next."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import attrs

from loopkit.core.run import EndReason, Run, RunStatus, Stage
from loopkit_web.dashboard.markup import display_text
from loopkit_web.dashboard.markup.bidi_text import isolated
from loopkit_web.dashboard.markup.text_allowance import cut
from loopkit_web.dashboard.views.evaluations import REGRESSED, EvaluationView
from loopkit_web.dashboard.views.runners_view import FleetView, host_and_pid, host_names
from loopkit_web.dashboard.views.stage_failure import StageFailure
from loopkit_web.dashboard.views.status import Tone

__all__ = ["RunSummary", "run_summary"]

_STAGE_TEXTS: Final[Mapping[Stage, str]] = {
    Stage.PRODUCING: "is being produced",
    Stage.EVALUATING: "is being evaluated",
    Stage.REVISING: "is being revised",
}

_POLICY_ENDS: Final[Mapping[str | None, str]] = {
    EndReason.PLATEAU.value: "revisions brought no better score (stop.patience)",
    EndReason.REPEATED_OUTPUT.value: "a revision repeated an earlier output (stop.repeat)",
    EndReason.BUDGET_EXHAUSTED.value: "its budget is spent (budget)",
    EndReason.RUNNER_LOST.value: "too many runners in a row were lost (max_losses)",
}
_MAX_REASON: Final = 8_000
_STAGE_KEYS: Final = {stage.key: stage for stage in Stage}

_Evaluations = Mapping[int, EvaluationView]


@attrs.frozen(kw_only=True)
class RunSummary:
    """One statement, a line about what follows, and at most one command and one link."""

    tone: Tone
    fact: str
    details: str = ""
    next: str = ""
    """Sentence on what happens next."""
    reason_label: str = ""
    """Heading of the reason; "" for an error."""
    reason: str = ""
    """Why the run failed, in full: the error, or the feedback on the best attempt."""
    failure: StageFailure | None = None
    """Place in the code of the stage that ended the run."""
    remedy: str = ""
    """Sentence on what a reader who may start runs can do."""
    since: datetime | None = None
    """Start of the state, shown as a duration after the statement."""
    command: str | None = None
    link: tuple[str, str] | None = None
    """Label and path."""


def run_summary(
    run: Run, evaluations: _Evaluations, fleet: FleetView | None, failure: StageFailure | None = None
) -> RunSummary:
    """Return the summary of a run.

    Args:
        fleet: the runners, to name those that could take the run. None: they are not known.
        failure: the newest failure in the journal of a failed run.
    """
    if run.stalled:
        return _stalled(run, fleet)
    match run.status:
        case RunStatus.QUEUED:
            return _queued(run, fleet)
        case RunStatus.RUNNING:
            return _cancelling(run) if run.cancel_requested_at else _running(run, evaluations)
        case RunStatus.PASSED:
            return _passed(run, evaluations)
        case RunStatus.FAILED:
            return _failed(run, evaluations, failure)
        case RunStatus.CANCELLED:
            return _cancelled(run, evaluations)


def _queued(run: Run, fleet: FleetView | None) -> RunSummary:
    if fleet is not None and not fleet.serving(run.agent_name):
        return RunSummary(
            tone=Tone.WARN,
            fact="Queued: no live runner serves this agent.",
            next="The run starts as soon as a runner serves it. To start one:",
            command=display_text.worker_command(run.agent_name),
            link=("Show runners", "/runners"),
        )
    return RunSummary(
        tone=Tone.NEUTRAL,
        fact="Queued.",
        next="The run starts when a runner has a free slot; the oldest queued run starts first.",
    )


def _running(run: Run, evaluations: _Evaluations) -> RunSummary:
    stage = run.current_stage or Stage.PRODUCING
    is_last = run.current_attempt >= run.max_attempts
    threshold = display_text.mark(run.pass_threshold)
    previous = evaluations.get(run.current_attempt - 1)
    details = ""
    if previous is not None and previous.score is not None:
        score = display_text.score(previous.score, run.pass_threshold)
        details = f"Attempt {previous.attempt} scored {score}, {_shortfall(run, previous.score)}"
        details += ", so its output is being revised." if stage is Stage.REVISING else ", so its output was revised."
    otherwise = "the run fails" if is_last else f"attempt {run.current_attempt + 1}{_is_last(run)} follows"
    return RunSummary(
        tone=Tone.LIVE,
        fact=f"Attempt {run.current_attempt} {_STAGE_TEXTS[stage]}.",
        details=details,
        next=f"The run passes with a score of {threshold} or more; otherwise {otherwise}.",
    )


def _is_last(run: Run) -> str:
    return ", the last one," if run.current_attempt + 1 >= run.max_attempts else ""


def _shortfall(run: Run, score: float) -> str:
    return f"{display_text.distance(run.pass_threshold - score)} below the pass mark"


def _stalled(run: Run, fleet: FleetView | None) -> RunSummary:
    host, _ = host_and_pid(run)
    stage = run.current_stage or Stage.PRODUCING
    activity = f"{stage.value} attempt {run.current_attempt}"
    kept = "Its output is kept" if stage is Stage.EVALUATING else "Finished attempts are kept"
    serving = fleet.serving(run.agent_name) if fleet is not None else ()
    command = None
    if run.cancel_requested_at:
        following = "The next runner that claims runs cancels it. To cancel it now, choose Cancel again."
    elif serving or fleet is None:
        names = host_names(serving[:2]) or "Any live runner"
        following = f"{names} takes it over and continues. {kept}; no finished stage is repeated."
    else:
        following = (
            f"A live runner takes it over and continues. {kept}. No live runner serves this agent. To start one:"
        )
        command = display_text.worker_command(run.agent_name)
    return RunSummary(
        tone=Tone.WARN,
        fact="Stalled: no heartbeat",
        since=run.last_seen_at,
        details=f"Runner {isolated(host) or 'unknown'} was {activity} when its heartbeat stopped.",
        next=following,
        command=command,
        link=("Show runners", "/runners"),
    )


def _cancelling(run: Run) -> RunSummary:
    stage = {Stage.EVALUATING: "evaluation", Stage.REVISING: "revision"}.get(run.current_stage or Stage.PRODUCING)
    return RunSummary(
        tone=Tone.NEUTRAL,
        fact="Cancelling.",
        details=f"The runner stops at the end of this {stage or 'output'} at the latest.",
        next="Finished outputs and evaluations are kept.",
        since=run.cancel_requested_at,
    )


def _passed(run: Run, evaluations: _Evaluations) -> RunSummary:
    attempt = run.best_attempt or run.current_attempt
    details = f"The pass mark is {display_text.mark(run.pass_threshold)}."
    first = evaluations.get(1)
    if attempt > 1 and first is not None and first.score is not None:
        details = f"The first attempt scored {display_text.score(first.score, run.pass_threshold)}. {details}"
    fact = f"Passed on attempt {attempt} with {display_text.score(run.final_score, run.pass_threshold)}."
    return RunSummary(tone=Tone.GOOD, fact=fact, details=details)


def _failed(run: Run, evaluations: _Evaluations, failure: StageFailure | None) -> RunSummary:
    if run.error_message:
        return _failed_by_error(run, evaluations, failure, run.error_message)
    used = "the only attempt is used" if run.max_attempts == 1 else f"all {run.max_attempts} attempts are used"
    best = evaluations.get(run.best_attempt or run.current_attempt)
    has_feedback = best is not None and bool(best.feedback)
    link = None
    if run.current_attempt > 1:
        path = f"/agents/{run.id}/compare?a={run.current_attempt - 1}&b={run.current_attempt}"
        link = (f"What changed in attempt {run.current_attempt}", path)
    return RunSummary(
        tone=Tone.BAD,
        fact=f"Failed: {used}.",
        details=_best_score(run),
        next=_largest_fall(run, evaluations),
        reason_label=f"Feedback on attempt {best.attempt}" if best is not None and has_feedback else "",
        reason=cut(best.feedback, _MAX_REASON) if best is not None else "",
        remedy="To go on, choose Edit and rerun with other inputs, more attempts or a lower pass mark; "
        "Retry repeats the run as it was.",
        link=link,
    )


def _failed_by_error(run: Run, evaluations: _Evaluations, failure: StageFailure | None, message: str) -> RunSummary:
    stage = failure.stage if failure is not None and failure.stage is not None else _named_stage(message)
    kept = "Finished outputs and evaluations are kept." if evaluations else ""
    where = f"Failed in attempt {run.current_attempt}"
    cause = f"the code at {isolated(failure.at)}" if failure is not None and failure.at else "the cause"
    return RunSummary(
        tone=Tone.BAD,
        fact=_end_fact(run, where, stage),
        next=f"{_best_score(run)} {kept}".strip(),
        reason=cut(message, _MAX_REASON),
        failure=failure if failure is not None and failure.has_place else None,
        remedy="To go on, choose Edit and rerun; Retry repeats the run as it was."
        if run.end_reason in _POLICY_ENDS
        else f"When {cause} is corrected, choose Retry: it starts a new run with the same inputs.",
    )


def _end_fact(run: Run, where: str, stage: Stage | None) -> str:
    """Return why a run ended, in words; for an end by the run's policy, which part of it ended the run."""
    if run.end_reason in _POLICY_ENDS:
        return f"Ended in attempt {run.current_attempt} by its policy: {_POLICY_ENDS[run.end_reason]}."
    return f"{where}: {stage.key} ended with an error." if stage is not None else f"{where}."


def _named_stage(message: str) -> Stage | None:
    """Return the stage that an error message begins with: ``evaluate: ...``, ``evaluate (facts): ...``."""
    return _STAGE_KEYS.get(message.partition(":")[0].partition(" (")[0])


def _best_score(run: Run) -> str:
    if run.final_score is None:
        return ""
    score = display_text.score(run.final_score, run.pass_threshold)
    attempt = "The best attempt" if run.best_attempt is None else f"The best attempt, {run.best_attempt},"
    return f"{attempt} scored {score}, {_shortfall(run, run.final_score)}."


def _largest_fall(run: Run, evaluations: _Evaluations) -> str:
    """Return a sentence about the criterion that fell most in the last attempt; "" if none regressed."""
    last, previous = evaluations.get(run.current_attempt), evaluations.get(run.current_attempt - 1)
    if last is None or previous is None:
        return ""
    falls = []
    for criterion in last.criteria:
        before = previous.criterion(criterion.name)
        if before is not None and criterion.score - before.score <= REGRESSED:
            falls.append((criterion.score - before.score, criterion.name, before.score, criterion.score))
    if not falls:
        return ""
    _, name, old, new = min(falls)
    return f"Attempt {last.attempt} regressed: {isolated(name)} fell from {old:.2f} to {new:.2f}. All outputs are kept."


def _cancelled(run: Run, evaluations: _Evaluations) -> RunSummary:
    where = f"in attempt {run.current_attempt}" if run.started_at else "before it started"
    kept = "Finished outputs and evaluations are kept." if evaluations or run.started_at else ""
    return RunSummary(tone=Tone.NEUTRAL, fact=f"Cancelled {where}.", details=kept)
