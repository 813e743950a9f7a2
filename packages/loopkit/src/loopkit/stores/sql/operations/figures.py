"""Statistics over the runs of each agent: counts, backlogs and scores. No claim depends on them.

Every figure is bounded, so that a million runs cost as much as a thousand: a count stops at 1,000, and scores cover an
agent's newest 1,000 ended runs.
"""

from collections import Counter
from typing import Final

from sqlalchemy import ColumnElement, Connection, bindparam, func, literal_column, select, union_all

from loopkit.core.run import ENDED, RunStatus
from loopkit.storage import AgentOverview, AgentStats, Overview
from loopkit.stores import cursors, text_cuts
from loopkit.stores.sql.operations.label_filters import LAST_CHARACTER
from loopkit.stores.sql.operations.run_list import agent_names
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.expressions import AnyColumn, AnyRow, literal
from loopkit.stores.sql.schema.tables import listed_status, runs
from loopkit.stores.sql.schema.timestamps import ClockParameters, Instant

__all__ = ["overview", "stats"]

_MOST_AGENTS: Final = 1000
"""Most agents of which figures are given."""


def _count_of_agent(*where: ColumnElement[bool]) -> ColumnElement[int]:
    """Count an agent's runs, up to 1,000, in the order of an index that serves the count."""
    bounded = select(runs.c.id).where(runs.c.agent_name == bindparam("agent"), *where)
    bounded = bounded.order_by(Instant(runs.c.created_at), runs.c.id).limit(cursors.NEWEST)
    return select(func.count()).select_from(bounded.subquery()).scalar_subquery()


def _with(status: RunStatus) -> ColumnElement[bool]:
    return listed_status == literal(status)


def _count_of_all(status: RunStatus) -> ColumnElement[int]:
    """Count the newest runs of all agents, up to 1,000: those are most likely in the database's cache."""
    newest = select(runs.c.id).where(_with(status)).order_by(Instant(runs.c.created_at).desc(), runs.c.id.desc())
    return select(func.count()).select_from(newest.limit(cursors.NEWEST).subquery()).scalar_subquery()


_COUNTS: Final = select(
    *(_count_of_agent(_with(status)).label(status.value) for status in RunStatus),
    _count_of_agent(rows.is_stalled()).label("stalled"),
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
            .limit(cursors.NEWEST)
            .subquery()
        )
        for status in sorted(ENDED)
    )
).subquery()
_NEWEST_ENDED: Final = (
    select(_ended.c.status, _ended.c.final_score, _ended.c.current_attempt)
    .order_by(Instant(_ended.c.completed_at).desc(), _ended.c.id.desc())
    .limit(cursors.NEWEST)
)
_AGENTS: Final = agent_names(low=bindparam("low"), high=bindparam("high"), limit=_MOST_AGENTS)
_EVERY_AGENT: Final = {"low": "", "high": LAST_CHARACTER}

_ALL_COUNTS: Final = select(*(_count_of_all(status).label(status.value) for status in RunStatus))
_beginning: Final = func.substr(
    runs.c.agent_name, literal_column("1"), literal_column(str(text_cuts.MAX_NAME_CHARS + 1))
)
_STALLED: Final = select(_beginning, func.count()).where(rows.is_stalled()).group_by(_beginning)
_QUEUED: Final = select(_count_of_agent(_with(RunStatus.QUEUED)))
_agents: Final = _AGENTS.subquery("agents")


_OF_LAST: Final = {
    "completed_at": runs.c.completed_at,
    "id": rows.id_beginning(text_cuts.MAX_ID_CHARS),
    "final_score": runs.c.final_score,
}
"""Columns that are read of a run that ended last."""


def _newest(status: RunStatus, column: AnyColumn) -> AnyColumn:
    """Select a column of the run of an agent that ended last with this status."""
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
        _newest(status, column).label(f"{status}_{name}")
        for status in (RunStatus.PASSED, RunStatus.FAILED)
        for name, column in _OF_LAST.items()
    ),
)


def overview(connection: Connection, clock: ClockParameters) -> Overview:
    """Return the number of runs by status, and the backlog of every agent whose name is not too long."""
    stalled = {name: min(count, cursors.NEWEST) for name, count in connection.execute(_STALLED, clock)}
    counts = dict(connection.execute(_ALL_COUNTS).mappings().one())
    counts["stalled"] = min(sum(stalled.values()), cursors.NEWEST)
    agents = sorted(connection.execute(_LAST, _EVERY_AGENT), key=lambda row: row.name)
    return Overview(
        counts={name: count for name, count in counts.items() if count},
        agents=tuple(_overview(connection, row, stalled.get(row.name, 0)) for row in agents),
    )


def _overview(connection: Connection, row: AnyRow, stalled: int) -> AgentOverview:
    queued = connection.execute(_QUEUED, {"agent": row.name}).scalar_one() if row.oldest is not None else 0
    ended = [
        (rows.moment(row.passed_completed_at), row.passed_id, row.passed_final_score),
        (rows.moment(row.failed_completed_at), row.failed_id, row.failed_final_score),
    ]
    last = max((run for run in ended if run[0] is not None), key=lambda run: run[:2], default=None)
    return AgentOverview(
        agent=row.name,
        queued=queued,
        stalled=stalled,
        oldest_queued_at=rows.moment(row.oldest),
        last_score=last[2] if last else None,
    )


def stats(connection: Connection, clock: ClockParameters) -> list[AgentStats]:
    """Return bounded figures of every agent that has runs, by name; of none whose name is too long."""
    names = connection.execute(_AGENTS, _EVERY_AGENT).scalars().all()
    return [_stats(connection, name, clock) for name in sorted(names)]


def _stats(connection: Connection, agent: str, clock: ClockParameters) -> AgentStats:
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
