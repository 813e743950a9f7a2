"""Counters and histograms of a runner: they grow with what it does, without a bound."""

import re
from datetime import timedelta

import pytest

import loopkit
from loopkit.core.run import Stage
from loopkit.runner import Environment, Metrics, Runner
from loopkit.runner.openmetrics import openmetrics_text


def sample(metrics: Metrics, line: str) -> float:
    """The value of a sample, 0 where there is none."""
    values = [text.rpartition(" ")[2] for text in metrics.lines() if text.rpartition(" ")[0] == line]
    return float(values[0]) if values else 0.0


async def drained(agent: loopkit.Agent, runs: int = 1) -> Metrics:
    """Work some runs of an agent; give what was counted."""
    metrics, store = Metrics(), loopkit.MemoryStore()
    await loopkit.submit(store, agent, [{}] * runs)
    await Runner(store, [agent], environment=Environment(metrics=metrics)).drain()
    return metrics


async def test_ended_runs_are_counted_by_status_and_reason() -> None:
    """A passed one, one whose attempts are used up, and one whose stage failed."""
    passes = loopkit.Agent(name="a", produce=lambda _: "x", evaluate=lambda _: 1.0)
    metrics = await drained(passes, runs=3)
    assert sample(metrics, 'loopkit_runs_claimed_total{agent="a"}') == 3
    assert sample(metrics, 'loopkit_runs_ended_total{agent="a",status="passed",reason="score_passed"}') == 3
    assert sample(metrics, 'loopkit_run_seconds_count{agent="a",status="passed"}') == 3
    assert sample(metrics, 'loopkit_stage_seconds_count{agent="a",stage="producing",outcome="ok"}') == 3
    low = await drained(loopkit.Agent(name="a", produce=lambda _: "x", evaluate=lambda _: 0.1, max_attempts=1))
    assert sample(low, 'loopkit_runs_ended_total{agent="a",status="failed",reason="attempts_spent"}') == 1
    broken = await drained(loopkit.Agent(name="a", produce=lambda _: 1 / 0, evaluate=lambda _: 1.0))
    assert sample(broken, 'loopkit_runs_ended_total{agent="a",status="failed",reason="stage_error"}') == 1
    assert sample(broken, 'loopkit_stage_seconds_count{agent="a",stage="producing",outcome="error"}') == 1


def test_counters_do_not_stop() -> None:
    """Unlike the gauges that are read from the database."""
    metrics = Metrics()
    for _ in range(1500):
        metrics.count_lost_lease("a")
    assert sample(metrics, 'loopkit_leases_lost_total{agent="a"}') == 1500


def test_a_histogram_is_cumulative() -> None:
    """Each bucket holds all that is at most its bound; the last one all."""
    metrics = Metrics()
    for seconds in (0.1, 0.2, 7.0, 10_000.0):
        metrics.observe_stage("a", Stage.REVISING, seconds, outcome="ok")
    labels = 'agent="a",stage="revising",outcome="ok"'
    for bound, count in (("0.1", 1), ("0.5", 2), ("5.0", 2), ("10.0", 3), ("3600.0", 3), ("+Inf", 4)):
        assert sample(metrics, f'loopkit_stage_seconds_bucket{{{labels},le="{bound}"}}') == count
    assert sample(metrics, f"loopkit_stage_seconds_sum{{{labels}}}") == pytest.approx(10_007.3)


def test_the_text_is_openmetrics_whatever_an_agent_is_called() -> None:
    """Labels are escaped, every family has its type, and the text ends with EOF."""
    metrics = Metrics()
    metrics.count_claim('a"b\\c\nd')
    *lines, end = openmetrics_text(metrics.lines()).splitlines()
    assert end == "# EOF"
    assert 'loopkit_runs_claimed_total{agent="a\\"b\\\\c\\nd"} 1' in lines
    for line in lines:
        assert line.startswith("# ") or re.fullmatch(r"loopkit_\w+(\{.*\})? [0-9.e+]+", line)


async def test_a_line_is_logged_for_each_ended_run(caplog: pytest.LogCaptureFixture) -> None:
    """At INFO, with the run's id, agent, status, score and reason as fields."""
    caplog.set_level("INFO", "loopkit.runner")
    await drained(loopkit.Agent(name="a", produce=lambda _: "x", evaluate=lambda _: 0.9))
    (record,) = [record for record in caplog.records if getattr(record, "status", None) == "passed"]
    fields = vars(record)
    assert fields["run"].startswith("run_")
    assert (fields["agent"], fields["score"], fields["reason"]) == ("a", 0.9, "score_passed")
    assert timedelta(seconds=fields["seconds"]) >= timedelta()
    assert fields["run"] in record.getMessage()
