"""Batches as whole statements: a batch goes to the server at once, and each statement does all of its items.

What PostgreSQL and libSQL have in common. Items are JSON text that the database unfolds, and their outcomes are given
after the commit, from rows that came with it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any, Protocol

import attrs

from loopkit.core import plain
from loopkit.core.journal import ArtifactType
from loopkit.stores.sql.executing import Batch, Claimed, claims, ids_of, landed
from loopkit.stores.sql.items import Beating, Claiming, Recording, Submission, cancelled_events
from loopkit.stores.sql.rows import json
from loopkit.stores.sql.sources import Script


class Answer(Protocol):
    """The rows of a statement; they are there when its transaction is over."""

    def fetchall(self) -> Sequence[Sequence[Any]]: ...

    def fetchone(self) -> Sequence[Any] | None: ...


Run = Callable[[Script, dict[str, Any]], Answer]
"""Adds a statement to a transaction that goes to the server at its end."""
Settle = Callable[[], None]
"""Gives items their outcomes, after the commit."""


@attrs.frozen(kw_only=True)
class Scripts:
    """The statements of a database, each for any number of items."""

    before_record: Sequence[Script]
    record: Script
    """Gives the rows of the runs that it wrote; it and those around it take ``changes``, ``artifacts``, ``events``."""
    after_record: Sequence[Script]
    keep_keys: Script
    before_numbers: Sequence[Script]
    """What has to be done before a day's next cycle id is given."""
    submit: Script
    """Gives the rows of the runs that it made; it and those around it take ``new`` and ``events``."""
    after_submit: Sequence[Script]
    run_of_key: Script
    renew: Script
    """Gives the ids of the runs whose lease it renewed."""
    look: Script
    run_now: Script
    claimed_by_call: Script


