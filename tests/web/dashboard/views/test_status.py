"""Tests of the status of a run as it is shown."""

from typing import Any

import pytest

from loopkit.core.run import RunStatus
from loopkit_web.dashboard.views.status import StatusKind, status_of
from tests.web.dashboard.value_helpers import START, make_run


@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"status": RunStatus.QUEUED}, StatusKind.QUEUED, "Queued"),
        ({"current_attempt": 2}, StatusKind.RUNNING, "Running (2/3)"),
        ({"stalled": True, "cancel_requested_at": START}, StatusKind.STALLED, "Stalled (1/3)"),
        ({"cancel_requested_at": START}, StatusKind.CANCELLING, "Cancelling (1/3)"),
        ({"status": RunStatus.PASSED, "final_score": 0.91}, StatusKind.PASSED, "Passed (0.91)"),
        ({"status": RunStatus.FAILED}, StatusKind.FAILED, "Failed"),
        ({"status": RunStatus.CANCELLED, "cancel_requested_at": START}, StatusKind.CANCELLED, "Cancelled"),
    ],
)
def test_symbol_and_text(fields: dict[str, Any], kind: StatusKind, text: str) -> None:
    """Stalled and cancelling are shown in place of running, stalled before cancelling; an ended run is neither."""
    status = status_of(make_run(**fields))
    assert (status.kind, status.text) == (kind, text)
