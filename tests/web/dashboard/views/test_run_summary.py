"""Tests of the summary at the top of a run's page."""

import attrs

from loopkit.core.run import RunStatus, Stage
from loopkit.fleet import RunnerState
from loopkit_web.dashboard.views.evaluations import Criterion, EvaluationView
from loopkit_web.dashboard.views.run_summary import run_summary
from loopkit_web.dashboard.views.stage_failure import StageFailure
from loopkit_web.dashboard.views.status import Tone
from tests.web.dashboard.value_helpers import START, make_fleet, make_run, make_runner


def test_queued_run_without_a_runner_names_the_command() -> None:
    """If no live runner serves the agent, the summary warns and names the command that starts one."""
    run = make_run(status=RunStatus.QUEUED, started_at=None)
    summary = run_summary(run, {}, make_fleet(make_runner("host:1", RunnerState.LIVE, "other")))
    assert (summary.tone, summary.command) == (Tone.WARN, "loopkit-cli worker --agent a")
    for fleet in (None, make_fleet(make_runner("host:1", RunnerState.LIVE, "a"))):
        summary = run_summary(run, {}, fleet)
        assert (summary.tone, summary.command, summary.fact) == (Tone.NEUTRAL, None, "Queued.")


def test_running_attempt_says_what_follows() -> None:
    """The summary names the score of the attempt before, the pass mark, and what happens below it."""
    evaluations = {1: EvaluationView(attempt=1, score=0.62, feedback="")}
    run = make_run(current_attempt=2, current_stage=Stage.REVISING)
    summary = run_summary(run, evaluations, None)
    assert summary.fact == "Attempt 2 is being revised."
    assert summary.details == "Attempt 1 scored 0.62, 0.18 below the pass mark, so its output is being revised."
    assert summary.next == "The run passes with a score of 0.80 or more; otherwise attempt 3, the last one, follows."
    last = run_summary(make_run(current_attempt=3, current_stage=Stage.EVALUATING), evaluations, None)
    assert last.next == "The run passes with a score of 0.80 or more; otherwise the run fails."


def test_stalled_run_names_who_can_take_it_over() -> None:
    """A stalled run names the runners that serve its agent; with a cancel request it says how to cancel it."""
    run = make_run(stalled=True, current_stage=Stage.EVALUATING, claimed_by="atlas:7:x", heartbeat_at=START)
    summary = run_summary(run, {}, make_fleet(make_runner("host:1", RunnerState.LIVE, "a")))
    assert summary.details == "Runner atlas was evaluating attempt 1 when its heartbeat stopped."
    assert summary.next == "host takes it over and continues. Its output is kept; no finished stage is repeated."
    assert run_summary(run, {}, make_fleet()).command == "loopkit-cli worker --agent a"
    cancelling = make_run(stalled=True, cancel_requested_at=START)
    assert "choose Cancel again" in run_summary(cancelling, {}, None).next


def test_failed_run_names_the_best_attempt_and_the_largest_fall() -> None:
    """A run that used all its attempts names its best score, and the criterion that fell most in the last attempt."""
    evaluations = {
        number: EvaluationView(
            attempt=number,
            score=score,
            feedback="",
            criteria=(Criterion(name="tone", score=tone, pass_mark=0.8), Criterion(name="c", score=0.5, pass_mark=0.8)),
        )
        for number, score, tone in ((1, 0.7, 0.9), (2, 0.6, 0.55))
    }
    run = make_run(
        status=RunStatus.FAILED, current_attempt=2, max_attempts=2, final_score=0.7, best_attempt=1, completed_at=START
    )
    summary = run_summary(run, evaluations, None)
    assert (summary.tone, summary.fact) == (Tone.BAD, "Failed: all 2 attempts are used.")
    assert summary.details == "The best attempt, 1, scored 0.70, 0.10 below the pass mark."
    assert summary.next == "Attempt 2 regressed: tone fell from 0.90 to 0.55. All outputs are kept."
    assert summary.link == ("What changed in attempt 2", "/agents/run_1/compare?a=1&b=2")


def test_error_of_a_stage_is_shown() -> None:
    """A run that failed by an error names the stage and shows the message in full, and what to do."""
    message = "evaluate (facts): exit status 1: " + "word " * 200
    run = make_run(status=RunStatus.FAILED, error_message=message, completed_at=START)
    summary = run_summary(run, {}, None)
    assert summary.fact == "Failed in attempt 1: evaluate ended with an error."
    assert summary.reason == message
    assert summary.remedy.startswith("When the cause is corrected, choose Retry")
    foreign = run_summary(attrs.evolve(run, error_message="no inputs"), {}, None)
    assert (foreign.fact, foreign.reason) == ("Failed in attempt 1.", "no inputs")


def test_failure_names_the_place_in_the_code() -> None:
    """The stage is that of the failure, and the sentence on what to do names the file and line."""
    failure = StageFailure(stage=Stage.PRODUCING, attempt=1, exception="KeyError", at="targets.py:12")
    run = make_run(status=RunStatus.FAILED, error_message="'title'", completed_at=START)
    summary = run_summary(run, {}, None, failure)
    assert summary.fact == "Failed in attempt 1: produce ended with an error."
    assert summary.failure == failure
    assert "the code at targets.py:12" in summary.remedy


def test_feedback_says_why_the_attempts_did_not_suffice() -> None:
    """A run that used its attempts shows the feedback on its best attempt."""
    evaluations = {1: EvaluationView(attempt=1, score=0.7, feedback="Name the sources.")}
    run = make_run(status=RunStatus.FAILED, max_attempts=1, final_score=0.7, best_attempt=1, completed_at=START)
    summary = run_summary(run, evaluations, None)
    assert (summary.reason_label, summary.reason) == ("Feedback on attempt 1", "Name the sources.")


def test_score_just_below_the_mark_does_not_read_as_the_mark() -> None:
    """0.7999 of 0.80 is shown with all its digits, and so is the distance."""
    run = make_run(status=RunStatus.FAILED, final_score=0.7999, best_attempt=3, current_attempt=3, completed_at=START)
    assert run_summary(run, {}, None).details == "The best attempt, 3, scored 0.7999, 0.0001 below the pass mark."
