"""The benchmarks can be run: a tiny size prints the table. Their figures are not tested."""

import json
import subprocess
import sys

import pytest

from benchmarks.child_process import ROOT
from benchmarks.figures import Row, Spread, ratios


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_tiny_size_prints_the_table() -> None:
    """Each section has its rows, the title says what it was measured on, and progress is apart from it."""
    done = bench("latency", "--quick", "--database", "sqlite")
    assert done.returncode == 0, done.stderr
    for words in ("latency", "SQLite", "boundary, p50", "a bare durable commit", "<= 0.3", "fdatasync", "cores"):
        assert words in done.stdout
    assert "... latency on SQLite, 1 of 1" in done.stderr


def test_json_has_what_the_table_has() -> None:
    """--json prints one document: the machine, the rows with their verdicts, and what was left out."""
    done = bench("counts", "--quick", "--database", "sqlite", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["remarks"] == []
    commits = found["rows"][0]
    assert commits["what"] == "commits per loop, enqueue included"
    assert (commits["budget"], commits["verdict"]) == ("<= 6", "met")


def test_an_unknown_section_is_refused() -> None:
    """The error names the sections that there are."""
    done = bench("thruput")
    assert done.returncode == 2
    assert "no such section: thruput; there are throughput, latency" in done.stderr


@pytest.mark.parametrize(
    ("at_least", "at_most", "verdict"), [(0.5, None, "met"), (0.6, None, "missed"), (None, 0.4, "missed")]
)
def test_a_budget_is_judged_by_the_median_ratio(at_least: float | None, at_most: float | None, verdict: str) -> None:
    """Values are compared within their repetition, and the median of the ratios is what counts."""
    ratio = ratios([10, 30, 50], [20, 100, 50])
    assert ratio == Spread(0.5, 0.3, 1.0)
    row = Row("s", "d", "w", Spread.of([10]), "x", "y", ratio, at_least=at_least, at_most=at_most)
    assert row.verdict == verdict
