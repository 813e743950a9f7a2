"""Counters and histograms of the runners of one process. They only grow, from the start of the process on.

Every runner of a process counts into the same :data:`METRICS` unless it is given others, so that an endpoint in the
same process can show them without being wired to the runner.
"""

import os
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from loopkit.core.run import Run, Stage
from loopkit.runner.openmetrics import Sample, family_lines

__all__ = ["METRICS", "Metrics"]

SECONDS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Upper bounds of the buckets of the histograms; the last bucket has none."""

Labels = tuple[str, ...]
"""Values of the labels of a sample, in the order of the names that its family has."""


class Metrics:
    """Counters and histograms of the runners of one process. May be used from any thread."""

    def __init__(self) -> None:
        self.reset()

    def __repr__(self) -> str:
        return "Metrics()"

    def reset(self) -> None:
        """Begin at 0, as a forked process does: what its parent counted is the parent's."""
        self._lock = threading.Lock()
        self._claimed: dict[Labels, int] = {}
        self._ended: dict[Labels, int] = {}
        self._released: dict[Labels, int] = {}
        self._lost: dict[Labels, int] = {}
        self._run_seconds: dict[Labels, _Histogram] = {}
        self._stage_seconds: dict[Labels, _Histogram] = {}

    def __getstate__(self) -> "_State":
        """Return a copy of what was counted until now, in which another process can read it."""
        with self._lock:
            return _State(
                claimed=dict(self._claimed),
                ended=dict(self._ended),
                released=dict(self._released),
                lost=dict(self._lost),
                run_seconds={labels: each.copy() for labels, each in self._run_seconds.items()},
                stage_seconds={labels: each.copy() for labels, each in self._stage_seconds.items()},
            )

    def __setstate__(self, state: "_State") -> None:
        self.reset()
        self._add(state)

    def add(self, other: "Metrics") -> None:
        """Add what another process has counted to what was counted here."""
        self._add(other.__getstate__())

    def _add(self, state: "_State") -> None:
        with self._lock:
            for counts, more in (
                (self._claimed, state.claimed),
                (self._ended, state.ended),
                (self._released, state.released),
                (self._lost, state.lost),
            ):
                for labels, count in more.items():
                    counts[labels] = counts.get(labels, 0) + count
            for histograms, observed in (
                (self._run_seconds, state.run_seconds),
                (self._stage_seconds, state.stage_seconds),
            ):
                for labels, histogram in observed.items():
                    histograms.setdefault(labels, _Histogram()).merge(histogram)

    def count_claim(self, agent: str) -> None:
        """Count one run that was claimed, or made and claimed."""
        self._count(self._claimed, (agent,))

    def count_end(self, run: Run, reason: str | None) -> None:
        """Count one run that a runner of this process has ended, and the time since its start."""
        self._count(self._ended, (run.agent_name, run.status.value, reason or "unknown"))
        if run.started_at is not None and run.completed_at is not None:
            seconds = (run.completed_at - run.started_at).total_seconds()
            self._observe(self._run_seconds, (run.agent_name, run.status.value), seconds)

    def count_release(self, agent: str) -> None:
        """Count one run that went back to the queue."""
        self._count(self._released, (agent,))

    def count_lost_lease(self, agent: str) -> None:
        """Count one run that was lost to another runner."""
        self._count(self._lost, (agent,))

    def observe_stage(self, agent: str, stage: Stage, seconds: float, *, outcome: str) -> None:
        """Count one call of a stage with all its tries.

        Args:
            agent: name of the agent.
            stage: which stage it was.
            seconds: its duration.
            outcome: ``ok``, ``error``, or ``interrupted`` where the call was cancelled.
        """
        self._observe(self._stage_seconds, (agent, stage.value, outcome), seconds)

    def lines(self) -> Iterator[str]:
        """Yield the lines of all families in the text form of OpenMetrics, without its end."""
        yield from self._counter("loopkit_runs_claimed", "Runs claimed by this process.", ("agent",), self._claimed)
        yield from self._counter(
            "loopkit_runs_ended", "Runs ended by this process.", ("agent", "status", "reason"), self._ended
        )
        yield from self._counter(
            "loopkit_runs_released", "Runs that this process returned to the queue.", ("agent",), self._released
        )
        yield from self._counter(
            "loopkit_leases_lost", "Runs that this process lost to another runner.", ("agent",), self._lost
        )
        yield from self._histogram(
            "loopkit_run_seconds",
            "Seconds from the start of a run to its end.",
            ("agent", "status"),
            self._run_seconds,
        )
        yield from self._histogram(
            "loopkit_stage_seconds",
            "Seconds of the calls of stages, with all tries.",
            ("agent", "stage", "outcome"),
            self._stage_seconds,
        )

    def _count(self, counts: dict[Labels, int], labels: Labels) -> None:
        with self._lock:
            counts[labels] = counts.get(labels, 0) + 1

    def _observe(self, histograms: "dict[Labels, _Histogram]", labels: Labels, seconds: float) -> None:
        with self._lock:
            histogram = histograms.get(labels)
            if histogram is None:
                histogram = histograms[labels] = _Histogram()
            histogram.add(seconds)

    def _counter(self, name: str, help_text: str, names: Labels, counts: Mapping[Labels, int]) -> Iterator[str]:
        with self._lock:
            counted = sorted(counts.items())
        samples = (("_total", dict(zip(names, labels, strict=True)), count) for labels, count in counted)
        yield from family_lines(name, "counter", help_text, samples)

    def _histogram(
        self, name: str, help_text: str, names: Labels, histograms: "Mapping[Labels, _Histogram]"
    ) -> Iterator[str]:
        with self._lock:
            samples = [
                sample
                for labels, histogram in sorted(histograms.items())
                for sample in histogram.samples(dict(zip(names, labels, strict=True)))
            ]
        yield from family_lines(name, "histogram", help_text, samples)


@attrs.define(eq=False)
class _Histogram:
    """Number and sum of observed seconds, and how many fell into each bucket."""

    sum: float = 0.0
    buckets: list[int] = attrs.field(factory=lambda: [0] * (len(SECONDS) + 1))

    def add(self, seconds: float) -> None:
        self.sum += seconds
        self.buckets[bisect_left(SECONDS, seconds)] += 1

    def copy(self) -> "_Histogram":
        return _Histogram(self.sum, self.buckets.copy())

    def merge(self, other: "_Histogram") -> None:
        self.sum += other.sum
        self.buckets = [mine + more for mine, more in zip(self.buckets, other.buckets, strict=True)]

    def samples(self, labels: Mapping[str, str]) -> Iterator[Sample]:
        """Yield the cumulative buckets, the number and the sum."""
        count = 0
        for bound, number in zip((*map(str, SECONDS), "+Inf"), self.buckets, strict=True):
            count += number
            yield "_bucket", {**labels, "le": bound}, count
        yield "_count", labels, count
        yield "_sum", labels, self.sum


@attrs.frozen(kw_only=True)
class _State:
    """Everything that metrics have counted, to be pickled."""

    claimed: dict[Labels, int]
    ended: dict[Labels, int]
    released: dict[Labels, int]
    lost: dict[Labels, int]
    run_seconds: dict[Labels, _Histogram]
    stage_seconds: dict[Labels, _Histogram]


METRICS: Final = Metrics()
"""The metrics of this process, which every runner counts into."""

os.register_at_fork(after_in_child=METRICS.reset)