class WholeBatches(ABC):
    """The part of an :class:`loopkit.stores.sql.executing.Executor` that is common."""

    scripts: Scripts

    def __init__(self, clock: Callable[[], dict[str, Any]]) -> None:
        """``clock`` gives the parameters ``now`` and ``stalled_seconds``."""
        self._clock = clock

    def form(self, row: dict[str, Any]) -> str:
        return plain.dumps(row)

    def perform(self, batch: Batch) -> None:
        with self._transaction(batch) as run:
            settling = list(self._steps(run, batch, self._clock()))
        for settle in settling:
            settle()

    def find(self, batch: Batch) -> bool:
        clock = self._clock()
        with self._transaction(batch) as run:
            self._wait_for_locks(run, batch, clock)
            written: list[Recording | Submission] = [*batch.records, *batch.submissions]
            ids = {run_id for item in written for run_id in ids_of(item)}
            found = {run_id: run(self.scripts.run_now, {"run_id": run_id, **clock}) for run_id in ids}
            keys = {key for item in batch.submissions for key in item.keys if key is not None}
            known = {key: run(self.scripts.run_of_key, {"key": key, **clock}) for key in keys}
            taken = {item.write: run(self.scripts.claimed_by_call, item.call) for item in claims(batch)}
        return landed(
            batch,
            lambda run_id: found[run_id].fetchone(),
            lambda key: known[key].fetchone(),
            lambda item: claimed(taken[item.write].fetchall()),
        )

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection."""

    @abstractmethod
    def _transaction(self, batch: Batch) -> AbstractContextManager[Run]:
        """Give what adds statements to a transaction; at the end it is committed, and all rows are there."""

    @abstractmethod
    def _claim(self, run: Run, item: Claiming, clock: dict[str, Any]) -> Settle:
        """Claim the oldest runs."""

    @abstractmethod
    def _claim_that(self, run: Run, item: Claiming, run_id: str, key: str | None, clock: dict[str, Any]) -> Settle:
        """Claim one run: the one of a key, where that is known, else the one of an id."""

    @abstractmethod
    def _wait_for_locks(self, run: Run, batch: Batch, clock: dict[str, Any]) -> None:
        """Wait until a lost transaction of the same batch has ended, by taking its locks."""

    @abstractmethod
    def _after(self, run: Run, batch: Batch) -> None:
        """Tell others of runs that became claimable."""

    def _steps(self, run: Run, batch: Batch, clock: dict[str, Any]) -> Iterable[Settle]:
        if batch.records:
            yield self._record(run, batch.records, clock)
        if batch.submissions:
            yield self._submit(run, batch.submissions, clock)
        for new in batch.submissions:
            if new.claim is not None:
                yield self._claim_that(run, new.claim, new.ids[0], new.keys[0], clock)
        for claim in batch.claims:
            if claim.run_id is None:
                yield self._claim(run, claim, clock)
            else:
                yield self._claim_that(run, claim, claim.run_id, None, clock)
        for beat in batch.beats:
            yield self._beat(run, beat, clock)
        self._after(run, batch)

    def _record(self, run: Run, items: Sequence[Recording], clock: dict[str, Any]) -> Settle:
        told = [event for item in items for event in (*item.events, *item.then_events)]
        told += [event for item in items for event in cancelled_events(item, self.form)]
        values = {
            "changes": array(item.row for item in items),
            "artifacts": array(item.artifact for item in items if item.artifact is not None),
            "events": array(told),
            **clock,
        }
        for script in self.scripts.before_record:
            run(script, values)
        written = run(self.scripts.record, values)
        for script in self.scripts.after_record:
            run(script, values)

        def settle() -> None:
            rows = _by_id([written])
            for item in items:
                item.outcome = rows.get(item.lease.run_id)

        return settle

    def _submit(self, run: Run, items: Sequence[Submission], clock: dict[str, Any]) -> Settle:
        new = [one for item in items for one in zip(item.rows, item.keys, item.numbered, strict=True)]
        keyed = {key: row for row, key, _ in new if key is not None}
        if keyed:
            run(self.scripts.keep_keys, {"new": array(keyed.values()), **clock})
        values = {"events": array(event for item in items for event in item.events), **clock}
        if any(numbered for *_, numbered in new):
            for script in self.scripts.before_numbers:
                run(script, values)
        # A number that the day's next ones follow may be among those given, so each group is of one kind.
        groups = [array(row for row, *_ in group) for _, group in groupby(new, key=lambda one: one[2])]
        answers = [run(self.scripts.submit, {"new": group, **values}) for group in groups]
        for script in self.scripts.after_submit:
            run(script, values)
        before = {key: run(self.scripts.run_of_key, {"key": key, **clock}) for key in keyed}

        def settle() -> None:
            made = _by_id(answers)
            known: dict[str | None, Any] = {key: answer.fetchone() for key, answer in before.items()}
            for item in items:
                item.outcome = [made.get(run_id) or known[key] for run_id, key in zip(item.ids, item.keys, strict=True)]

        return settle

    def _beat(self, run: Run, item: Beating, clock: dict[str, Any]) -> Settle:
        values = {"leases": array(item.rows), **clock}
        renewed = run(self.scripts.renew, values) if item.renews else None
        found = run(self.scripts.look, values)

        def settle() -> None:
            item.outcome = found.fetchall()
            if renewed is not None:
                item.skipped = frozenset(row[0] for row in item.outcome) - {run_id for (run_id,) in renewed.fetchall()}

        return settle


def claimed(rows: Sequence[Sequence[Any]]) -> Claimed:
    """Read the rows of a claim: at the end of each the previous heartbeat, and the run's artifacts as JSON."""
    kept = [artifact for *_, of_run in rows for artifact in sorted(json(of_run) or (), key=_place)]
    return Claimed([row[:-1] for row in rows], kept)


def array(rows: Iterable[str]) -> str:
    """Give JSON texts as the text of an array."""
    return f"[{','.join(rows)}]"


def _by_id(answers: Iterable[Answer]) -> dict[str, Sequence[Any]]:
    return {row[0]: row for answer in answers for row in answer.fetchall()}


def _place(artifact: Sequence[Any]) -> tuple[int, bool]:
    """Where an artifact stands among its run's: by attempt, an output before its evaluation."""
    return artifact[2], artifact[3] == ArtifactType.EVALUATION.value
