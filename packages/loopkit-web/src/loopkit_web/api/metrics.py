"""Figures as OpenMetrics, for a monitoring system; their cost is bounded whatever the size of the database."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from anyio import to_thread
from starlette.responses import Response

from loopkit.fleet import RunnerEntry, RunnerState, read_runner_list
from loopkit.runner import METRICS
from loopkit.runner.openmetrics import MEDIA_TYPE, family_lines, openmetrics_text
from loopkit.storage import AgentStats
from loopkit_web.http.call import Call

__all__ = ["get_metrics"]

_ACTIVE: Final = frozenset({RunnerState.LIVE, RunnerState.LATE, RunnerState.DRAINING})

LabelledValue = tuple[dict[str, str], float]


async def get_metrics(call: Call) -> Response:
    """``GET /api/metrics``: figures of the store, and counters of the runners in this process, as OpenMetrics."""
    agents = await call.statistics.stats() if call.statistics is not None else ()
    runners = (await read_runner_list(call.store)).runners
    text = await to_thread.run_sync(_text, agents, runners, call.site.streams.open)
    return Response(text, media_type=MEDIA_TYPE)


def _text(agents: Sequence[AgentStats], runners: Sequence[RunnerEntry], streams: int) -> str:
    active = [runner for runner in runners if runner.state in _ACTIVE]
    lines = [
        *_gauge("loopkit_runs", "Runs by agent and status; counted up to 1000.", _counts(agents)),
        *_gauge(
            "loopkit_oldest_queued_timestamp_seconds",
            "Time at which the oldest queued run was queued.",
            _oldest(agents),
        ),
        *_gauge("loopkit_score_mean", "Mean best score of the newest 1000 ended runs.", _means(agents)),
        *_gauge("loopkit_runners", "Runners by state.", _states([runner.state for runner in runners])),
        *_gauge(
            "loopkit_slots",
            "Runs that the live, late and draining runners can process at once.",
            [({}, sum(r.slots for r in active))],
        ),
        *_gauge("loopkit_slots_busy", "Slots of these runners that are in use.", [({}, sum(r.busy for r in active))]),
        *_gauge("loopkit_streams", "Event streams open in this process.", [({}, streams)]),
        *METRICS.lines(),
    ]
    return openmetrics_text(lines)


def _gauge(name: str, description: str, samples: Iterable[LabelledValue]) -> Iterator[str]:
    yield from family_lines(name, "gauge", description, (("", labels, value) for labels, value in samples))


def _counts(agents: Iterable[AgentStats]) -> Iterator[LabelledValue]:
    for stats in agents:
        for status, count in sorted(stats.counts.items()):
            yield {"agent": stats.agent, "status": status}, count


def _oldest(agents: Iterable[AgentStats]) -> Iterator[LabelledValue]:
    for stats in agents:
        if stats.oldest_queued_at is not None:
            yield {"agent": stats.agent}, stats.oldest_queued_at.timestamp()


def _means(agents: Iterable[AgentStats]) -> Iterator[LabelledValue]:
    for stats in agents:
        if stats.mean_score is not None:
            yield {"agent": stats.agent}, stats.mean_score


def _states(states: Sequence[str]) -> Iterator[LabelledValue]:
    for state, count in sorted(Counter(states).items()):
        yield {"state": state}, count
