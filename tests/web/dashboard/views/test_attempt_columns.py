"""Tests of the columns of attempts."""

from datetime import timedelta

from loopkit.core.run import RunStatus, Stage
from loopkit_web.dashboard.views.attempt_columns import AttemptColumns, BarKind, attempt_columns
from loopkit_web.dashboard.views.evaluations import evaluation_views
from loopkit_web.dashboard.views.status import Tone
from tests.web.dashboard.value_helpers import START, make_artifact, make_evaluation, make_run


def columns(*scores: float, **fields: object) -> AttemptColumns:
    """Return the columns of a run whose attempts took 60 s to produce and 30 s to evaluate."""
    artifacts = []
    for number, score in enumerate(scores, 1):
        begin = 90 * (number - 1)
        artifacts.append(make_artifact("x", attempt=number, seconds=begin + 60))
        artifacts.append(make_evaluation(str(score), attempt=number, seconds=begin + 90))
    run = make_run(**fields)
    infos = [artifact.info for artifact in artifacts]
    return attempt_columns(run, infos, evaluation_views(artifacts, run.pass_threshold))


def test_stage_begins_when_the_one_before_it_ended() -> None:
    """Durations are computed from the times of artifacts; the longest stage has the full width."""
    first, second, *_ = columns(0.5, current_attempt=2, current_stage=Stage.REVISING).attempts
    assert [(bar.label, bar.duration, bar.percent, bar.kind) for bar in first.bars] == [
        ("Produce", timedelta(seconds=60), 100.0, BarKind.OUTPUT),
        ("Evaluate", timedelta(seconds=30), 50.0, BarKind.EVALUATION),
    ]
    [running] = second.bars
    assert (running.label, running.kind, running.running_since) == (
        "Revise",
        BarKind.NOW,
        START + timedelta(seconds=90),
    )
    assert (second.tag, second.tag_tone, second.is_current) == ("Revising", Tone.LIVE, True)


def test_attempts_that_may_not_be_needed_are_pending() -> None:
    """Two attempts after the current one are shown, the others are counted; an ended run has none."""
    running = columns(0.5, current_attempt=2, max_attempts=9)
    assert [attempt.is_pending for attempt in running.attempts] == [False, False, True, True]
    assert running.later == 5
    ended = columns(0.5, 0.9, status=RunStatus.PASSED, current_attempt=2, max_attempts=9, best_attempt=2)
    assert [attempt.tag for attempt in ended.attempts] == ["", "Passed"]
    assert ended.later == 0


def test_stalled_attempt_is_marked() -> None:
    """The stage in which the run stalled has a marker, and its attempt a tag."""
    [attempt, *_] = columns(stalled=True, current_stage=Stage.PRODUCING).attempts
    assert [bar.kind for bar in attempt.bars] == [BarKind.STALLED]
    assert (attempt.tag, attempt.tag_tone, attempt.is_stalled) == ("Stalled", Tone.WARN, True)


def test_long_run_shows_its_newest_attempts() -> None:
    """At most 20 columns are shown; the earlier attempts are counted."""
    long = columns(*[0.5] * 30, status=RunStatus.FAILED, current_attempt=30, max_attempts=30, best_attempt=1)
    assert [attempt.number for attempt in long.attempts] == list(range(11, 31))
    assert long.earlier == 10
