"""Tests of the failure of a stage as the pages show it."""

from typing import Any

import pytest

from loopkit.core.journal import EventType, RunEvent
from loopkit.core.run import Stage
from loopkit_web.dashboard.views.stage_failure import last_failure, stage_failure
from tests.web.dashboard.value_helpers import START

WHOLE = {"exception": "KeyError", "traceback": "Traceback ...", "at": "a.py:3"}


def make_event(number: int = 1, **fields: Any) -> RunEvent:
    defaults: dict[str, Any] = {"event_type": EventType.ERROR, "stage": Stage.EVALUATING, "attempt": 2, "message": "m"}
    return RunEvent(id=number, run_id="run_1", created_at=START, **defaults | fields)


def test_failure_has_the_place_and_the_stage() -> None:
    """An error event with metadata of the contract gives all of it."""
    failure = stage_failure(make_event(metadata=WHOLE))
    assert failure is not None
    assert (failure.stage, failure.attempt, failure.exception) == (Stage.EVALUATING, 2, "KeyError")
    assert (failure.at, failure.traceback, failure.has_place) == ("a.py:3", "Traceback ...", True)


@pytest.mark.parametrize("metadata", [None, {}, {"exception": 3, "traceback": ["x"], "at": None}])
def test_metadata_of_other_programs_is_no_place(metadata: Any) -> None:
    """Values that are not text are left out; the failure itself is still one."""
    failure = stage_failure(make_event(metadata=metadata))
    assert failure is not None
    assert not failure.has_place


def test_stage_may_log_the_same_keys() -> None:
    """A log event is a failed try only with an exception and a traceback; no other event is a failure."""
    assert stage_failure(make_event(event_type=EventType.LOG, metadata=WHOLE)) is not None
    assert stage_failure(make_event(event_type=EventType.LOG, metadata={"at": "10:15"})) is None
    assert stage_failure(make_event(event_type=EventType.STAGE_CHANGE, metadata=WHOLE)) is None


def test_end_of_a_long_traceback_is_kept() -> None:
    """A traceback has at most 16 KB, its end, where the exception is."""
    failure = stage_failure(make_event(metadata={"traceback": "x" * 100_000 + "KeyError"}))
    assert failure is not None
    assert len(failure.traceback) == 16_384
    assert failure.traceback.endswith("KeyError")


def test_newest_error_counts() -> None:
    """Of several error events the last one ended the run."""
    events = [make_event(n, metadata={"exception": f"E{n}"}) for n in (1, 3, 2)]
    failure = last_failure(events)
    assert failure is not None
    assert failure.exception == "E3"
    assert last_failure([make_event(event_type=EventType.LOG, metadata=WHOLE)]) is None
