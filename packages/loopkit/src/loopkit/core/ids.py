"""Ids of runs and cycles, formed from numbers and dates. Randomness comes from an :class:`Ids`."""

import hashlib
import json
from collections.abc import Mapping
from datetime import date
from typing import Any, Final, Protocol

from loopkit.core.run import NewRun

__all__ = ["Ids", "cycle_id", "cycle_number", "fingerprint", "request_digest", "run_id"]

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: as text, ids sort like their numbers."""

_PAIRS: Final = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
"""Two characters for each number of ten bits."""


class Ids(Protocol):
    """Source of ids: random in production, drawn from a seed in a simulation."""

    def run_number(self) -> int:
        """Return a 128-bit number for a run id: unique, and larger than all that this source has returned before."""
        ...

    def nonce(self) -> str:
        """Return 32 hexadecimal digits that cannot be guessed."""
        ...


def run_id(number: int) -> str:
    """Return the id of a run, ``run_`` and 26 characters; ids sort like their numbers."""
    return "run_" + "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def cycle_id(day: date, number: int) -> str:
    """Return a cycle id, ``YYYY-MM-DD-NNN``, with more digits from 1000 on."""
    return f"{day.isoformat()}-{number:03d}"


def cycle_number(text: str, day: date) -> int:
    """Return the number of a cycle id of ``day``, or 0 when ``text`` is not one."""
    prefix, number = text[:11], text[11:]
    if prefix != f"{day.isoformat()}-" or not number.isascii() or not number.isdigit() or len(number) > 15:
        return 0
    return int(number)


def request_digest(agent_name: str, inputs: Mapping[str, Any], **options: object) -> str:
    """Return a digest of a request as it was sent, so without what an agent adds to it; None counts as not sent.

    A repeated request is thus the same when the agent has changed meanwhile, or is gone.
    """
    sent = {name: value for name, value in options.items() if value is not None}
    text = json.dumps([agent_name, inputs, sent], sort_keys=True)
    return f"sent {hashlib.sha256(text.encode()).hexdigest()}"


def fingerprint(new: NewRun) -> str:
    """Return a digest of the request for a run: equal for equal requests, whoever sent them."""
    if new.request_digest is not None:
        return new.request_digest
    request: list[Any] = [new.agent_name, new.inputs, new.max_attempts, new.pass_threshold, new.cycle_id, new.retry_of]
    if new.policy:  # left out of the digest where it sets nothing, as it was before there were policies
        request.append(dict(new.policy))
    if new.retry_of is None and (new.title is not None or new.tags):  # a retry has the labels of its run at that time
        request.append([new.title, sorted(new.tags)])
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
