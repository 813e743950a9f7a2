"""Two runners, one run, three attempts: every interleaving keeps every invariant, and every planted bug is found."""

import pytest

from tests.model.__main__ import shown
from tests.model.bugs import BUGS
from tests.model.explorer import explore
from tests.model.protocol import Protocol


def test_every_state_keeps_every_invariant() -> None:
    """The states include heartbeats, silence, take-overs, kills, late calls, cancels, retries and releases."""
    exploration = explore(Protocol(), symmetric=True)
    print(f"{exploration.states} states, {exploration.steps} steps")
    assert exploration.broken is None, "\n".join((exploration.broken, *exploration.trace))
    assert exploration.states > 50_000  # the model still holds what it held


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: type[Protocol]) -> None:
    """The explorer names the invariant that the bug breaks; its shortest trace is printed (``pytest -s``)."""
    exploration = explore(bug())
    print(shown(bug, exploration))
    assert exploration.broken == BUGS[bug][1]


def test_there_are_enough_bugs() -> None:
    """There are enough bugs to show that the explorer finds what it should."""
    assert len(BUGS) >= 24
