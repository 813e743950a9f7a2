"""Scores of many runs in one call, for lists of runs."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, select

from loopkit.storage import Trajectory
from loopkit.stores.sql.operations import run_queries
from loopkit.stores.sql.schema.tables import runs

__all__ = ["trajectories"]

_MOST_RUNS: Final = 200
"""Most runs whose scores are read in one call."""

_KNOWN: Final = select(runs.c.id).where(runs.c.id.in_(bindparam("run_ids", expanding=True)))


def trajectories(connection: Connection, run_ids: Sequence[str]) -> dict[str, Trajectory]:
    """Return the scores of up to 200 runs by run id; ids without a run are left out."""
    requested = list(run_ids[:_MOST_RUNS])
    known = set(connection.execute(_KNOWN, {"run_ids": requested}).scalars())
    scores = run_queries.read_scores(connection, known)
    return {
        run_id: Trajectory(run_id=run_id, scores=tuple(scores.get(run_id, ())))
        for run_id in requested
        if run_id in known
    }
