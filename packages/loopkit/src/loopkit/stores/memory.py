"""MemoryStore: the reference. It says in plain Python what every store must do, and tests compare the others with it.

Nothing outlives the process. One lock stands for the transaction; what happens to a run is asked of the machine.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import attrs

from loopkit.clock import SystemClock, SystemIds, truncate
from loopkit.core import ids as naming
from loopkit.core import machine, plain
from loopkit.core.ids import Ids
from loopkit.core.journal import Artifact, ArtifactInfo, ArtifactType, Change, NewArtifact, NewEvent, Next, RunEvent
from loopkit.core.lease import Beat, Claimant, Lease
from loopkit.core.run import NewRun, Run, RunStatus, is_stalled
from loopkit.errors import KeyReused, LeaseLost, RunNotClaimable, RunNotFound
from loopkit.storage import AgentStats, Held, Overview, RunnerInfo, RunPage, RunQuery, Trajectory, Violation
from loopkit.stores import listing

__all__ = ["MemoryStore"]

STALLED_AFTER: Final = timedelta(seconds=120)


class MemoryStore:
    """A store in this process's memory; see :class:`loopkit.storage.Storage` for what each verb promises."""

    def __init__(
        self,
        *,
        stalled_after: timedelta = STALLED_AFTER,
        now: Callable[[], datetime] | None = None,
        ids: Ids | None = None,
    ) -> None:
        self.stalled_after = stalled_after
        self._now = now or SystemClock().now
        self._ids = ids or SystemIds()
        self._lock = threading.RLock()
        self._runs: dict[str, Run] = {}
        self._heartbeats: dict[str, timedelta] = {}
        self._events: dict[str, list[RunEvent]] = {}
        self._artifacts: dict[str, list[Artifact]] = {}
        self._keys: dict[str, tuple[str, str]] = {}
        self._runners: dict[str, RunnerInfo] = {}
        self._event_ids = 0
        self._artifact_ids = 0

    # --- Verbs -------------------------------------------------------------------------------------------------

    async def submit(self, new: Sequence[NewRun]) -> list[Run]:
        with self._lock:
            self._refuse_reused_keys(new)
            return [self._submit(one) for one in new]

    async def start(self, new: NewRun, claimant: Claimant, *, definition: str | None = None) -> Held:
        with self._lock:
            self._refuse_reused_keys([new])
            return self._claim_one(self._submit(new), claimant, definition)

    async def claim(self, claimant: Claimant, agents: Mapping[str, str], *, limit: int = 1) -> list[Held]:
        with self._lock:
            self._end_cancelled()
            waiting = [run for run in self._all() if run.agent_name in agents and self._is_claimable(run)]
            waiting.sort(key=lambda run: (run.created_at, run.id))
            return self._claim(waiting[: max(limit, 0)], claimant, agents)

    async def claim_run(self, claimant: Claimant, run_id: str, *, definition: str | None = None) -> Held:
        with self._lock:
            return self._claim_one(self._get(run_id), claimant, definition)

    async def heartbeat(self, leases: Sequence[Lease]) -> list[Beat]:
        with self._lock:
            now = self._stamp()
            for lease in leases:
                run = self._runs.get(lease.run_id)
                if run is not None and self._holds(lease, run):
                    self._put(run, heartbeat_at=max(now, run.heartbeat_at or now))
            return self._beats(leases)

    async def watch(self, leases: Sequence[Lease]) -> list[Beat]:
        with self._lock:
            return self._beats(leases)

    async def record(self, lease: Lease, change: Change) -> Run:
        with self._lock:
            run = self._runs.get(lease.run_id)
            if run is None or not self._holds(lease, run):
                raise LeaseLost(lease.run_id)
            if change.artifact is not None and (stored := self._stored(run.id, change.artifact)) is not None:
                if stored.content != change.artifact.content:
                    raise LeaseLost(lease.run_id)
                return self._view(run)  # the same call again, after an answer that never came
            chosen = change.then if run.cancel_requested_at is None else change.cancelled
            now = self._stamp()
            if change.artifact is not None:
                self._keep(run.id, change.artifact, now)
            run = self._put(
                run,
                heartbeat_at=max(now, run.heartbeat_at or now),
                final_score=change.final_score,
                best_attempt=change.best_attempt,
                lost_leases=0 if change.finishes_stage else run.lost_leases,
            )
            run = self._go(run, chosen, now)
            self._tell(run, (*change.events, *chosen.events), now)
            return self._view(run)

    async def request_cancel(self, run_id: str, *, actor: str | None = None) -> Run:
        with self._lock:
            run = self._get(run_id)
            decision = machine.cancel(run, actor=actor)
            now = self._stamp()
            if decision.request:
                run = self._put(run, cancel_requested_at=now)
            self._tell(run, decision.events, now)
            if decision.end is not None:
                run = self._go(run, decision.end, now)
                self._tell(run, decision.end.events, now)
            return self._view(run)

    async def retry(self, run_id: str, *, actor: str | None = None, idempotency_key: str | None = None) -> Run:
        with self._lock:
            new = machine.retry(self._get(run_id), actor=actor, idempotency_key=idempotency_key)
            self._refuse_reused_keys([new])
            return self._submit(new)

    async def get_run(self, run_id: str) -> Run:
        with self._lock:
            return self._get(run_id)

    async def list_runs(self, query: RunQuery) -> RunPage:
        with self._lock:
            return listing.page(self._all(), query)

    async def list_events(
        self, run_id: str, *, after: int = 0, before: int | None = None, limit: int = 500
    ) -> list[RunEvent]:
        with self._lock:
            self._get(run_id)
            limit = min(max(limit, 1), 1000)
            found = [e for e in self._events[run_id] if e.id > after and (before is None or e.id < before)]
            return found[:limit] if before is None else found[-limit:]

    async def list_artifacts(self, run_id: str, *, only: Collection[int] | None = None) -> list[Artifact]:
        with self._lock:
            self._get(run_id)
            return [artifact for artifact in self._kept(run_id) if only is None or artifact.id in only]

    async def describe_artifacts(self, run_id: str) -> list[ArtifactInfo]:
        with self._lock:
            self._get(run_id)
            return [artifact.info for artifact in self._kept(run_id)]

    async def check(self) -> list[Violation]:
        """Give nothing: rows are made by the machine alone here, and nobody else can reach them."""
        return []

    async def aclose(self) -> None:
        """Do nothing: there is nothing to let go of."""

    async def __aenter__(self) -> "MemoryStore":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    # --- Maintenance and fleet ---------------------------------------------------------------------------------

    async def prune(self, older_than: timedelta, *, limit: int = 500) -> list[str]:
        with self._lock:
            now = self._stamp()
            old = [r for r in self._all() if r.ended and r.completed_at and now - r.completed_at > older_than]
            old.sort(key=lambda run: (run.completed_at, run.id))
            gone = [run.id for run in old[:limit]]
            for run_id in gone:
                del self._runs[run_id], self._events[run_id], self._artifacts[run_id]
            self._keys = {key: made for key, made in self._keys.items() if made[1] not in gone}
            return gone

    async def announce(self, runner: RunnerInfo) -> None:
        with self._lock:
            known = self._runners.get(runner.id)
            now = self._stamp()
            started_at = known.started_at if known else now
            self._runners[runner.id] = attrs.evolve(runner, started_at=started_at, seen_at=now)

    async def runners(self) -> list[RunnerInfo]:
        with self._lock:
            now = self._stamp()
            aged = [attrs.evolve(r, age=now - (r.seen_at or now)) for r in self._runners.values()]
            fresh = [runner for runner in aged if runner.age is not None and runner.age <= timedelta(days=1)]
            return sorted(fresh, key=lambda r: (r.started_at or now, r.id), reverse=True)

    async def holdings(self, *, limit: int = 1000) -> list[Run]:
        with self._lock:
            held = [run for run in self._all() if run.status is RunStatus.RUNNING]
            return sorted(held, key=lambda run: (run.last_seen_at, run.id))[:limit]

    async def overview(self) -> Overview:
        with self._lock:
            return listing.overview(self._all())

    async def stats(self) -> list[AgentStats]:
        with self._lock:
            return listing.stats(self._all())

    async def trajectories(self, run_ids: Sequence[str]) -> dict[str, Trajectory]:
        with self._lock:
            known = [run_id for run_id in run_ids[:200] if run_id in self._runs]
            return {run_id: Trajectory(run_id=run_id, scores=tuple(self._scores(run_id))) for run_id in known}

    # --- Steps; all of them under the lock ---------------------------------------------------------------------

    def _stamp(self) -> datetime:
        return truncate(self._now().astimezone(UTC))

    def _view(self, run: Run) -> Run:
        if run.status is not RunStatus.RUNNING:
            return run
        return attrs.evolve(run, stalled=is_stalled(run, now=self._stamp(), stalled_after=self.stalled_after))

    def _all(self) -> list[Run]:
        return [self._view(run) for run in self._runs.values()]

    def _get(self, run_id: str) -> Run:
        if run_id not in self._runs:
            raise RunNotFound(run_id)
        return self._view(self._runs[run_id])

    def _put(self, run: Run, **fields: Any) -> Run:
        run = attrs.evolve(run, stalled=False, **fields)
        self._runs[run.id] = run
        return run

    def _is_claimable(self, run: Run) -> bool:
        return run.stalled or (run.status is RunStatus.QUEUED and run.claimed_at is None)

    def _refuse_reused_keys(self, new: Iterable[NewRun]) -> None:
        seen = {key: fingerprint for key, (fingerprint, _) in self._keys.items()}
        for one in new:
            key = one.idempotency_key
            if key is not None and seen.setdefault(key, naming.fingerprint(one)) != naming.fingerprint(one):
                raise KeyReused(key)

    def _submit(self, new: NewRun) -> Run:
        if new.idempotency_key is not None and new.idempotency_key in self._keys:
            return self._get(self._keys[new.idempotency_key][1])
        now = self._stamp()
        run = Run(
            id=naming.run_id(self._ids.run_number()),
            agent_name=new.agent_name,
            cycle_id=new.cycle_id if new.cycle_id is not None else self._next_cycle_id(now.date()),
            status=RunStatus.QUEUED,
            max_attempts=new.max_attempts,
            pass_threshold=new.pass_threshold,
            inputs=plain.loads(plain.dumps(new.inputs)),
            created_at=now,
            retry_of=new.retry_of,
        )
        self._runs[run.id], self._events[run.id], self._artifacts[run.id] = run, [], []
        if new.idempotency_key is not None:
            self._keys[new.idempotency_key] = (naming.fingerprint(new), run.id)
        self._tell(run, [machine.queued(new)], now)
        return run

    def _next_cycle_id(self, day: date) -> str:
        highest = max((naming.cycle_number(run.cycle_id, day) for run in self._runs.values()), default=0)
        return naming.cycle_id(day, highest + 1)

    def _end_cancelled(self) -> None:
        now = self._stamp()
        for run in self._all():
            if run.cancel_requested_at is not None and (run.status is RunStatus.QUEUED or run.stalled):
                end = machine.cancel(run).end
                assert end is not None
                self._tell(self._go(run, end, now), end.events, now)

    def _claim_one(self, run: Run, claimant: Claimant, definition: str | None) -> Held:
        if not self._is_claimable(run):
            raise RunNotClaimable(run.id, _why_not(run))
        if run.cancel_requested_at is not None:
            self._end_cancelled()
            raise RunNotClaimable(run.id, "its cancellation was requested; it is cancelled now")
        held = self._claim([run], claimant, {run.agent_name: definition})
        if not held:
            raise RunNotClaimable(run.id, machine.RUNNER_LOST_MESSAGE)
        return held[0]

    def _claim(self, waiting: Iterable[Run], claimant: Claimant, definitions: Mapping[str, str | None]) -> list[Held]:
        now, nonce, held = self._stamp(), self._ids.nonce(), []
        for number, run in enumerate(waiting, 1):
            claimed_by = f"{claimant.name}:{nonce[:8]}.{number}"
            decision = machine.claimed(run, self._kept(run.id), claimed_by=claimed_by)
            lost = run.lost_leases + 1 if run.status is RunStatus.RUNNING else run.lost_leases
            if decision.status.ended:
                self._tell(self._go(self._put(run, lost_leases=lost), decision, now), decision.events, now)
                continue
            claimed = self._put(
                run,
                claimed_at=now,
                claimed_by=claimed_by,
                heartbeat_at=now,
                started_at=run.started_at or now,
                lease_id=f"{nonce}.{number}",
                fencing_token=run.fencing_token + 1,
                lost_leases=lost,
                definition=run.definition or definitions[run.agent_name],
            )
            claimed = self._go(claimed, decision, now)
            self._tell(claimed, decision.events, now)
            held.append(self._held(claimed, run, claimant))
        return held

    def _held(self, claimed: Run, before: Run, claimant: Claimant) -> Held:
        assert claimed.lease_id is not None
        assert claimed.claimed_by is not None
        taken_over = before.status is RunStatus.RUNNING
        previous = self._heartbeats.get(claimed.id) if taken_over and before.lease_id is not None else None
        self._heartbeats[claimed.id] = claimant.heartbeat
        lease = Lease(
            run_id=claimed.id,
            lease_id=claimed.lease_id,
            claimed_by=claimed.claimed_by,
            fencing_token=claimed.fencing_token,
        )
        return Held(
            run=claimed,
            lease=lease,
            artifacts=tuple(self._kept(claimed.id)),
            taken_over=taken_over,
            previous_heartbeat=previous,
        )

    def _go(self, run: Run, to: Next, now: datetime) -> Run:
        """Put the run into the state that was decided, with the stamps that go with it."""
        fields: dict[str, Any] = {"status": to.status, "current_stage": to.stage, "current_attempt": to.attempt}
        if to.status.ended:
            fields |= {"completed_at": now, "lease_id": None, "error_message": to.error_message}
        elif to.status is RunStatus.QUEUED:
            fields |= dict.fromkeys(("lease_id", "claimed_at", "claimed_by", "heartbeat_at"))
        return self._put(run, **fields)

    def _tell(self, run: Run, events: Iterable[NewEvent], now: datetime) -> None:
        for event in events:
            self._event_ids += 1
            self._events[run.id].append(
                RunEvent(
                    id=self._event_ids,
                    run_id=run.id,
                    event_type=event.event_type,
                    stage=event.stage,
                    attempt=event.attempt if event.attempt is not None else run.current_attempt,
                    message=event.message,
                    metadata=None if event.metadata is None else plain.loads(plain.dumps(event.metadata)),
                    created_at=now,
                )
            )

    def _stored(self, run_id: str, new: NewArtifact) -> Artifact | None:
        key = (new.attempt, new.artifact_type)
        return next((a for a in self._artifacts[run_id] if (a.attempt, a.artifact_type) == key), None)

    def _keep(self, run_id: str, new: NewArtifact, now: datetime) -> None:
        self._artifact_ids += 1
        self._artifacts[run_id].append(
            Artifact(
                id=self._artifact_ids,
                run_id=run_id,
                attempt=new.attempt,
                artifact_type=new.artifact_type,
                filename=new.filename,
                content=new.content,
                is_json=new.is_json,
                created_at=now,
            )
        )

    def _kept(self, run_id: str) -> list[Artifact]:
        return sorted(self._artifacts[run_id], key=lambda a: (a.attempt, a.artifact_type is ArtifactType.EVALUATION))

    def _scores(self, run_id: str) -> list[tuple[int, float]]:
        judged = [a for a in self._kept(run_id) if a.artifact_type is ArtifactType.EVALUATION]
        return [(a.attempt, machine.read_evaluation(a).score) for a in judged]

    def _beats(self, leases: Iterable[Lease]) -> list[Beat]:
        beats = []
        for lease in leases:
            run = self._runs.get(lease.run_id)
            held = run is not None and self._holds(lease, run)
            asked = held and run is not None and run.cancel_requested_at is not None
            beats.append(Beat(run_id=lease.run_id, held=held, cancel_requested=asked))
        return beats

    def _holds(self, lease: Lease, run: Run) -> bool:
        return run.status is RunStatus.RUNNING and (run.lease_id, run.claimed_by, run.fencing_token) == (
            lease.lease_id,
            lease.claimed_by,
            lease.fencing_token,
        )


def _why_not(run: Run) -> str:
    if run.ended:
        return f"it has ended ({run.status})"
    return f"it is held by {run.claimed_by}"
