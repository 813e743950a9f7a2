"""A context for a test of one stage, and that it needs neither pytest nor Hypothesis."""

import subprocess
import sys
import threading

import attrs
import pytest

import loopkit
import loopkit.testing


def test_a_context_is_that_of_a_first_draft() -> None:
    """Fields replace what is there."""
    ctx = loopkit.testing.context()
    assert (ctx.stage, ctx.attempt, ctx.inputs, ctx.output) == (loopkit.Stage.PRODUCING, 1, {}, None)
    assert (ctx.evaluation, ctx.deps, ctx.cancelled, ctx.deadline) == (None, None, False, None)
    revising = loopkit.testing.context(
        stage="revising", attempt=2, output="text", evaluation={"score": 0.5, "feedback": "shorter", "n": 1}, deps=5
    )
    assert (revising.stage, revising.evaluation.feedback, revising.evaluation["n"]) == ("revising", "shorter", 1)
    assert (revising.deps, revising.idempotency_key) == (5, "run_test:2:revising")
    with pytest.raises(TypeError):
        loopkit.testing.context(input={})


def test_what_a_revision_gets_may_be_mappings() -> None:
    """The stage reads it by attribute and by name, as in a run."""
    ctx = loopkit.testing.context(
        stage="revising",
        history=[{"attempt": 1, "score": 0.5, "feedback": "so"}, {"attempt": 2, "score": 0.4}],
        best={"attempt": 1, "output": "text", "evaluation": {"score": 0.5, "n": 1}},
        budget={"usd": 0.2},
    )
    assert [(entry.score, entry["feedback"]) for entry in ctx.history] == [(0.5, "so"), (0.4, "")]
    assert ctx.best is not None
    assert (ctx.best.output, ctx.best.evaluation.score, ctx.best.evaluation["n"]) == ("text", 0.5, 1)
    assert (ctx.budget.usd, ctx.budget.tokens) == (0.2, None)
    assert loopkit.testing.context(history=ctx.history, best=ctx.best, budget=ctx.budget) is not None


def test_it_keeps_what_is_logged_and_reported() -> None:
    """Through a copy of it as well, which sync stages get."""
    ctx = loopkit.testing.context()
    ctx.log("half way", part=1)
    ctx.report_usage({"input_tokens": 3}, model="openai:m", cached_tokens=1)
    attrs.evolve(ctx, attempt=2).log("in a copy")
    assert ctx.logs == [("half way", {"part": 1}), ("in a copy", {})]
    assert ctx.usage == [{"input_tokens": 3, "model": "openai:m", "cached_tokens": 1}]


def test_a_cancelled_context() -> None:
    """A stage's own handling of it is tested without a run."""
    called = threading.Event()
    ctx = loopkit.testing.context(cancelled=True, deadline=5)
    ctx.on_cancel(called.set)
    assert ctx.cancelled
    assert called.wait(60)
    left = loopkit.testing.context(deadline=50).deadline
    assert left is not None
    assert 0 < left <= 50


def test_the_module_needs_no_extra() -> None:
    """Neither pytest nor Hypothesis is loaded by it; the suites load them when they are used."""
    program = "import sys, loopkit.testing as t; t.context(); print({'pytest', 'hypothesis'} & {*sys.modules})"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed == "set()\n"
    for name in loopkit.testing.__all__:
        assert getattr(loopkit.testing, name).__name__ == name
    with pytest.raises(AttributeError):
        _ = loopkit.testing.contxt  # type: ignore[attr-defined]


@attrs.frozen
class Slots:
    input_tokens: int
    output_tokens: int


class Properties:
    @property
    def input_tokens(self) -> int:
        return 3

    @property
    def output_tokens(self) -> int:
        return 4


@pytest.mark.parametrize("usage", [{"input_tokens": 3, "output_tokens": 4}, Slots(3, 4), Properties()])
def test_usage_is_kept_from_objects_of_every_kind(usage: object) -> None:
    """Some have no dict of their attributes."""
    ctx = loopkit.testing.context()
    ctx.report_usage(usage, model="openai:m")
    assert ctx.usage == [{"input_tokens": 3, "output_tokens": 4, "model": "openai:m"}]
