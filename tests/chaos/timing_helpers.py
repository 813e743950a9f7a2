"""Timing shared by fleets and their verdicts: short leases, so that many are lost in little time."""

from typing import Final

STALLED_AFTER: Final = 1.5
"""Stall time in seconds; heartbeats come five times as often."""
