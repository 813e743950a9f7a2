"""Batches by whole sets: a batch goes to the server at once, and each statement writes all of its requests.

The common part of PostgreSQL and libSQL. Requests are JSON text that the database unfolds, and their outcomes are set
after the commit, from rows that came with it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Final, Protocol

import attrs

from loopkit.core import strict_json
from loopkit.core.journal import ArtifactType
from loopkit.stores.sql.schema import rows
from loopkit.stores.sql.schema.rows import Row, json
from loopkit.stores.sql.statements.parameters import ReadClock, Statement, Values
from loopkit.stores.sql.writes.batch import Batch, all_claims, was_committed, written_ids
from loopkit.stores.sql.writes.requests import (
    Claimed,
    ClaimRuns,
    RecordChange,
    RenewLeases,
    SubmitRuns,
    encode_change,
)

__all__ = [
    "AddStatement",
    "PendingRows",
    "SetBasedExecutor",
    "SetOutcomes",
    "Statements",
    "claimed_of",
    "json_array",
]


class PendingRows(Protocol):
    """The rows of a statement; they are there when its transaction is over."""

    def fetchall(self) -> Sequence[Row]: ...

    def fetchone(self) -> Row | None: ...


AddStatement = Callable[[Statement, Values], PendingRows]
"""Adds a statement to a transaction that goes to the server at its end."""
SetOutcomes = Callable[[], None]
"""Sets the outcomes of requests, after the commit."""


@attrs.frozen(kw_only=True)
class Statements:
    """Statements of one database, each for any number of requests."""

    before_record: Sequence[Statement]
    record: Statement
    """Returns the rows that it wrote, by ``WRITTEN_NAMES``.

    It and those before and after it take ``changes``, ``artifacts`` and ``events``.
    """
    after_record: Sequence[Statement]
    insert_calls: Statement
    """Takes ``calls``; it and the next come last, and only when there are any."""
    insert_verdicts: Statement
    """Takes ``verdicts``."""
    insert_keys: Statement
    before_numbers: Sequence[Statement]
    """Run before a day's next cycle ids are given."""
    submit: Statement
    """Returns the rows that it inserted, by ``STORED_NAMES``; it and those after it take ``new`` and ``events``."""
    after_submit: Sequence[Statement]
    insert_tags: Statement
    """Takes ``tags``; run only if a new run has some."""
    run_of_key: Statement
    renew: Statement
    """Returns the ids of the runs whose lease it renewed."""
    leases: Statement
    """Returns the leases that hold; see ``select_lease``."""
    run: Statement
    claimed_by_call: Statement


