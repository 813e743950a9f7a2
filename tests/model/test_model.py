"""Two runners, one run, three attempts: every interleaving keeps every invariant, and every planted bug is found."""

import pytest

from tests.model.__main__ import shown
from tests.model.bugs import BUGS
from tests.model.exploring import explore
from tests.model.protocol import Protocol


def test_every_state_keeps_every_invariant() -> None:
    """In all states of claims, heartbeats, silence, take-overs, kills, late calls, cancels, retries and releases."""
    found = explore(Protocol(), symmetric=True)
    print(f"{found.states} states, {found.steps} steps")
    assert found.broken is None, "\n".join((found.broken, *found.trace))
    assert found.states > 50_000  # the model still holds what it held


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: type[Protocol]) -> None:
    """The explorer names the invariant that the bug breaks; its shortest trace is printed (``pytest -s``)."""
    found = explore(bug())
    print(shown(bug, found))
    assert found.broken == BUGS[bug][1]


def test_there_are_enough_bugs() -> None:
    """A checker that finds nothing proves nothing."""
    assert len(BUGS) >= 24
