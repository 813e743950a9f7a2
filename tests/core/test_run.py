"""A run and a lease as values."""

import math
from datetime import UTC, datetime
from typing import Any

import pytest

from loopkit.core.lease import Lease
from loopkit.core.outcome import Evaluation
from loopkit.core.run import ENDED, NewRun, Run, RunStatus
from loopkit.errors import UnusableOption

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize("status", RunStatus)
def test_three_statuses_are_ends(status: RunStatus) -> None:
    """Passed, failed and cancelled."""
    assert status.ended is (status in ENDED)
    assert {status.value for status in ENDED} == {"passed", "failed", "cancelled"}


@pytest.mark.parametrize("threshold", [0, 0.0, 1, 1.0, 0.5])
def test_a_threshold_is_between_nothing_and_all(threshold: float) -> None:
    """Both ends included."""
    assert NewRun(agent_name="a", inputs={}, pass_threshold=threshold).pass_threshold == threshold


@pytest.mark.parametrize(
    "wrong", [-0.01, 1.01, math.nan, math.inf, True, "0.5", None, pytest.param(10**400, id="vast")]
)
def test_another_threshold_is_refused(wrong: Any) -> None:
    """Not a number is not in the range either, nor is a truth a number."""
    with pytest.raises(UnusableOption, match=r"pass_threshold must be a number in 0\.\.1"):
        NewRun(agent_name="a", inputs={}, pass_threshold=wrong)


@pytest.mark.parametrize("attempts", [1, 2**31 - 1])
def test_a_run_has_as_many_attempts_as_a_column_holds(attempts: int) -> None:
    """Both ends included."""
    assert NewRun(agent_name="a", inputs={}, max_attempts=attempts).max_attempts == attempts


@pytest.mark.parametrize("wrong", [0, -1, 2**31, pytest.param(10**5000, id="vast"), 2.5, 2.0, True, "3", None])
def test_other_attempts_are_refused(wrong: Any) -> None:
    """A loop that may not begin is none, and half an attempt cannot be counted."""
    with pytest.raises(UnusableOption, match=r"max_attempts must be a whole number in 1\.\.2147483647"):
        NewRun(agent_name="a", inputs={}, max_attempts=wrong)


@pytest.mark.parametrize(
    ("fields", "headline"),
    [
        ({"status": RunStatus.QUEUED}, "Queued"),
        ({}, "Running (2/3)"),
        ({"cancel_requested_at": NOON}, "Cancelling (2/3)"),
        ({"stalled": True, "cancel_requested_at": NOON}, "Stalled (2/3)"),
        ({"status": RunStatus.PASSED, "final_score": 0.914}, "Passed (0.91)"),
        ({"status": RunStatus.FAILED, "final_score": 0.65}, "Failed (0.65)"),
        ({"status": RunStatus.FAILED, "final_score": 0.7999}, "Failed (0.7999)"),
        ({"status": RunStatus.PASSED, "final_score": 0.8}, "Passed (0.80)"),
        ({"status": RunStatus.FAILED}, "Failed"),
        ({"status": RunStatus.CANCELLED, "final_score": 0.65}, "Cancelled"),
    ],
)
def test_a_headline_has_the_attempt_or_the_score(fields: dict[str, Any], headline: str) -> None:
    """The same words in the terminal and on the pages, so that people recognise them."""
    given: dict[str, Any] = {"id": "run_1", "agent_name": "a", "cycle_id": "c", "status": RunStatus.RUNNING}
    given |= {"current_attempt": 2, "max_attempts": 3, "pass_threshold": 0.8, "inputs": {}, "created_at": NOON}
    assert Run(**given | fields).headline == headline


def test_tokens_begin_at_one() -> None:
    """A lease without a claim cannot be made."""
    with pytest.raises(ValueError, match="fencing_token"):
        Lease(run_id="run_1", lease_id="x", claimed_by="y", fencing_token=0)


def test_an_evaluation_is_read_by_key() -> None:
    """Score, feedback and the rest, and a missing key is an error."""
    evaluation = Evaluation(0.5, "f", rest={"criteria": {"a": 1}})
    assert dict(evaluation) == {"score": 0.5, "feedback": "f", "criteria": {"a": 1}}
    assert len(evaluation) == 3
    with pytest.raises(KeyError):
        evaluation["other"]
