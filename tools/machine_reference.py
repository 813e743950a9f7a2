"""Generator of docs/reference/machine.md from the table of the machine: `python tools/machine_reference.py`."""

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from loopkit.core.journal import BEGINNINGS
from loopkit.core.machine import NEXT, Signal, State
from loopkit.core.policy import MAX_LOSSES
from loopkit.core.run import RunStatus, Stage

PAGE = Path(__file__).parent.parent / "docs/reference/machine.md"

STATES: tuple[State, ...] = (*list(RunStatus)[:1], *Stage, *list(RunStatus)[2:])
"""Every state, in the order of a run's life; ``running`` is one of the stages."""

INTRODUCTION = f"""\
# The machine

What may happen to a run. This page is made from the table in `loopkit.core.machine` (`make docs`). A running run is in
one of its stages: {", ".join(f"`{stage}`" for stage in BEGINNINGS)}. What the table does not hold cannot happen;
an ended run has no row, so nothing changes it. A run that loses its runner {MAX_LOSSES} times in a row (or as
often as its policy says), with no stage finished in between, ends `failed`.
"""


def page() -> str:
    """Return the page as text."""
    return "\n".join([INTRODUCTION, *diagram(), "", *table(), "", *signals(), ""])


def diagram() -> Iterator[str]:
    """Return the diagram: an arrow for each pair of states, with its signals."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {RunStatus.QUEUED}"
    for state, row in NEXT.items():
        by_target = sorted(row.items(), key=lambda cell: STATES.index(cell[1]))
        for target, cells in groupby(by_target, key=lambda cell: cell[1]):
            yield f"    {state} --> {target}: {', '.join(signal for signal, _ in cells)}"
    yield from (f"    {state} --> [*]" for state in STATES if state not in NEXT)
    yield "```"


def table() -> Iterator[str]:
    """Return the table: a row per signal, a column per state that can change."""
    yield f"| signal | {' | '.join(f'`{state}`' for state in NEXT)} |"
    yield f"|---|{'---|' * len(NEXT)}"
    for signal in Signal:
        cells = (f" `{row[signal]}` |" if signal in row else " |" for row in NEXT.values())
        yield f"| {signal} |{''.join(cells)}"


def signals() -> Iterator[str]:
    """Return the explanation of the signals of a claim."""
    yield "`nothing stored`, `output stored` and `score stored` come from a claim or a take-over: what is stored of the"
    yield "run says where it goes on, so a finished stage is never called again. Everything else comes from the run's"
    yield "holder, but for `cancel seen` of a run that nobody works, and `runner lost`, which a claim meets."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
