"""Runs move between kinds of databases with their ids and journals."""

import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from loopkit.core import strict_json
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.postgresql import PostgresqlDatabase
from loopkit.stores.sql.databases.urls import open_database
from loopkit.stores.sql.operations import export, verify
from loopkit.stores.sql.schema import tables
from loopkit.stores.sql.schema.migrations import migrate
from tests.stores.sql import history_helpers
from tests.stores.sql.conftest import Foreign

DOUBLES = ("pass_threshold", "final_score", "heartbeat_seconds", "stage_seconds")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return history_helpers.record(tmp_path_factory.mktemp("histories"))[1]


def exported(database: Database, after: str = "", limit: int = 1000) -> list[dict[str, Any]]:
    with database.snapshot() as connection:
        return export.export_runs(connection, after, limit)


def bring(database: Database, exported: list[dict[str, Any]]) -> None:
    with database.writing() as connection:
        export.import_runs(connection, database, exported)


def test_an_import_restores_what_was_exported(database: Database, recorded: list[dict[str, Any]]) -> None:
    """An export is the same after any sequence of databases, down to ids and white space in JSON; it is strict JSON."""
    with database.reading() as connection:
        assert export.is_empty(connection)
    bring(database, recorded)
    assert exported(database) == recorded
    assert strict_json.loads_or_text(strict_json.dumps(recorded)) == recorded
    with database.reading() as connection:
        assert not export.is_empty(connection)
    with database.snapshot() as connection:
        assert verify.check(connection, database) == []


def test_an_import_keeps_every_digit(database: Database, recorded: list[dict[str, Any]]) -> None:
    """Numbers of up to 17 digits and of any size are exported as they were imported."""
    draw = random.Random(17)
    numbers = [draw.random() * 10 ** draw.randint(-300, 300) for _ in range(200)]
    numbers += [0.0, 5e-324, 2.2250738585072014e-308, 1e22, 1e308, -1e308, 3.0]
    runs = [
        {part: [] for part in recorded[0]}
        | {"run": recorded[0]["run"] | {"id": f"r{place:03}", **dict.fromkeys(DOUBLES, number)}}
        for place, number in enumerate(numbers)
    ]
    bring(database, runs)
    assert exported(database) == runs


def test_an_export_comes_in_parts(
    database: Database, recorded: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts are sorted by id and bounded by runs and bytes, and each has at least one run."""
    bring(database, recorded)
    for limit, most in ((3, 1 << 20), (100, 2), (100, 0)):
        monkeypatch.setattr(export, "MOST_BYTES", most)
        gathered: list[dict[str, Any]] = []
        while part := exported(database, gathered[-1]["run"]["id"] if gathered else "", limit):
            assert len(part) <= limit
            gathered += part
        assert gathered == recorded


def test_new_rows_get_ids_above_the_imported_ones(
    database: Database, foreign: Foreign, recorded: list[dict[str, Any]]
) -> None:
    """The database assigns ids above the copied ones."""
    bring(database, recorded)
    foreign.add(tables.events, {"run_id": "r", "event_type": "log"})
    highest = max(event["id"] for run in recorded for event in run["events"])
    with database.reading() as connection:
        assert connection.execute(text("SELECT max(id) FROM workflow_events")).scalar() == highest + 1


def test_a_repeated_import_writes_once(database: Database, recorded: list[dict[str, Any]]) -> None:
    """An import with an unknown outcome can be repeated."""
    bring(database, recorded)
    bring(database, recorded)
    assert exported(database) == recorded


def test_rows_of_other_programs_move_as_well(tmp_path: Path, postgres_url: str) -> None:
    """Text in a JSON column and times in the other format keep their meaning."""
    source = open_database(f"sqlite:///{tmp_path / 'x.db'}")
    target = open_database(postgres_url)
    for database in (source, target):
        migrate(database)
    foreign = Foreign(source)
    foreign.add_runs({"id": "r", "inputs": "no json", "created_at": "2026-01-01 00:00:00"})
    bring(target, exported(source))
    (moved,) = exported(target)
    assert (moved["run"]["inputs"], moved["run"]["created_at"]) == ('"no json"', "2026-01-01T00:00:00.000Z")
    assert isinstance(target, PostgresqlDatabase)
    for database in (source, target):
        database.close()
