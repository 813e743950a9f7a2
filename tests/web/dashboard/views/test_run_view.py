"""Tests of the values of a run's page."""

from loopkit.core.run import RunStatus
from loopkit_web.dashboard.views.evaluations import evaluation_views
from loopkit_web.dashboard.views.run_view import RunView, run_view
from tests.web.dashboard.value_helpers import START, make_artifact, make_evaluation, make_run


def view_of(evaluations: list[str], **fields: object) -> RunView:
    """Return the view of an ended run with an output for each of these evaluations."""
    run = make_run(status=RunStatus.FAILED, completed_at=START, **fields)
    outputs = [make_artifact("x", attempt=number) for number in range(1, len(evaluations) + 1)]
    texts = [make_evaluation(text, attempt=number) for number, text in enumerate(evaluations, 1)]
    return run_view(
        run, [artifact.info for artifact in (*outputs, *texts)], evaluation_views(texts, 0.8), {}, None, None
    )


def test_best_attempt_is_compared_with_the_one_before_it() -> None:
    """The best attempt is compared with the one before it; if it is the first, the newest two are compared."""
    scores = ["0.5", "0.7", "0.6"]
    assert view_of(scores, best_attempt=2).attempts_to_compare == (1, 2)
    assert view_of(scores, best_attempt=1).attempts_to_compare == (2, 3)
    assert view_of(["0.5"], best_attempt=1).attempts_to_compare is None


def test_matrix_has_a_row_for_each_criterion_and_the_score() -> None:
    """Cells show the change to the attempt before; the feedback is the newest one."""
    view = view_of(
        [
            '{"score": 0.5, "criteria": {"tone": {"score": 0.9, "feedback": "fine"}}}',
            '{"score": 0.6, "feedback": "closer", "criteria": {"tone": 0.7, "length": 0.4}}',
        ]
    )
    tone, length, score = view.matrix
    assert [(cell.change, cell.has_regressed) for cell in tone.cells] == [(None, False), (-0.2, True)]
    assert tone.feedback == "fine"
    assert [cell.criterion is None for cell in length.cells] == [True, False]
    assert (score.is_score, score.feedback, score.pass_mark) == (True, "closer", 0.8)
    assert view_of([]).matrix == ()


def test_actions_follow_the_state() -> None:
    """An ended run can be retried, a running one can be cancelled."""
    ended = view_of(["0.5"])
    assert (ended.can_cancel, ended.can_retry) == (False, True)
    running = run_view(make_run(), [], {}, {}, None, "maria")
    assert (running.can_cancel, running.can_retry, running.actor) == (True, False, "maria")


def test_inputs_are_shown_as_people_write_them() -> None:
    """A nested input is JSON without escapes, a text is itself; what one line does not show can be read in full."""
    nested = {"note": "it's <b>Zürich</b> & 東京"}
    view = view_of([], inputs={"text": "a\nb", "nested": nested, "short": [1, 2], "long": [7] * 13, "deep": [{"a": 1}]})
    assert [(item.name, item.is_long) for item in view.inputs] == [
        ("text", False),
        ("nested", True),
        ("short", False),
        ("long", True),
        ("deep", True),
    ]
    assert view.inputs[0].whole == "a\nb"
    assert view.inputs[1].whole == '{\n  "note": "it\'s <b>Zürich</b> & 東京"\n}'
