"""Ids of any length, as other programs write them: lists read their beginnings, and the runs keep them whole."""

import tracemalloc
from datetime import timedelta
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy.exc import OperationalError

from loopkit.storage import Order, RunQuery
from loopkit.stores import cursors, list_reference, text_cuts
from loopkit.stores.sql.databases.database import Database
from loopkit.stores.sql.databases.postgresql import PostgresqlDatabase
from loopkit.stores.sql.operations import figures, run_queries, runners, scores
from loopkit.stores.sql.schema import tables
from tests.stores.sql.conftest import CLOCK, Foreign
from tests.stores.sql.test_run_list import START, every_run, pages

SIZES = [1_001, 100_000, 4_000_000]
BEGINNING = "x" * 1_000


def ended(run_id: str, **row: Any) -> dict[str, Any]:
    """Return the row of a run that passed."""
    times = {"created_at": START, "started_at": START, "completed_at": START + timedelta(seconds=1)}
    return {"id": run_id, "status": "passed", "pass_threshold": 0.5, "final_score": 0.5} | times | row


@pytest.mark.parametrize("size", SIZES)
def test_lists_read_the_beginning_of_an_id(database: Database, foreign: Foreign, size: int) -> None:
    """In every order and search the id is cut, and never held whole; the run is read by its whole id as before."""
    run_id = "x" * size
    if size > 100_000 and isinstance(database, PostgresqlDatabase):
        with pytest.raises(OperationalError, match="index row"):  # at most 2,704 bytes, compressed
            foreign.add_runs(ended(run_id))
        return
    foreign.add_runs(ended(run_id), ended(BEGINNING), ended("run_1"))
    foreign.add_runs({"id": "y" * size, "status": "running", "claimed_by": "host:1:x", "created_at": START})
    queries = [RunQuery(order=order, max_chars=50) for order in Order] + [RunQuery()]
    queries += [RunQuery(text="xx"), RunQuery(text="2026", max_chars=50), RunQuery(agent="namer")]
    cut = {BEGINNING + "…", "y" * 1_000 + "…"}
    with database.reading() as connection:
        run_queries.list_runs(connection, database, RunQuery(), CLOCK)
        tracemalloc.start()
        for query in queries:
            listed = run_queries.list_runs(connection, database, query, CLOCK).runs
            assert {run.id for run in listed} <= {*cut, BEGINNING, "run_1"}, query
            assert [run.id for run in listed if run.is_cut] == [run.id for run in listed if run.id in cut]
            assert any(run.id in cut for run in listed), query
        for limit in (None, 50):
            [held] = runners.holdings(connection, 10, CLOCK, limit)
            assert (held.id, held.is_cut) == ("y" * 1_000 + "…", True)
        assert figures.overview(connection, CLOCK).counts == {"passed": 3, "running": 1, "stalled": 1}
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3_000_000
        for limit in (None, 50):
            whole = run_queries.get_run(connection, run_id, CLOCK, limit)
            assert (whole.id, whole.is_cut) == (run_id, False)


def test_nothing_of_another_run_is_read_for_a_cut_id(database: Database, foreign: Foreign) -> None:
    """Neither scores nor the best attempt of a run whose whole id is what a list shows of another."""
    shown = BEGINNING + "…"
    foreign.add_runs(ended(BEGINNING + "yy"), ended(shown))
    row = {"attempt": 1, "artifact_type": "evaluation", "filename": "e.json", "content": '{"score": 0.5}'}
    foreign.add(tables.artifacts, {"run_id": shown, **row})
    with database.reading() as connection:
        listed = run_queries.list_runs(connection, database, RunQuery(), CLOCK).runs
        assert [(run.id, run.best_attempt) for run in listed] == [(shown, None)] * 2
        assert run_queries.get_run(connection, shown, CLOCK).best_attempt == 1
        assert scores.trajectories(connection, [BEGINNING + "yy"])[BEGINNING + "yy"].scores == ()


def test_a_search_for_words_leaves_long_ids_out(database: Database, foreign: Foreign) -> None:
    """A run is found by a word of its title, unless its id is too long."""
    foreign.add_runs(ended(BEGINNING + "y", title="Of spring"), ended(BEGINNING, title="Of spring"))
    with database.reading() as connection:
        listed = run_queries.list_runs(connection, database, RunQuery(text="spring"), CLOCK).runs
    assert [run.id for run in listed] == [BEGINNING]


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_advance_and_end(database: Database, foreign: Foreign, order: Order, limit: int) -> None:
    """No run is on two pages; one is left out only after a page that ends with an id that begins like its own."""
    ends = ("", "\x01", "a", "b", "z" * 3_000, "\U0010ffff", "\U0010ffffa")
    beginnings = ("\U0010ffff" * 1_000, "é" * 1_000, BEGINNING, BEGINNING[:-1] + "y", "w")
    ids = [beginning + end for beginning in beginnings for end in ends]
    moments = [START, START + timedelta(milliseconds=1)]
    foreign.add_runs(*(ended(run_id, created_at=moments[number % 2]) for number, run_id in enumerate(ids)))
    listed = [run.id for run in pages(database, RunQuery(order=order, limit=limit))]
    runs = every_run(database, ids)
    expected: list[str] = []
    query = RunQuery(order=order, limit=limit)
    while True:
        page = list_reference.page(runs, query)
        expected += [text_cuts.listed_id(run.id) for run in page.runs]
        if page.next_cursor is None:
            break
        query = evolve(query, cursor=page.next_cursor)
    assert listed == expected
    whole = [run_id for run_id in listed if not text_cuts.is_cut_id(run_id)]
    assert len(whole) == len(set(whole))
    assert {run_id[:1_000] for run_id in listed} == {run_id[:1_000] for run_id in ids}
    assert {run_id for run_id in ids if len(run_id) < 1_000} <= set(listed)


def test_a_cursor_holds_any_beginning(sqlite_database: Database, foreign_on_sqlite: Foreign) -> None:
    """Whatever characters an id has, the cursor after it can be read."""
    for mark in ("\U0001f600", "\x01", "'", "é"):
        cursor = cursors.make_cursor(Order.CREATED, 1767225600000, mark * 5_000)
        assert cursors.read_cursor(cursor, Order.CREATED) == (1767225600000, mark * 1_000)
    foreign_on_sqlite.add_runs(*(ended("\U0001f600" * 2_000 + str(number)) for number in range(3)), ended("a"))
    listed = pages(sqlite_database, RunQuery(limit=1))
    assert [run.id for run in listed] == ["\U0001f600" * 1_000 + "…", "a"]
