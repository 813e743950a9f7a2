"""Two runners, one run with a policy: every interleaving keeps every invariant, and every planted bug is found."""

from typing import Final

import pytest

from tests.model.__main__ import traced
from tests.model.policies.bugs import BUGS
from tests.model.policies.exploration import explore
from tests.model.policies.protocol import CONFIGURATIONS, PolicyProtocol

LEAST_STATES: Final = 5_000


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda configuration: configuration.__name__)
def test_every_state_keeps_every_invariant(configuration: type[PolicyProtocol]) -> None:
    """The states include kills, take-overs, zombies, lost calls and answers, cancels, releases and every ending."""
    exploration = explore(configuration(), symmetric=True)
    print(f"{exploration.states} states, {exploration.steps} steps")
    assert exploration.broken is None, "\n".join((exploration.broken, *exploration.trace))
    assert exploration.states > LEAST_STATES  # the model still holds what it held


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_planted_bug_is_found(bug: type[PolicyProtocol]) -> None:
    """The explorer names the invariant that the bug breaks; its shortest trace is printed (``pytest -s``)."""
    exploration = explore(bug())
    print(f"{bug.__name__}\n{traced(exploration)}")
    assert exploration.broken == BUGS[bug]


def test_there_are_enough_bugs() -> None:
    """There are enough bugs to show that the explorer finds what it should."""
    assert len(BUGS) >= 30
