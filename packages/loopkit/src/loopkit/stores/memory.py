"""MemoryStore: the reference implementation, with which tests compare the other stores.

It states in plain Python what every store must do. Nothing outlives the process. What a method does under the lock is
one transaction; its steps are in :mod:`loopkit.stores.memory_rows` and :mod:`loopkit.stores.memory_ledger`, and
:mod:`loopkit.core.machine` decides what happens to a run.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

import attrs

from loopkit.core import run_actions
from loopkit.core.journal import Artifact, ArtifactInfo, Change, RunEvent
from loopkit.core.labels.label_change import LabelChange
from loopkit.core.lease import Claimant, Lease, LeaseState
from loopkit.core.ledger.sums import SUM_NAMES
from loopkit.core.run import NewRun, Run, RunStatus
from loopkit.errors import LeaseLost
from loopkit.storage import (
    AgentStats,
    Held,
    JournalNews,
    KeyedRun,
    Overview,
    RunnerInfo,
    RunPage,
    RunQuery,
    Trajectory,
    Violation,
)
from loopkit.stores import list_reference, text_cuts
from loopkit.stores.cursors import clamp_events
from loopkit.stores.memory_ledger import MemoryLedger

__all__ = ["MemoryStore"]


class MemoryStore(MemoryLedger):
    """Store in this process's memory; :class:`loopkit.storage.Storage` says what each method promises."""

    async def submit(self, new: Sequence[NewRun]) -> list[Run]:
        with self._lock:
            self._refuse_reused_keys(new)
            return [self._queue(request) for request in new]

    async def start(self, new: NewRun, claimant: Claimant, *, definition: str | None = None) -> Held:
        with self._lock:
            self._refuse_reused_keys([new])
            return self._claim_one(self._queue(new), claimant, definition)

    async def claim(self, claimant: Claimant, agents: Mapping[str, str], *, limit: int = 1) -> list[Held]:
        with self._lock:
            self._end_cancelled()
            candidates = [run for run in self._all_runs() if run.agent_name in agents and self._is_claimable(run)]
            candidates.sort(key=lambda run: (run.created_at, run.id))
            return self._claim(candidates[: max(limit, 0)], claimant, agents)

    async def claim_run(self, claimant: Claimant, run_id: str, *, definition: str | None = None) -> Held:
        with self._lock:
            return self._claim_one(self._get(run_id), claimant, definition)

    async def heartbeat(self, leases: Sequence[Lease]) -> list[LeaseState]:
        with self._lock:
            now = self._time()
            for lease in leases:
                run = self._runs.get(lease.run_id)
                if run is not None and self._holds(lease, run):
                    self._update(run, heartbeat_at=now)
            return self._lease_states(leases)

    async def watch(self, leases: Sequence[Lease]) -> list[LeaseState]:
        with self._lock:
            return self._lease_states(leases)

    async def record(self, lease: Lease, change: Change) -> Run:
        with self._lock:
            run = self._runs.get(lease.run_id)
            if run is None or not self._holds(lease, run):
                raise LeaseLost(lease.run_id)
            if change.artifact is not None and (stored := self._stored_result(run.id, change.artifact)) is not None:
                if stored.content != change.artifact.content:
                    raise LeaseLost(lease.run_id)
                return self._with_stall(run)  # a repeated call: the first answer was lost
            chosen = change.then if run.cancel_requested_at is None else change.cancelled
            now = self._time()
            if change.artifact is not None:
                self._add_artifact(run.id, change.artifact, now)
            run = self._update(
                run,
                heartbeat_at=now,
                final_score=change.final_score,
                best_attempt=change.best_attempt,
                lost_leases=0 if change.finishes_stage else run.lost_leases,
                **dict(zip(SUM_NAMES, change.sums, strict=True)),
            )
            self._write_ledger(run.id, change, now)
            run = self._enter(run, chosen, now)
            self._append_events(run, (*change.events, *chosen.events), now)
            return self._with_stall(run)

    async def request_cancel(self, run_id: str, *, actor: str | None = None) -> Run:
        with self._lock:
            run = self._get(run_id)
            decision = run_actions.decide_cancel(run, actor=actor)
            now = self._time()
            if decision.request:
                run = self._update(run, cancel_requested_at=now)
            self._append_events(run, decision.events, now)
            if decision.end is not None:
                run = self._enter(run, decision.end, now)
                self._append_events(run, decision.end.events, now)
            return self._with_stall(run)

    async def retry(self, run_id: str, *, actor: str | None = None, idempotency_key: str | None = None) -> Run:
        with self._lock:
            new = run_actions.decide_retry(self._get(run_id), actor=actor, idempotency_key=idempotency_key)
            self._refuse_reused_keys([new])
            return self._queue(new)

    async def get_run(self, run_id: str, *, max_chars: int | None = None) -> Run:
        with self._lock:
            return text_cuts.cut_run(self._get(run_id), max_chars)

    async def list_runs(self, query: RunQuery) -> RunPage:
        with self._lock:
            page = list_reference.page(self._all_runs(), query)
            return attrs.evolve(page, runs=tuple(text_cuts.listed_run(run, query.max_chars) for run in page.runs))

    async def list_events(
        self,
        run_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 500,
        max_chars: int | None = None,
    ) -> list[RunEvent]:
        with self._lock:
            self._get(run_id)
            limit = clamp_events(limit)
            events = [e for e in self._events[run_id] if e.id > after and (before is None or e.id < before)]
            window = events[:limit] if before is None else events[-limit:]
            return [text_cuts.cut_event(event, max_chars) for event in window]

    async def list_artifacts(
        self, run_id: str, *, only: Collection[int] | None = None, start: int = 0, max_chars: int | None = None
    ) -> list[Artifact]:
        with self._lock:
            self._get(run_id)
            wanted = [artifact for artifact in self._artifacts_of(run_id) if only is None or artifact.id in only]
            return [text_cuts.cut_artifact(artifact, start, max_chars) for artifact in wanted]

    async def describe_artifacts(self, run_id: str) -> list[ArtifactInfo]:
        with self._lock:
            self._get(run_id)
            return [artifact.info for artifact in self._artifacts_of(run_id)]

    async def check(self) -> list[Violation]:
        """Return an empty list: only the machine changes these rows, and no other program can."""
        return []

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""

    async def __aenter__(self) -> "MemoryStore":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def label(self, run_id: str, change: LabelChange) -> Run:
        return self._label(run_id, change)

    async def find_key(self, key: str) -> KeyedRun | None:
        if key not in self._keys:
            return None
        digest, run_id = self._keys[key]
        return KeyedRun(run=self._get(run_id), fingerprint=digest)

    async def prune(self, older_than: timedelta, *, limit: int = 500) -> list[str]:
        with self._lock:
            now = self._time()
            old = [r for r in self._all_runs() if r.ended and r.completed_at and now - r.completed_at > older_than]
            old.sort(key=lambda run: (run.completed_at, run.id))
            pruned = [run.id for run in old[:limit]]
            for run_id in pruned:
                del self._runs[run_id], self._events[run_id], self._artifacts[run_id]
                del self._calls[run_id], self._verdicts[run_id]
            self._keys = {key: stored for key, stored in self._keys.items() if stored[1] not in pruned}
            return pruned

    async def announce(self, runner: RunnerInfo) -> None:
        with self._lock:
            known = self._runners.get(runner.id)
            now = self._time()
            started_at = known.started_at if known else now
            self._runners[runner.id] = attrs.evolve(runner, started_at=started_at, seen_at=now)

    async def runners(self) -> list[RunnerInfo]:
        with self._lock:
            now = self._time()
            aged = [attrs.evolve(r, age=now - (r.seen_at or now)) for r in self._runners.values()]
            fresh = [runner for runner in aged if runner.age is not None and runner.age <= timedelta(days=1)]
            return sorted(fresh, key=lambda r: (r.started_at or now, r.id), reverse=True)

    async def holdings(self, *, limit: int = 1000, max_chars: int | None = None) -> list[Run]:
        with self._lock:
            held = [run for run in self._all_runs() if run.status is RunStatus.RUNNING]
            longest_silent = sorted(held, key=lambda run: (run.last_seen_at, run.id))[:limit]
            return [text_cuts.listed_run(run, max_chars) for run in longest_silent]

    async def overview(self) -> Overview:
        with self._lock:
            return list_reference.overview(self._all_runs())

    async def stats(self) -> list[AgentStats]:
        with self._lock:
            return list_reference.stats(self._all_runs())

    async def read_journals(
        self, after: Mapping[str, int], *, limit: int = 5000, max_chars: int | None = None
    ) -> JournalNews:
        return self._read_news(after, limit, max_chars)

    async def trajectories(self, run_ids: Sequence[str]) -> dict[str, Trajectory]:
        with self._lock:
            known = [run_id for run_id in run_ids[:200] if run_id in self._runs]
            return {run_id: Trajectory(run_id=run_id, scores=tuple(self._scores(run_id))) for run_id in known}
