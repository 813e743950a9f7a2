"""Tests of the charts of scores."""

from hypothesis import given
from hypothesis import strategies as st

from loopkit_web.dashboard.markup import charts
from loopkit_web.dashboard.markup.charts import ArcKind
from tests.web.dashboard.value_helpers import make_run


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 40))
def test_dot_above_the_line_has_passed(score: float, threshold: float, max_attempts: int) -> None:
    """In a row and in the plot, a dot is above the line of the pass mark exactly if its score reached the mark."""
    run = make_run(pass_threshold=threshold, max_attempts=max_attempts)
    spark = charts.spark(run, {1: score})
    assert (spark.dots[0].y < 12) == (score >= threshold)
    assert spark.width <= 160
    plot = charts.plot(run, [1], {1: score})
    assert (plot.dots[0].y <= plot.pass_mark_y + 0.05) or score < threshold
    assert 0 <= plot.base <= max(score, 0)


def test_ring_has_an_arc_for_each_attempt() -> None:
    """Arcs are done, current and not begun, in this order; more than eight attempts share eight arcs."""
    assert [arc.kind for arc in charts.arcs(2, 3)] == [ArcKind.DONE, ArcKind.NOW, ArcKind.REST]
    assert len(charts.arcs(30, 40)) == 8
