"""The page about the machine shows the table as it is."""

import re

from loopkit.core.machine import NEXT, Signal
from tools import machine_reference


def test_the_page_is_made_from_the_table() -> None:
    """``make docs`` was run after the last change of the table."""
    assert machine_reference.PAGE.read_text(encoding="utf-8") == machine_reference.page()


def test_the_diagram_holds_every_cell() -> None:
    """Read back, the arrows are the table."""
    cells = set()
    for source, target, signals in re.findall(r"^    (\w+) --> (\w+): (.+)$", machine_reference.page(), re.MULTILINE):
        cells |= {(source, signal, target) for signal in signals.split(", ")}
    assert cells == {(str(state), str(signal), str(to)) for state, row in NEXT.items() for signal, to in row.items()}


def test_every_signal_has_a_row() -> None:
    """The table of the page leaves nothing out."""
    rows = re.findall(r"^\| ([a-z ]+?) \|", machine_reference.page(), re.MULTILINE)
    assert rows[1:] == [str(signal) for signal in Signal]
