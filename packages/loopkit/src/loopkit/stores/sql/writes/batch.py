"""Batches, and the executor's duties: to perform a batch in one transaction, and to find out whether it was committed.

The executors are in ``sqlite_executor``, ``postgresql_executor`` and ``libsql_executor``. Each keeps one
connection and is used by one thread at a time; after an error it drops the connection and opens a new one.
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import attrs

from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.rows import LAST_WRITE, Row
from loopkit.stores.sql.statements.parameters import Values
from loopkit.stores.sql.writes.requests import (
    AnyRequest,
    Claimed,
    ClaimRuns,
    Encoded,
    RecordChange,
    RenewLeases,
    SubmitRuns,
)

__all__ = ["Batch", "Executor", "FindRow", "all_claims", "batch_of", "was_committed", "written_ids"]


@attrs.frozen
class Batch:
    """Requests by kind, in the order in which their rows are locked."""

    records: list[RecordChange]
    """Changes of held runs, by run id."""
    submissions: list[SubmitRuns]
    claims: list[ClaimRuns]
    renewals: list[RenewLeases]

    @property
    def requests(self) -> list[AnyRequest]:
        """All requests."""
        return [*self.records, *self.submissions, *self.claims, *self.renewals]


def batch_of(requests: Iterable[AnyRequest]) -> Batch:
    """Create a batch of requests."""
    batch = Batch([], [], [], [])
    for request in requests:
        match request:
            case RecordChange():
                batch.records.append(request)
            case SubmitRuns():
                batch.submissions.append(request)
            case ClaimRuns():
                batch.claims.append(request)
            case RenewLeases():
                batch.renewals.append(request)
    batch.records.sort(key=lambda record: record.lease.run_id)
    return batch


FindRow = Callable[[str], Row | None]
"""Returns the row of a run, by its id (``STORED_NAMES``) or by its idempotency key (``RUN_NAMES``)."""

_written_values: Final = operator.itemgetter(*map(rows.STORED_NAMES.index, rows.WRITTEN_NAMES))
"""Returns of a row by ``STORED_NAMES`` the values by ``WRITTEN_NAMES``."""


def was_committed(
    batch: Batch, find_run: FindRow, find_key: FindRow, find_claim: Callable[[ClaimRuns], Claimed]
) -> bool:
    """Return True if any trace of a batch is stored, so that it was committed; then each request gets its outcome.

    A change whose run was written again since then counts as refused; the store looks closer at those.
    """
    writing: list[RecordChange | SubmitRuns] = [*batch.records, *batch.submissions]
    by_id = {run_id: find_run(run_id) for request in writing for run_id in written_ids(request)}
    claimed = {claim.nonce: find_claim(claim) for claim in all_claims(batch)}
    stored_nonces = {row[LAST_WRITE] for row in by_id.values() if row is not None}
    nonces = {request.nonce for request in batch.requests}
    if nonces.isdisjoint(stored_nonces) and not any(claim.rows for claim in claimed.values()):
        return False
    for record in batch.records:
        row = by_id[record.lease.run_id]
        record.outcome = _written_values(row) if row is not None and row[LAST_WRITE] == record.nonce else None
    for submission in batch.submissions:
        stored = (
            by_id[run_id] or (None if key is None else find_key(key))
            for run_id, key in zip(submission.ids, submission.keys, strict=True)
        )
        submission.outcome = [row for row in stored if row is not None]
    for claim in all_claims(batch):
        claim.outcome = claimed[claim.nonce]
    return True


def written_ids(request: RecordChange | SubmitRuns) -> Sequence[str]:
    """Return the ids of the runs that a request writes."""
    return [request.lease.run_id] if isinstance(request, RecordChange) else request.ids


def all_claims(batch: Batch) -> list[ClaimRuns]:
    """Return all claims of a batch, those of runs that it creates included."""
    return [*batch.claims, *(new.claim for new in batch.submissions if new.claim is not None)]


class Executor(Protocol):
    """One database, as the writer uses it."""

    def encode(self, values: Values) -> Encoded:
        """Return a request's values as the statements take them."""
        ...

    def perform(self, batch: Batch) -> None:
        """Write a batch in one transaction and set the outcome of each request."""
        ...

    def read_back(self, batch: Batch) -> bool:
        """Take the locks of the batch, and return True if it was committed, with the outcome of each request set."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...
