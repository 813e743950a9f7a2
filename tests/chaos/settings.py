"""Figures that fleets and their judges share: short leases, so that much happens in little time."""

from typing import Final

STALLED_AFTER: Final = 1.5
"""Seconds; a fifth of them between two heartbeats."""
