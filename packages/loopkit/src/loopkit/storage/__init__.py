"""Protocols of a store. The docstrings bind every store; ``loopkit.testing.StorageSuite`` checks them.

Rules for all methods:

* A method may be awaited from any thread and any event loop (asyncio or trio), many calls at once.
* A write is one transaction: after an error none of it is stored, after success all of it is durable.
* Time is the store's own clock; no caller passes the current time.
* A method retries transient failures itself, within limits. If it is unknown whether a commit succeeded, it finds out
  by reading back under the lock. If that does not help either, it raises
  :class:`~loopkit.errors.StorageUnavailable`, and the same call may be made again.
* :mod:`loopkit.core.machine` decides what happens to a run; a store applies the decision atomically.
* Rows that other programs insert, claim or cancel with plain SQL are as valid as loopkit's own.
* A read with ``max_chars`` returns at most that many characters of each text, inputs and metadata counted as JSON text.
  Of a JSON text that is longer, it returns the members that are whole and the beginning of the text in which the cut
  is. The result says that it is cut. A page can so show rows of any size at a bounded cost.
* A list of runs, by ``list_runs`` or ``holdings``, has at most 1,000 characters of each run's id, which another program
  may have written at any length. A longer id ends there with an ellipsis, names no run, and is cut too.

``Storage`` is what loopkit needs. The other protocols are optional and have one purpose each; a feature that needs one
is left out, or says so, when a store does not have it.

``protocols`` says what a store does, ``stored_values`` holds what it takes and returns.
"""

from loopkit.core.journal import JournalNews
from loopkit.storage.protocols import (
    CancelRequests,
    Copying,
    IdempotencyKeys,
    Journals,
    Labelling,
    Ledger,
    Maintenance,
    RunnerRegistry,
    RunScores,
    RunStatistics,
    Storage,
    Wakeups,
)
from loopkit.storage.stored_values import (
    AgentOverview,
    AgentStats,
    Held,
    KeyedRun,
    Order,
    Overview,
    RunnerInfo,
    RunPage,
    RunQuery,
    Trajectory,
    Violation,
)

__all__ = [
    "AgentOverview",
    "AgentStats",
    "CancelRequests",
    "Copying",
    "Held",
    "IdempotencyKeys",
    "JournalNews",
    "Journals",
    "KeyedRun",
    "Labelling",
    "Ledger",
    "Maintenance",
    "Order",
    "Overview",
    "RunPage",
    "RunQuery",
    "RunScores",
    "RunStatistics",
    "RunnerInfo",
    "RunnerRegistry",
    "Storage",
    "Trajectory",
    "Violation",
    "Wakeups",
]
