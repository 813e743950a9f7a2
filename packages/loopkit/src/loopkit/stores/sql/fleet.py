"""What pages show beside the runs: runners, what they hold, figures of agents. Nothing a claim depends on.

Every figure is bounded, so that a million runs cost what a thousand do: a count stops at 1,000, and scores cover an
agent's newest 1,000 ended runs.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, func, literal_column, select, union_all
from sqlalchemy.dialects import postgresql, sqlite

from loopkit.core import machine, plain
from loopkit.core.journal import ArtifactType
from loopkit.core.run import ENDED, Run, RunStatus
from loopkit.storage import AgentOverview, AgentStats, Overview, RunnerInfo, Trajectory
from loopkit.stores import listing
from loopkit.stores.sql import reading, rows
from loopkit.stores.sql.instants import Instant, SecondsBetween, present, stamp
from loopkit.stores.sql.lists import agent_names
from loopkit.stores.sql.tables import artifacts, listed_status, runners, running, runs

_DAY: Final = 86_400.0
_MOST_AGENTS: Final = 1000


# --- Runners ----------------------------------------------------------------------------------------------------------

_silent: Final = SecondsBetween(runners.c.seen_at, present())
_FRESH: Final = select(runners, _silent.label("age")).where(_silent <= bindparam("day"))
_FORGET: Final = runners.delete().where(_silent > bindparam("day"))


def announce(connection: Connection, runner: RunnerInfo, clock: Mapping[str, Any]) -> None:
    """Write what a runner says of itself, and forget those that nobody has heard of for a day."""
    said = {
        "name": runner.name,
        "version": runner.version,
        "agents": plain.dumps(list(runner.agents)),
        "slots": runner.slots,
        "busy": runner.busy,
        "draining": runner.draining,
        "heartbeat_seconds": runner.heartbeat.total_seconds(),
        "gone": runner.gone,
    }
    into = postgresql.insert(runners) if connection.dialect.name == "postgresql" else sqlite.insert(runners)
    told = into.values(id=runner.id, started_at=stamp(), seen_at=stamp(), **said)
    told = told.on_conflict_do_update(index_elements=[runners.c.id], set_={**said, "seen_at": stamp()})
    connection.execute(told, {"now": clock["now"]})
    connection.execute(_FORGET, {"now": clock["now"], "day": _DAY})


def known_runners(connection: Connection, clock: Mapping[str, Any]) -> list[RunnerInfo]:
    """Give the runners seen within a day, newest start first."""
    found = [_runner(row) for row in connection.execute(_FRESH, {"now": clock["now"], "day": _DAY})]
    return sorted(found, key=lambda runner: (runner.started_at, runner.id), reverse=True)


def _runner(row: Any) -> RunnerInfo:
    return RunnerInfo(
        id=row.id,
        name=row.name,
        version=row.version,
        agents=tuple(rows.json(row.agents)),
        slots=row.slots,
        busy=row.busy,
        draining=bool(row.draining),
        started_at=rows.moment(row.started_at),
        seen_at=rows.moment(row.seen_at),
        age=timedelta(seconds=max(row.age, 0.0)),
        heartbeat=timedelta(seconds=row.heartbeat_seconds),
        gone=bool(row.gone),
    )


# --- Runs -------------------------------------------------------------------------------------------------------------

_HELD: Final = (
    select(*rows.run_columns()).where(running).order_by(Instant(rows.last_seen), runs.c.id).limit(bindparam("most"))
)
_KNOWN: Final = select(runs.c.id).where(runs.c.id.in_(bindparam("run_ids", expanding=True)))
_SCORES: Final = (
    select(artifacts.c.run_id, artifacts.c.attempt, artifacts.c.score)
    .where(
        artifacts.c.run_id.in_(bindparam("run_ids", expanding=True)),
        artifacts.c.artifact_type == literal_column(f"'{ArtifactType.EVALUATION}'"),
    )
    .order_by(artifacts.c.run_id, artifacts.c.attempt)
)


def holdings(connection: Connection, limit: int, clock: Mapping[str, Any]) -> list[Run]:
    """Give running runs, the longest silent first."""
    found = connection.execute(_HELD, {"most": limit, **clock})
    return reading.completed(connection, [rows.run(row) for row in found])


def trajectories(connection: Connection, run_ids: Sequence[str]) -> dict[str, Trajectory]:
    """Give the scores of up to 200 runs; ids of no run are left out."""
    asked = list(run_ids[:200])
    known = set(connection.execute(_KNOWN, {"run_ids": asked}).scalars())
    scores: dict[str, list[tuple[int, float | None]]] = {run_id: [] for run_id in asked if run_id in known}
    for run_id, attempt, score in connection.execute(_SCORES, {"run_ids": list(scores)}):
        scores[run_id].append((attempt, score))
    foreign = [run_id for run_id, found in scores.items() if any(score is None for _, score in found)]
    judged = reading.evaluations(connection, foreign) if foreign else {}
    for run_id, evaluations in judged.items():
        scores[run_id] = [(one.attempt, machine.read_evaluation(one).score) for one in evaluations]
    return {
        run_id: Trajectory(run_id=run_id, scores=tuple((n, score) for n, score in found if score is not None))
        for run_id, found in scores.items()
    }


# --- Figures ----------------------------------------------------------------------------------------------------------


def _of_agent(*where: ColumnElement[bool]) -> ColumnElement[int]:
    """Count an agent's runs, up to 1,000. They are sorted so that an index serves that is sorted in the same way."""
    some = select(runs.c.id).where(runs.c.agent_name == bindparam("agent"), *where)
    some = some.order_by(Instant(runs.c.created_at), runs.c.id).limit(listing.NEWEST)
    return select(func.count()).select_from(some.subquery()).scalar_subquery()