class SetBasedExecutor(ABC):
    """Common part of the :class:`loopkit.stores.sql.writes.batch.Executor` of a server."""

    statements: Statements

    def __init__(self, clock: ReadClock) -> None:
        self._clock = clock

    def encode(self, values: Values) -> str:
        return strict_json.dumps(values)

    def perform(self, batch: Batch) -> None:
        with self._transaction(batch) as add:
            outcomes = list(self._add_batch(add, batch, self._clock()))
        for set_outcomes in outcomes:
            set_outcomes()

    def read_back(self, batch: Batch) -> bool:
        clock = self._clock()
        writing: list[RecordChange | SubmitRuns] = [*batch.records, *batch.submissions]
        ids = {run_id for request in writing for run_id in written_ids(request)}
        keys = {key for submission in batch.submissions for key in submission.keys if key is not None}
        with self._transaction(batch) as add:
            self._wait_for_locks(add, batch, clock)
            by_id = {run_id: add(self.statements.run, {"run_id": run_id, **clock}) for run_id in ids}
            by_key = {key: add(self.statements.run_of_key, {"key": key, **clock}) for key in keys}
            by_claim = {claim.nonce: add(self.statements.claimed_by_call, claim.call) for claim in all_claims(batch)}
        return was_committed(
            batch,
            lambda run_id: by_id[run_id].fetchone(),
            lambda key: by_key[key].fetchone(),
            lambda claim: claimed_of(by_claim[claim.nonce].fetchall()),
        )

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    @abstractmethod
    def _transaction(self, batch: Batch) -> AbstractContextManager[AddStatement]:
        """Open a transaction that statements can be added to; at its end it is committed, and all rows are there."""

    @abstractmethod
    def _claim(self, add: AddStatement, claim: ClaimRuns, clock: Values) -> SetOutcomes:
        """Claim the oldest runs."""

    @abstractmethod
    def _claim_one(
        self, add: AddStatement, claim: ClaimRuns, run_id: str, key: str | None, clock: Values
    ) -> SetOutcomes:
        """Claim one run: the run of ``key`` if the key is stored, otherwise the run ``run_id``."""

    @abstractmethod
    def _wait_for_locks(self, add: AddStatement, batch: Batch, clock: Values) -> None:
        """Wait until a lost transaction of the same batch has ended, by taking its locks."""

    @abstractmethod
    def _notify(self, add: AddStatement, batch: Batch) -> None:
        """Notify other processes if runs became claimable; the last statement of a batch."""

    def _add_batch(self, add: AddStatement, batch: Batch, clock: Values) -> Iterable[SetOutcomes]:
        if batch.records:
            yield self._record(add, batch.records, clock)
        if batch.submissions:
            yield self._submit(add, batch.submissions, clock)
        for submission in batch.submissions:
            if submission.claim is not None:
                yield self._claim_one(add, submission.claim, submission.ids[0], submission.keys[0], clock)
        for claim in batch.claims:
            if claim.run_id is None:
                yield self._claim(add, claim, clock)
            else:
                yield self._claim_one(add, claim, claim.run_id, None, clock)
        for renewal in batch.renewals:
            yield self._renew(add, renewal, clock)
        self._notify(add, batch)

    def _record(self, add: AddStatement, records: Sequence[RecordChange], clock: Values) -> SetOutcomes:
        encoded = [encode_change(record, self.encode) for record in records]
        events = [
            event for change in encoded for event in (*change.events, *change.then_events, *change.cancelled_events)
        ]
        values: Values = {
            "changes": json_array(change.row for change in encoded),
            "artifacts": json_array(change.artifact for change in encoded if change.artifact is not None),
            "events": json_array(events),
            **clock,
        }
        for statement in self.statements.before_record:
            add(statement, values)
        written = add(self.statements.record, values)
        for statement in self.statements.after_record:
            add(statement, values)
        self._add_ledger(add, records, clock)

        def set_outcomes() -> None:
            by_id = _by_id([written])
            for record in records:
                record.outcome = by_id.get(record.lease.run_id)

        return set_outcomes

    def _add_ledger(self, add: AddStatement, records: Sequence[RecordChange], clock: Values) -> None:
        """Write the model calls and verdicts of changes, if there are any, after the rows of their runs."""
        booking = [record for record in records if record.change.calls or record.change.verdicts]
        calls = [self.encode(values) for record in booking for values in record.calls]
        if calls:
            add(self.statements.insert_calls, {"calls": json_array(calls), **clock})
        verdicts = [self.encode(values) for record in booking for values in record.verdicts]
        if verdicts:
            add(self.statements.insert_verdicts, {"verdicts": json_array(verdicts), **clock})

    def _submit(self, add: AddStatement, submissions: Sequence[SubmitRuns], clock: Values) -> SetOutcomes:
        new = [
            new_run
            for submission in submissions
            for new_run in zip(submission.rows, submission.keys, submission.numbered, strict=True)
        ]
        keyed = {key: row for row, key, _ in new if key is not None}
        if keyed:
            add(self.statements.insert_keys, {"new": json_array(keyed.values()), **clock})
        values: Values = {
            "events": json_array(event for submission in submissions for event in submission.events),
            **clock,
        }
        if any(numbered for *_, numbered in new):
            for statement in self.statements.before_numbers:
                add(statement, values)
        # Given cycle ids may raise the day's highest number, so each insert has runs of one kind, in order.
        groups = [json_array(row for row, *_ in group) for _, group in groupby(new, key=lambda new_run: new_run[2])]
        inserted = [add(self.statements.submit, {"new": group, **values}) for group in groups]
        for statement in self.statements.after_submit:
            add(statement, values)
        tags = [tag for submission in submissions for tag in submission.tags]
        if tags:
            add(self.statements.insert_tags, {"tags": json_array(tags), **clock})
        by_key = {key: add(self.statements.run_of_key, {"key": key, **clock}) for key in keyed}

        def set_outcomes() -> None:
            by_id = _by_id(inserted)
            stored = {key: pending.fetchone() for key, pending in by_key.items()}
            for submission in submissions:
                found = (
                    by_id.get(run_id) or (None if key is None else stored[key])
                    for run_id, key in zip(submission.ids, submission.keys, strict=True)
                )
                submission.outcome = [row for row in found if row is not None]

        return set_outcomes

    def _renew(self, add: AddStatement, renewal: RenewLeases, clock: Values) -> SetOutcomes:
        values: Values = {"leases": json_array(renewal.rows), **clock}
        renewed = add(self.statements.renew, values) if renewal.renews else None
        holding = add(self.statements.leases, values)

        def set_outcomes() -> None:
            leases = holding.fetchall()
            renewal.outcome = leases
            if renewed is not None:
                renewed_ids = {run_id for (run_id,) in renewed.fetchall()}
                renewal.skipped = frozenset(row[0] for row in leases) - renewed_ids

        return set_outcomes


_ATTEMPT: Final = rows.ARTIFACT_NAMES.index("attempt")
_ARTIFACT_TYPE: Final = rows.ARTIFACT_NAMES.index("artifact_type")


def claimed_of(claim_rows: Sequence[Row]) -> Claimed:
    """Read the rows of a claim: ``CLAIMED_NAMES``, and at the end of each the artifacts of the run as JSON.

    NULL stands for no artifacts, ``false`` for artifacts that are too large to come with the claim.
    """
    by_run = {row[rows.ID]: json(row[-1]) for row in claim_rows}
    artifacts = [artifact for of_run in by_run.values() for artifact in sorted(of_run or (), key=_order_of_artifact)]
    unread_run_ids = frozenset(run_id for run_id, of_run in by_run.items() if of_run is False)
    return Claimed([row[:-1] for row in claim_rows], artifacts, unread_run_ids)


def json_array(texts: Iterable[str]) -> str:
    """Return JSON texts as the text of an array."""
    return f"[{','.join(texts)}]"


def _by_id(results: Iterable[PendingRows]) -> dict[str, Row]:
    return {row[rows.ID]: row for pending in results for row in pending.fetchall()}


def _order_of_artifact(artifact: Row) -> tuple[int, bool]:
    """Return the sort key among the artifacts of a run: by attempt, an output before its evaluation."""
    return artifact[_ATTEMPT], artifact[_ARTIFACT_TYPE] == ArtifactType.EVALUATION.value
