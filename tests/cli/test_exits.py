"""Exit statuses of errors."""

import pytest

from loopkit import errors
from loopkit_cli import exits


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.UnknownAgent("x"), 2),
        (errors.InvalidConfig("x"), 2),
        (errors.InvalidDatabase("x"), 2),
        (errors.InvalidInputs([]), 2),
        (errors.StorageUnavailable("x"), 2),
        (errors.SchemaTooNew("x"), 2),
        (errors.RunNotFound("x"), 1),
        (errors.RunEnded("x", "passed"), 1),
        (errors.RunNotEnded("x", "queued"), 1),
        (exits.Refused("x"), 1),
        (errors.RunNotClaimable("x", "y"), 3),
        (errors.LeaseLost("x"), 3),
        (BrokenPipeError(), 1),
    ],
)
def test_an_error_has_the_status_of_its_nearest_class(error: Exception, status: int) -> None:
    """One table decides."""
    assert exits.of_error(error) == status


def test_of_a_group_the_first_error_of_ours_counts() -> None:
    """However deep it lies; without one the first."""
    lost = errors.LeaseLost("x")
    assert exits.plain_error(ExceptionGroup("", [ValueError(), ExceptionGroup("", [lost])])) is lost
    other = ValueError()
    assert exits.plain_error(ExceptionGroup("", [other])) is other