def _with(status: RunStatus) -> ColumnElement[bool]:
    return listed_status == literal_column(f"'{status}'")


def _of_all(status: RunStatus) -> ColumnElement[int]:
    """Count the runs of all agents, up to the newest 1,000: a database has those at hand."""
    some = select(runs.c.id).where(_with(status)).order_by(Instant(runs.c.created_at).desc(), runs.c.id.desc())
    return select(func.count()).select_from(some.limit(listing.NEWEST).subquery()).scalar_subquery()


_COUNTS: Final = select(
    *(_of_agent(_with(status)).label(status.value) for status in RunStatus),
    _of_agent(rows.is_stalled()).label("stalled"),
)
_OLDEST: Final = (
    select(runs.c.created_at)
    .where(runs.c.agent_name == bindparam("agent"), _with(RunStatus.QUEUED))
    .order_by(Instant(runs.c.created_at))
    .limit(1)
)
_ended: Final = union_all(
    *(
        select(
            select(runs.c.status, runs.c.final_score, runs.c.current_attempt, runs.c.completed_at, runs.c.id)
            .where(runs.c.agent_name == bindparam("agent"), _with(status), runs.c.completed_at.isnot(None))
            .order_by(Instant(runs.c.completed_at).desc(), runs.c.id.desc())
            .limit(listing.NEWEST)
            .subquery()
        )
        for status in sorted(ENDED)
    )
).subquery()
_NEWEST_ENDED: Final = (
    select(_ended.c.status, _ended.c.final_score, _ended.c.current_attempt)
    .order_by(Instant(_ended.c.completed_at).desc(), _ended.c.id.desc())
    .limit(listing.NEWEST)
)
_AGENTS: Final = agent_names(low=bindparam("low"), high=bindparam("high"), limit=_MOST_AGENTS)
_EVERY_AGENT: Final = {"low": "", "high": "\U0010ffff"}

_ALL_COUNTS: Final = select(*(_of_all(status).label(status.value) for status in RunStatus))
_STALLED: Final = select(runs.c.agent_name, func.count()).where(rows.is_stalled()).group_by(runs.c.agent_name)
_QUEUED: Final = select(_of_agent(_with(RunStatus.QUEUED)))
_agents: Final = _AGENTS.subquery("agents")


def _newest(status: RunStatus, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A column of an agent's run of that status which ended last."""
    ended = select(column).where(runs.c.agent_name == _agents.c.name, _with(status), runs.c.completed_at.isnot(None))
    return ended.order_by(Instant(runs.c.completed_at).desc(), runs.c.id.desc()).limit(1).scalar_subquery()


_LAST: Final = select(
    _agents.c.name,
    select(runs.c.created_at)
    .where(runs.c.agent_name == _agents.c.name, _with(RunStatus.QUEUED))
    .order_by(Instant(runs.c.created_at))
    .limit(1)
    .scalar_subquery()
    .label("oldest"),
    *(
        _newest(status, column).label(f"{status}_{column.name}")
        for status in (RunStatus.PASSED, RunStatus.FAILED)
        for column in (runs.c.completed_at, runs.c.id, runs.c.final_score)
    ),
)


def overview(connection: Connection, clock: Mapping[str, Any]) -> Overview:
    """Count the runs by status, and tell of every agent what waits."""
    stalled = {name: min(count, listing.NEWEST) for name, count in connection.execute(_STALLED, clock)}
    counts = dict(connection.execute(_ALL_COUNTS).mappings().one())
    counts["stalled"] = min(sum(stalled.values()), listing.NEWEST)
    agents = sorted(connection.execute(_LAST, _EVERY_AGENT), key=lambda row: row.name)
    return Overview(
        counts={name: count for name, count in counts.items() if count},
        agents=tuple(_overview(connection, row, stalled.get(row.name, 0)) for row in agents),
    )


def _overview(connection: Connection, row: Any, stalled: int) -> AgentOverview:
    queued = connection.execute(_QUEUED, {"agent": row.name}).scalar_one() if row.oldest is not None else 0
    ended = [
        (rows.moment(row.passed_completed_at), row.passed_id, row.passed_final_score),
        (rows.moment(row.failed_completed_at), row.failed_id, row.failed_final_score),
    ]
    last = max((one for one in ended if one[0] is not None), key=lambda one: one[:2], default=None)
    return AgentOverview(
        agent=row.name,
        queued=queued,
        stalled=stalled,
        oldest_queued_at=rows.moment(row.oldest),
        last_score=last[2] if last else None,
    )


def stats(connection: Connection, clock: Mapping[str, Any]) -> list[AgentStats]:
    """Give bounded figures of every agent that has runs, by name."""
    names = connection.execute(_AGENTS, _EVERY_AGENT).scalars().all()
    return [_stats(connection, name, clock) for name in sorted(names)]


def _stats(connection: Connection, agent: str, clock: Mapping[str, Any]) -> AgentStats:
    counts = connection.execute(_COUNTS, {"agent": agent, **clock}).mappings().one()
    oldest = connection.execute(_OLDEST, {"agent": agent}).scalar()
    ended = connection.execute(_NEWEST_ENDED, {"agent": agent}).all()
    scores = [row.final_score for row in ended if row.final_score is not None]
    passed = [row.current_attempt for row in ended if row.status == RunStatus.PASSED]
    return AgentStats(
        agent=agent,
        counts={name: count for name, count in counts.items() if count},
        oldest_queued_at=rows.moment(oldest),
        ended=len(ended),
        passed=len(passed),
        mean_score=sum(scores) / len(scores) if scores else None,
        last_score=scores[0] if scores else None,
        mean_attempts=sum(row.current_attempt for row in ended) / len(ended) if ended else None,
        passed_at_attempt=dict(sorted(Counter(passed).items())),
    )
