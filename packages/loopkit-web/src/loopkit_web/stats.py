"""Figures over HTTP, bounded whatever the database holds: as JSON, and as OpenMetrics for a monitoring system."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import attrs
from starlette.responses import Response

from loopkit.storage import AgentStats
from loopkit_web.context import Call
from loopkit_web.replies import AgentFigures, Stats, json_reply
from loopkit_web.runners import runner_list

__all__ = ["get_metrics", "get_stats"]

OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


async def get_stats(call: Call) -> Response:
    """``GET /api/stats``: counts by status and agent, score and attempt figures."""
    agents = await _agents(call)
    counts: Counter[str] = Counter()
    for stats in agents:
        counts.update(stats.counts)
    return json_reply(call, Stats(counts=counts, agents=[_figures(stats) for stats in agents]))


async def _agents(call: Call) -> Sequence[AgentStats]:
    return await call.fleet.stats() if call.fleet is not None else ()


def _figures(stats: AgentStats) -> AgentFigures:
    shared = {field.name: getattr(stats, field.name) for field in attrs.fields(AgentFigures)}
    return AgentFigures(**shared | {"passed_at_attempt": {str(n): of for n, of in stats.passed_at_attempt.items()}})


# --- OpenMetrics -----------------------------------------------------------------------------------------------


Sample = tuple[dict[str, str], float]


async def get_metrics(call: Call) -> Response:
    """``GET /api/metrics``: the same figures as OpenMetrics 1.0 text."""
    agents = await _agents(call)
    runners = (await runner_list(call)).runners
    live = [runner for runner in runners if runner.state in ("live", "late", "draining")]
    lines = [
        *_gauge("loopkit_runs", "Runs by agent and status; stops at 1000.", _counts(agents)),
        *_gauge("loopkit_oldest_queued_timestamp_seconds", "Since when the oldest queued run waits.", _oldest(agents)),
        *_gauge("loopkit_score_mean", "Mean best score of the newest 1000 ended runs.", _means(agents)),
        *_gauge("loopkit_runners", "Runners by state.", _states([runner.state for runner in runners])),
        *_gauge("loopkit_slots", "Runs that the living runners can work at once.", [({}, sum(r.slots for r in live))]),
        *_gauge("loopkit_slots_busy", "Of them, those in use.", [({}, sum(r.busy for r in live))]),
        *_gauge("loopkit_streams", "Event streams open in this process.", [({}, call.site.streams.open)]),
        "# EOF",
    ]
    return Response("\n".join(lines) + "\n", media_type=OPENMETRICS)


def _gauge(name: str, words: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    yield f"# HELP {name} {words}"
    for labels, value in samples:
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"{name}{{{pairs}}} {value:.17g}" if pairs else f"{name} {value:.17g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _counts(agents: Iterable[AgentStats]) -> Iterator[Sample]:
    for stats in agents:
        for status, count in sorted(stats.counts.items()):
            yield {"agent": stats.agent, "status": status}, count


def _oldest(agents: Iterable[AgentStats]) -> Iterator[Sample]:
    for stats in agents:
        if stats.oldest_queued_at is not None:
            yield {"agent": stats.agent}, stats.oldest_queued_at.timestamp()


def _means(agents: Iterable[AgentStats]) -> Iterator[Sample]:
    for stats in agents:
        if stats.mean_score is not None:
            yield {"agent": stats.agent}, stats.mean_score


def _states(states: Sequence[str]) -> Iterator[Sample]:
    for state, count in sorted(Counter(states).items()):
        yield {"state": state}, count
