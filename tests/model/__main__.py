"""Print what the exploration of the protocol came to, and the shortest trace to each planted bug."""

from __future__ import annotations

import time

from tests.model.bugs import BUGS
from tests.model.exploring import Found, explore
from tests.model.protocol import Protocol


def shown(bug: type[Protocol], found: Found) -> str:
    """Give a bug, its incident and its trace as text."""
    steps = "\n".join(f"  {number}. {text}" for number, text in enumerate(found.trace, 1))
    incident, _ = BUGS[bug]
    return f"{bug.__name__} ({incident})\nbreaks: {found.broken}\n{steps}\n"


if __name__ == "__main__":
    begun = time.monotonic()
    for bug in BUGS:
        print(shown(bug, explore(bug())))
    print(f"{len(BUGS)} planted bugs, {time.monotonic() - begun:.1f} s")
    begun = time.monotonic()
    whole = explore(Protocol(), symmetric=True)
    seconds = time.monotonic() - begun
    print(f"the protocol: {whole.states} states, {whole.steps} steps, {seconds:.1f} s: {whole.broken or 'all holds'}")
