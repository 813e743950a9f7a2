"""Ids from the system's randomness. Tests and simulation pass their own :class:`~loopkit.core.ids.Ids`."""

import os
import sys

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils import uuid7

__all__ = ["SystemIds"]


class SystemIds:
    """Source of ids for production. Run numbers grow with time (RFC 9562, version 7)."""

    def run_number(self) -> int:
        return uuid7().int

    def nonce(self) -> str:
        return os.urandom(16).hex()
