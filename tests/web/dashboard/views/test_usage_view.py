"""Usage of a run as its page shows it."""

from datetime import timedelta
from typing import Any

from loopkit.core.ledger.calls import CallState, ModelCall
from loopkit.core.run import Stage
from loopkit_web.dashboard.views.usage_view import has_usage, usage_text, usage_view
from tests.web.dashboard.value_helpers import make_run


def call(attempt: int = 1, stage: Stage = Stage.PRODUCING, **fields: Any) -> ModelCall:
    return ModelCall(id="", attempt=attempt, stage=stage, **fields)


def test_calls_are_summed_by_attempt_stage_and_judge() -> None:
    """In the order of their first calls; what is not known is named."""
    judged: dict[str, Any] = {"stage": Stage.EVALUATING, "judge": "facts"}
    calls = [
        call(model="x:a", input_tokens=10, output_tokens=2, cost_nanos=2_500_000, seconds=1.5),
        call(model="x:a", state=CallState.FAILED, cost_nanos=0, seconds=0.5),
        call(**judged, sample=1, model="x:b", input_tokens=5),
        call(**judged, sample=2, state=CallState.UNANSWERED),
        call(2, stage=Stage.REVISING, model="x:c", cost_nanos=1),
    ]
    view = usage_view(make_run(), calls)
    assert [(row.attempt, row.stage, row.judge, row.calls, row.usd, row.notes) for row in view.rows] == [
        (1, "Produce", "", 2, "0.0025", "1 refused"),
        (1, "Evaluate", "facts", 2, "–", "1 without an answer, 1 without a price"),
        (2, "Revise", "", 1, "0.000000001", ""),
    ]
    assert [(row.models, row.seconds) for row in view.rows] == [
        ("x:a", timedelta(seconds=2)),
        ("x:b", None),
        ("x:c", None),
    ]
    assert not view.has_more
    assert usage_view(make_run(), [call(number) for number in range(1, 400)]).has_more


def test_bars_of_a_budget() -> None:
    """One for each limit; a spent one says so, and no bar is longer than its track."""
    run = make_run(
        policy={"budget": {"usd": 0.5, "tokens": 1000, "seconds": 60}},
        cost_nanos=125_000_000,
        input_tokens=900,
        output_tokens=300,
        stage_seconds=30.0,
    )
    bars = usage_view(run, []).bars
    assert [(bar.label, bar.spent, bar.limit, bar.percent, bar.is_spent) for bar in bars] == [
        ("Money", "0.125 usd", "0.50 usd", 25, False),
        ("Tokens", "1,200", "1,000", 100, True),
        ("Time", "30 s", "1m 00s", 50, False),
    ]


def test_a_run_without_calls_has_no_usage() -> None:
    """The time of its stages is in its duration already; a budget is shown before the first call."""
    assert (has_usage(make_run(stage_seconds=9.0)), usage_text(make_run(stage_seconds=9.0))) == (False, "")
    assert has_usage(make_run(policy={"budget": {"usd": 1}}))
    assert usage_text(make_run(input_tokens=1500, cost_nanos=10_000_000, unpriced_calls=2)) == (
        "1,500 tokens, 0.01 usd, 2 unpriced"
    )
