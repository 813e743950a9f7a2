"""Pruning deletes whole ended runs, and nothing else."""

from datetime import timedelta

from sqlalchemy import select

from loopkit.core.run import RunStatus
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.operations import prune
from loopkit.stores.sql.schema import tables
from tests.stores.sql.conftest import NOON, Foreign, at


def test_prune_deletes_whole_ended_runs(database: Database, foreign: Foreign) -> None:
    """The oldest ended runs are deleted first, with all their rows, in batches; nothing else is, however old it is."""
    for number, status in enumerate(RunStatus):
        moment = NOON - timedelta(hours=number)
        ended = {"completed_at": moment} if status.ended else {}
        foreign.add_runs({"id": status.value, "status": status.value, "created_at": NOON - timedelta(days=9), **ended})
        foreign.add(tables.events, {"run_id": status.value, "event_type": "log"})
        values = {"run_id": status.value, "attempt": 1, "artifact_type": "output", "filename": "f", "content": ""}
        foreign.add(tables.artifacts, values)
        call = {"call_id": "c", "stage": "producing", "attempt": 1, "try_number": 1, "state": "failed"}
        foreign.add(tables.usage, {"run_id": status.value, **call})
        verdict = {"attempt": 1, "kind": "check", "name": "n", "sample": 1, "made_by": "m", "score": 1, "feedback": ""}
        foreign.add(tables.verdicts, {"run_id": status.value, "detail": "{}", **verdict})
        foreign.add(tables.keys, {"key": status.value, "fingerprint": "f", "run_id": status.value})
    foreign.add_runs({"id": "endless", "status": "passed", "created_at": NOON - timedelta(days=9)})

    def pruned(age: timedelta, limit: int = 500) -> list[str]:
        with database.writing() as connection:
            return prune.prune(connection, age, limit, at(foreign, NOON))

    assert pruned(timedelta(days=1)) == []
    assert pruned(timedelta(hours=3), 1) == ["cancelled"]
    assert pruned(timedelta(hours=3), 1) == []
    assert pruned(timedelta(hours=1), 0) == []
    assert pruned(timedelta(hours=1)) == ["failed", "passed"]
    with database.reading() as connection:
        for table in tables.events, tables.artifacts, tables.keys, tables.usage, tables.verdicts:
            assert set(connection.execute(select(table.c.run_id)).scalars()) == {"queued", "running"}
        assert set(connection.execute(tables.runs.select().with_only_columns(tables.runs.c.id)).scalars()) == {
            "queued",
            "running",
            "endless",
        }
