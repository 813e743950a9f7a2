"""Ids made from what is given: numbers and dates in, text out. Randomness comes from an :class:`Ids`."""

import hashlib
import json
from datetime import date
from typing import Final, Protocol

from loopkit.core.run import NewRun

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: sorts as text like the number it stands for."""


class Ids(Protocol):
    """A source of ids. The one in production is random; a simulation's is drawn from its seed."""

    def run_number(self) -> int:
        """Give a 128-bit number for a run id: unique, and larger than any this source gave before."""
        ...

    def nonce(self) -> str:
        """Give 32 hexadecimal digits that nobody can guess."""
        ...


def run_id(number: int) -> str:
    """Give the id of a run, ``run_`` and 26 characters; ids sort like their numbers."""
    return "run_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def cycle_id(day: date, number: int) -> str:
    """Give a cycle id: ``YYYY-MM-DD-NNN``, growing past 999."""
    return f"{day.isoformat()}-{number:03d}"


def cycle_number(text: str, day: date) -> int:
    """Give the number of a cycle id of ``day``, or 0 where ``text`` is none."""
    prefix, number = text[:11], text[11:]
    if prefix != f"{day.isoformat()}-" or not number.isascii() or not number.isdigit() or len(number) > 15:
        return 0
    return int(number)


def fingerprint(new: NewRun) -> str:
    """Give a digest of what was asked: the same for the same request, whoever sent it."""
    asked = [new.agent_name, new.inputs, new.max_attempts, new.pass_threshold, new.cycle_id, new.retry_of]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
