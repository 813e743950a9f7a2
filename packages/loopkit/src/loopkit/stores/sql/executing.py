"""What the writer asks of a database: to perform a batch in one transaction, and to find out whether it was.

The executors are in the modules :mod:`on_sqlite`, :mod:`on_postgresql` and :mod:`on_libsql`. Each keeps one connection
of its own and is used by one thread at a time; on any error it lets go of the connection and opens a new one.
"""

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import attrs

from loopkit.stores.sql.items import Beating, Claiming, Item, Recording, Submission


@attrs.frozen
class Batch:
    """Items by what they are, in the order in which their rows are locked."""

    records: list[Recording]
    submissions: list[Submission]
    claims: list[Claiming]
    beats: list[Beating]

    @property
    def items(self) -> list[Item]:
        return [*self.records, *self.submissions, *self.claims, *self.beats]


def batch(items: Iterable[Item]) -> Batch:
    """Sort items into a batch; changes of held runs by run."""
    made = Batch([], [], [], [])
    for item in items:
        match item:
            case Recording():
                made.records.append(item)
            case Submission():
                made.submissions.append(item)
            case Claiming():
                made.claims.append(item)
            case Beating():
                made.beats.append(item)
    made.records.sort(key=lambda item: item.lease.run_id)
    return made


LAST_WRITE: Final = 25
"""Where the last write stands in a row, after those of ``run_columns``."""

_WRITTEN: Final = operator.itemgetter(0, LAST_WRITE, 15, 14, 17)
"""Of such a row, what :func:`loopkit.stores.sql.rows.written` reads."""

Find = Callable[[str], Sequence[Any] | None]
"""Gives a run's row, by its id or by the key that it was submitted with."""


@attrs.frozen
class Claimed:
    """What a claim came to."""

    rows: Sequence[Sequence[Any]]
    """The row of each run that was touched, and at its end how often the holder before renewed (or None)."""
    artifacts: Sequence[Sequence[Any]]
    """Rows of the artifacts of the runs that were claimed, in order."""


def landed(batch: Batch, find_run: Find, find_key: Find, find_claim: Callable[[Claiming], Claimed]) -> bool:
    """Tell whether a batch was committed, by any trace of it, and give each item its outcome if so.

    A change whose run was written again since then counts as refused; the writer looks closer at those.
    """
    written: list[Recording | Submission] = [*batch.records, *batch.submissions]
    by_id = {run_id: find_run(run_id) for item in written for run_id in ids_of(item)}
    taken = {item.write: find_claim(item) for item in claims(batch)}
    traces = [row[LAST_WRITE] for row in by_id.values() if row is not None]
    own = {item.write for item in batch.items}
    if not own & set(traces) and not any(claim.rows for claim in taken.values()):
        return False
    for record in batch.records:
        row = by_id[record.lease.run_id]
        record.outcome = _WRITTEN(row) if row is not None and row[LAST_WRITE] == record.write else None
    for new in batch.submissions:
        new.outcome = [by_id[run_id] or (key and find_key(key)) for run_id, key in zip(new.ids, new.keys, strict=True)]
    for claim in claims(batch):
        claim.outcome = taken[claim.write]
    return True


def ids_of(item: Recording | Submission) -> Sequence[str]:
    """Give the runs that an item writes."""
    return [item.lease.run_id] if isinstance(item, Recording) else item.ids


def claims(batch: Batch) -> list[Claiming]:
    """Give all claims of a batch, those of runs that it makes included."""
    return [*batch.claims, *(new.claim for new in batch.submissions if new.claim is not None)]


class Executor(Protocol):
    """One database, as the writer sees it."""

    def form(self, row: dict[str, Any]) -> Any:
        """Give an item's values as the statements take them."""
        ...

    def perform(self, batch: Batch) -> None:
        """Write a batch in one transaction and give each item its outcome."""
        ...

    def find(self, batch: Batch) -> bool:
        """Take the locks, look for what the batch writes, and if it is there give each item its outcome."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...
