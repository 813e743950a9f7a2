"""Tests of the list of runs as it is shown."""

from datetime import timedelta
from typing import Any

import pytest

from loopkit.core.run import Run, RunStatus, Stage
from loopkit.storage import AgentOverview, Order, Overview, RunPage
from loopkit_web.dashboard.views.run_list_view import Filters, RunListView, run_list_view
from tests.web.dashboard.value_helpers import START, make_run


def list_view(*runs: Run, filters: Filters | None = None, served: frozenset[str] | None = None) -> RunListView:
    overview = Overview(counts={"queued": 2, "stalled": 1, "running": 3}, agents=(AgentOverview(agent="old"),))
    page = RunPage(runs=runs, next_cursor=None)
    return run_list_view(filters or Filters(), page, {}, overview, ["new"], served)


def test_unknown_values_are_not_part_of_the_query() -> None:
    """Values that are not known select everything, in the usual order."""
    query = Filters(status="strange", range="strange", order="strange", q=" a ").query(START)
    assert (query.statuses, query.created_since, query.order, query.text) == (frozenset(), None, Order.CREATED, "a")
    query = Filters(status="attention", range="1h").query(START)
    assert (query.stalled, query.created_since) == (True, START - timedelta(hours=1))


def test_path_leads_to_the_first_page() -> None:
    """Another filter drops the cursor, and keeps the other filters."""
    filters = Filters(status="passed", agent="a", cursor="c", part="rows")
    assert filters.path(status="failed") == "/agents?status=failed&agent=a"
    assert filters.path(status=None, agent=None) == "/agents"


def test_chips_count_all_runs_and_stalled_ones_once() -> None:
    """Stalled runs are counted among the running ones, and have a chip of their own where there are some."""
    view = list_view()
    assert [(chip.label, chip.count) for chip in view.chips][:3] == [("All", 5), ("Needs attention", 1), ("Running", 3)]
    assert view.agents == ("new", "old")


@pytest.mark.parametrize(
    ("filters", "has_counts"),
    [
        (Filters(status="failed"), True),
        (Filters(agent="new"), False),
        (Filters(range="1h"), False),
        (Filters(q="word"), False),
        (Filters(tag=("weekly",)), False),
        (Filters(reason="plateau"), False),
    ],
)
def test_chips_have_counts_where_they_hold(filters: Filters, has_counts: bool) -> None:
    """Beside a list that another filter than the status narrows, the counts of all runs would contradict it."""
    assert {chip.count is not None for chip in list_view(filters=filters).chips} == {has_counts}


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"stalled": True}, "No heartbeat"),
        ({"cancel_requested_at": START, "current_stage": Stage.REVISING}, "After this revision"),
        ({"cancel_requested_at": START}, "After this stage"),
        ({"current_stage": Stage.EVALUATING}, "Evaluating"),
        ({"status": RunStatus.QUEUED}, "No runner serves it"),
        ({"status": RunStatus.PASSED, "best_attempt": 2}, "On attempt 2"),
        ({"status": RunStatus.CANCELLED, "started_at": None}, "Before it started"),
        ({"status": RunStatus.FAILED, "error_message": "evaluate: timed out"}, "In attempt 1"),
        ({"status": RunStatus.FAILED}, "All 3 attempts used"),
        ({"status": RunStatus.FAILED, "max_attempts": 1}, "The only attempt used"),
    ],
)
def test_detail_below_the_status(fields: dict[str, Any], detail: str) -> None:
    """Each status has a few words of context."""
    [row] = list_view(make_run(**fields), served=frozenset()).rows
    assert row.detail == detail


def test_reason_of_a_failure_is_readable() -> None:
    """A failed run has its error, on one line and long enough to tell failures apart; other runs have none."""
    message = "evaluate: ConnectionError: the model server\nrefused the connection after 3 tries"
    [row] = list_view(make_run(status=RunStatus.FAILED, error_message=message)).rows
    assert row.reason == message.replace("\n", " ")
    for fields in ({}, {"status": RunStatus.FAILED}, {"status": RunStatus.PASSED}):
        [row] = list_view(make_run(**fields)).rows
        assert row.reason == ""


def test_rows_are_grouped_by_day_in_the_order_of_creation() -> None:
    """In the order of creation rows have a day; in any other order there is one group without a day."""
    runs = [make_run(id=f"run_{n}", created_at=START - timedelta(hours=n)) for n in (0, 8, 12)]
    days = [(str(day), len(rows)) for day, rows in list_view(*runs).days]
    assert days == [("2026-11-22", 2), ("2026-11-21", 1)]
    [(day, rows)] = list_view(*runs, filters=Filters(order="score")).days
    assert (day, len(rows)) == (None, 3)
