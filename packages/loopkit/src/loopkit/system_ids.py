"""Ids from the system's randomness. Tests and simulation pass their own :class:`~loopkit.core.ids.Ids`."""

import os
import sys
from typing import Final

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
        try:
            return _nonces.pop()
        except IndexError:
            digits = os.urandom(_NONCES * 16).hex()
            drawn = [digits[first : first + 32] for first in range(0, len(digits), 32)]
            _nonces.extend(drawn[1:])
            return drawn[0]


_NONCES: Final = 128
"""Nonces that are drawn at once. Each boundary takes one, and the call to the system lets another thread run first."""

_nonces: list[str] = []
"""Nonces that were drawn and not given out yet. Both of its methods that are used are atomic."""

os.register_at_fork(after_in_child=_nonces.clear)  # a child must not give out those of its parent
