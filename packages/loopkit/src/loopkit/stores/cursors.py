"""Cursors of the run list, and the bounds of the lengths of pages."""

import base64
import json
from typing import Final

from loopkit.core import strict_json
from loopkit.errors import UnusableOption
from loopkit.storage import Order
from loopkit.stores.text_cuts import MAX_ID_CHARS

__all__ = ["MOST_EVENTS", "MOST_RUNS", "NEWEST", "clamp_events", "clamp_runs", "make_cursor", "read_cursor"]

NEWEST: Final = 1000
"""Number of the newest matches that a sort by score or duration covers, and of runs that figures cover."""
MOST_RUNS: Final = 200
"""Most runs of a page."""
MOST_EVENTS: Final = 1000
"""Most events that one call returns."""

_CURSOR_VERSION: Final = 1
_MOST_CHARACTERS: Final = 16_384
"""As many as an id of :data:`MAX_ID_CHARS` characters takes, each written as a pair of escapes."""
_LARGEST_KEY: Final = 253_402_300_799_999
"""Sort keys are milliseconds since 1970, seconds, or scores; this is the last millisecond that a datetime has."""


def clamp_runs(limit: int) -> int:
    """Return the number of runs of a page: ``limit``, but 1 to :data:`MOST_RUNS`."""
    return min(max(limit, 1), MOST_RUNS)


def clamp_events(limit: int) -> int:
    """Return the number of events to read: ``limit``, but 1 to :data:`MOST_EVENTS`."""
    return min(max(limit, 1), MOST_EVENTS)


def make_cursor(order: Order, key: float, run_id: str) -> str:
    """Return an opaque cursor for the place after a run: its sort key in this order, and its id as lists read it.

    After a run whose id is cut, runs with the same key whose ids have the same first characters are left out.
    """
    document = json.dumps([_CURSOR_VERSION, order.value, key, run_id[:MAX_ID_CHARS]])
    return base64.urlsafe_b64encode(document.encode()).decode().rstrip("=")


def read_cursor(cursor: str, order: Order) -> tuple[float, str]:
    """Read the sort key and the run id of a cursor.

    Raises:
        UnusableOption: it is not a cursor, or one of another order or version.
    """
    invalid = UnusableOption("the cursor is invalid; use the nextCursor (in Python next_cursor) of a page as it is")
    if len(cursor) > _MOST_CHARACTERS:
        raise invalid
    try:
        version, cursor_order, key, run_id = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, RecursionError):
        raise invalid from None
    well_formed = version == _CURSOR_VERSION and isinstance(key, int | float) and isinstance(run_id, str)
    if not well_formed or isinstance(key, bool) or cursor_order != order.value:
        raise UnusableOption("the cursor belongs to a list in another order; keep the order, or start without a cursor")
    if not abs(key) <= _LARGEST_KEY or strict_json.text_fault(run_id):  # NaN is not less than anything
        raise invalid
    return key, run_id
