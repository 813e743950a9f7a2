"""Stores with one flaw each in the ledger of a run; importing this module adds them to ``FLAWS``."""

from datetime import datetime

import attrs

from loopkit.core.journal import Change
from loopkit.core.lease import Lease
from loopkit.core.ledger.calls import StoredCall
from loopkit.core.ledger.sums import SUM_NAMES
from loopkit.core.panel.verdict import Verdict
from loopkit.core.run import NewRun, Run
from loopkit.errors import LeaseLost
from loopkit.stores.memory import MemoryStore
from tests.stores.broken_store_helpers import fails


@fails("test_a_repeated_change_writes_once")
class AddsToTheStoredSums(MemoryStore):
    """Adds the spending of a change again when the change is sent again."""

    async def record(self, lease: Lease, change: Change) -> Run:
        stored = self._runs[lease.run_id]
        known = {name: getattr(stored, name) for name in SUM_NAMES}
        return await super().record(lease, attrs.evolve(change, run=attrs.evolve(change.run, **known)))


@fails("test_a_change_moves_the_sums")
class ForgetsKnownCosts(MemoryStore):
    """Has no price at all after a call without one."""

    async def record(self, lease: Lease, change: Change) -> Run:
        run = await super().record(lease, change)
        return self._update(run, cost_nanos=None) if change.spending.cost_nanos is None else run


@fails("test_a_second_write_completes_a_call")
class TakesTheLastTime(MemoryStore):
    """Gives a completed call the time of its completion."""

    def _write_ledger(self, run_id: str, change: Change, now: datetime) -> None:
        super()._write_ledger(run_id, change, now)
        calls = self._calls[run_id]
        calls.update({call.id: attrs.evolve(calls[call.id], created_at=now) for call in change.calls})


@fails("test_a_second_write_completes_a_call")
class MovesCompletedCalls(MemoryStore):
    """Lists a call where it was completed."""

    def _write_ledger(self, run_id: str, change: Change, now: datetime) -> None:
        super()._write_ledger(run_id, change, now)
        calls = self._calls[run_id]
        calls.update({call.id: calls.pop(call.id) for call in change.calls})


@fails("test_calls_are_stored_in_order")
class SortsCalls(MemoryStore):
    """Lists calls by their ids."""

    async def list_calls(self, run_id: str) -> list[StoredCall]:
        return sorted(await super().list_calls(run_id), key=lambda call: call.id)


@fails("test_verdicts_are_stored_once")
class ReplacesVerdicts(MemoryStore):
    """Takes the newest verdict of a judge."""

    def _write_ledger(self, run_id: str, change: Change, now: datetime) -> None:
        again = {(verdict.attempt, verdict.name, verdict.sample) for verdict in change.verdicts}
        verdicts = self._verdicts[run_id]
        for key, verdict in list(verdicts.items()):
            if (verdict.attempt, verdict.name, verdict.sample) in again:
                del verdicts[key]
        super()._write_ledger(run_id, change, now)


@fails("test_verdicts_are_stored_once")
class ForgetsTheLastVerdict(MemoryStore):
    """Lists the verdicts on an output without the last one."""

    async def list_verdicts(self, run_id: str, attempt: int) -> list[Verdict]:
        return list(await super().list_verdicts(run_id, attempt))[:-1]


@fails("test_a_lost_lease_writes_none")
class BooksWithoutALease(MemoryStore):
    """Writes the calls of a runner that lost its run."""

    async def record(self, lease: Lease, change: Change) -> Run:
        try:
            return await super().record(lease, change)
        except LeaseLost:
            self._write_ledger(lease.run_id, change, self._time())
            raise


@fails("test_they_are_written_with_every_kind_of_change")
class BooksOnlyWhatIsMeant(MemoryStore):
    """Drops the calls of a change that is cancelled."""

    async def record(self, lease: Lease, change: Change) -> Run:
        if self._runs[lease.run_id].cancel_requested_at is not None:
            change = attrs.evolve(change, calls=())
        return await super().record(lease, change)


@fails("test_a_retry_begins_with_an_empty_ledger")
class RetryTakesTheSumsAlong(MemoryStore):
    """Starts a retry with what the ended run has spent."""

    def _queue(self, new: NewRun) -> Run:
        run = super()._queue(new)
        if new.retry_of is None:
            return run
        return self._update(run, unpriced_calls=self._runs[new.retry_of].unpriced_calls)


@fails("test_a_pruned_run_takes_its_ledger_along")
class ReadsDeletedLedgers(MemoryStore):
    """Answers for a run that is gone."""

    async def list_calls(self, run_id: str) -> list[StoredCall]:
        return await super().list_calls(run_id) if run_id in self._runs else []
