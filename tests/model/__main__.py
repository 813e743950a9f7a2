"""Print the result of exploring the protocols, and the shortest trace to each planted bug."""

import time
from collections.abc import Callable
from functools import partial

from tests.model.bugs import BUGS
from tests.model.explorer import Found, explore
from tests.model.policies import bugs as policy_bugs
from tests.model.policies.exploration import explore as explore_policies
from tests.model.policies.protocol import CONFIGURATIONS
from tests.model.protocol import Protocol


def shown(bug: type[Protocol], found: Found) -> str:
    """Return a bug, its incident and its trace as text."""
    incident, _ = BUGS[bug]
    return f"{bug.__name__} ({incident})\n{traced(found)}"


def traced(found: Found) -> str:
    """Return the broken invariant and the trace to it as text."""
    steps = "\n".join(f"  {number}. {text}" for number, text in enumerate(found.trace, 1))
    return f"breaks: {found.broken}\n{steps}\n"


def _print_bugs() -> None:
    begun = time.monotonic()
    for bug in BUGS:
        print(shown(bug, explore(bug())))
    for policy_bug in policy_bugs.BUGS:
        print(f"{policy_bug.__name__}\n{traced(explore_policies(policy_bug()))}")
    print(f"{len(BUGS) + len(policy_bugs.BUGS)} planted bugs, {time.monotonic() - begun:.1f} s")


def _print_whole(name: str, exploration: Callable[[], Found]) -> None:
    begun = time.monotonic()
    whole = exploration()
    seconds = time.monotonic() - begun
    print(f"{name}: {whole.states} states, {whole.steps} steps, {seconds:.1f} s: {whole.broken or 'all holds'}")


if __name__ == "__main__":
    _print_bugs()
    _print_whole("the protocol", partial(explore, Protocol(), symmetric=True))
    for configuration in CONFIGURATIONS:
        _print_whole(configuration.__name__, partial(explore_policies, configuration(), symmetric=True))
