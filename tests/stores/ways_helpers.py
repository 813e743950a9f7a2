"""A counter of the two ways in which a store in a database writes changes: as meant, and carefully."""

from collections import Counter

import pytest

from loopkit.stores.sql.statements.parameters import SqlValue, Values
from loopkit.stores.sql.writes import requests, sqlite_executor
from loopkit.stores.sql.writes.requests import RecordChange


def count_ways(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the changes that each way wrote from now on, in any database."""
    ways: Counter[str] = Counter()
    set_written_as_meant, change_values = RecordChange.set_written_as_meant, requests.change_values

    def as_meant(record: RecordChange, at: SqlValue) -> None:
        ways["as meant"] += 1
        set_written_as_meant(record, at)

    def carefully(record: RecordChange) -> Values:
        ways["carefully"] += 1
        return change_values(record)

    monkeypatch.setattr(RecordChange, "set_written_as_meant", as_meant)
    for module in requests, sqlite_executor:
        monkeypatch.setattr(module, "change_values", carefully)
    return ways


def assert_both_taken(ways: Counter[str], least: int) -> None:
    """Check that each way was taken, so that both are compared."""
    assert min(ways["as meant"], ways["carefully"]) >= least, ways
