"""Scores of many runs in one call."""

from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.operations import scores
from loopkit.stores.sql.schema import tables
from tests.stores.sql.conftest import Foreign


def test_trajectories_of_every_writer(database: Database, foreign: Foreign) -> None:
    """Scores are sorted by attempt; loopkit's are read from their column, those of another program from its JSON."""
    foreign.add_runs({"id": "ours"}, {"id": "theirs"}, {"id": "none"})
    for run_id, own in (("ours", True), ("theirs", False)):
        for attempt, score in ((2, 0.75), (1, 0.5)):
            values = {"run_id": run_id, "attempt": attempt, "artifact_type": "evaluation", "filename": "e"}
            content = {"content": "{}", "score": score} if own else {"content": f'{{"score": {score}}}'}
            foreign.add(tables.artifacts, values | content)
    with database.reading() as connection:
        trajectories = scores.trajectories(connection, ["theirs", "nobody", "ours", "none"])
    assert {run_id: trajectory.scores for run_id, trajectory in trajectories.items()} == {
        "theirs": ((1, 0.5), (2, 0.75)),
        "ours": ((1, 0.5), (2, 0.75)),
        "none": (),
    }
