"""Ledger of the store in memory: model calls and verdicts."""

from datetime import datetime

import attrs

from loopkit.core.journal import Change
from loopkit.core.ledger.calls import StoredCall
from loopkit.core.panel.verdict import Verdict
from loopkit.stores.memory_rows import MemoryRows, VerdictKey, as_stored

__all__ = ["MemoryLedger"]


class MemoryLedger(MemoryRows):
    """The :class:`loopkit.storage.Ledger` of the store in memory."""

    async def list_calls(self, run_id: str) -> list[StoredCall]:
        with self._lock:
            self._get(run_id)
            return list(self._calls[run_id].values())

    async def list_verdicts(self, run_id: str, attempt: int) -> list[Verdict]:
        with self._lock:
            self._get(run_id)
            return [verdict for key, verdict in sorted(self._verdicts[run_id].items()) if key[0] == attempt]

    def _write_ledger(self, run_id: str, change: Change, now: datetime) -> None:
        """Add the calls and verdicts of a change; a call that is there is completed, such a verdict stays."""
        calls, verdicts = self._calls[run_id], self._verdicts[run_id]
        for call in change.calls:
            created_at = calls[call.id].created_at if call.id in calls else now
            calls[call.id] = StoredCall(**attrs.asdict(call, recurse=False), created_at=created_at)
        for verdict in change.verdicts:
            verdicts.setdefault(_key_of(verdict), attrs.evolve(verdict, detail=as_stored(verdict.detail)))


def _key_of(verdict: Verdict) -> VerdictKey:
    return verdict.attempt, verdict.kind.value, verdict.name, verdict.sample, verdict.made_by
