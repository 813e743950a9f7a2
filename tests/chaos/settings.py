"""Figures that fleets and their judges share: short leases, so that much happens in little time."""

from typing import Final

HEARTBEAT: Final = 0.3
STALLED_AFTER: Final = 1.5
"""Seconds."""
