"""Everything can be moved from one kind of database to another, ids and journal kept."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from loopkit.core import plain
from loopkit.stores.sql import checking, copying, tables
from loopkit.stores.sql.dialects import Database, Kind, open_database
from loopkit.stores.sql.migrations import migrate
from tests.stores.sql import histories
from tests.stores.sql.conftest import Foreign


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return histories.record(tmp_path_factory.mktemp("histories"))[1]


def export(database: Database, after: str = "", limit: int = 1000) -> list[dict[str, Any]]:
    with database.snapshot() as connection:
        return copying.export_runs(connection, after, limit)


def bring(database: Database, exported: list[dict[str, Any]]) -> None:
    with database.writing() as connection:
        copying.import_runs(connection, exported)


def test_what_was_exported_is_there_as_it_was(database: Database, recorded: list[dict[str, Any]]) -> None:
    """After any way of databases an export is the same, to the id and the blank in a JSON text; it is plain JSON."""
    with database.reading() as connection:
        assert copying.is_empty(connection)
    bring(database, recorded)
    assert export(database) == recorded
    assert plain.loads(plain.dumps(recorded)) == recorded
    with database.reading() as connection:
        assert not copying.is_empty(connection)
    with database.snapshot() as connection:
        assert checking.check(connection) == []


def test_it_comes_in_parts(database: Database, recorded: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts follow each other by id, each of at most so many runs and so many bytes, but never of none."""
    bring(database, recorded)
    for limit, most in ((3, 1 << 20), (100, 2), (100, 0)):
        monkeypatch.setattr(copying, "MOST_BYTES", most)
        gathered: list[dict[str, Any]] = []
        while part := export(database, gathered[-1]["run"]["id"] if gathered else "", limit):
            assert len(part) <= limit
            gathered += part
        assert gathered == recorded


def test_new_rows_get_ids_above_those_brought_along(
    database: Database, foreign: Foreign, recorded: list[dict[str, Any]]
) -> None:
    """The database draws on where the copied ids end."""
    bring(database, recorded)
    foreign.add(tables.events, {"run_id": "r", "event_type": "log"})
    highest = max(event["id"] for run in recorded for event in run["events"])
    with database.reading() as connection:
        assert connection.execute(text("SELECT max(id) FROM workflow_events")).scalar() == highest + 1


def test_the_same_part_twice_is_written_once(database: Database, recorded: list[dict[str, Any]]) -> None:
    """An import whose outcome was unknown may be made again."""
    bring(database, recorded)
    bring(database, recorded)
    assert export(database) == recorded


def test_rows_of_other_programs_move_as_well(tmp_path: Path, postgres_url: str) -> None:
    """Text where JSON belongs and times in the other format arrive as what they mean."""
    source = open_database(f"sqlite:///{tmp_path / 'x.db'}")
    target = open_database(postgres_url)
    for database in (source, target):
        migrate(database)
    foreign = Foreign(source)
    foreign.add_runs({"id": "r", "inputs": "no json", "created_at": "2026-01-01 00:00:00"})
    bring(target, export(source))
    (moved,) = export(target)
    assert (moved["run"]["inputs"], moved["run"]["created_at"]) == ('"no json"', "2026-01-01T00:00:00.000Z")
    assert target.kind is Kind.POSTGRESQL
    for database in (source, target):
        database.close()
