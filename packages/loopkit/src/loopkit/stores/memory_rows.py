"""Rows of the store in memory, and the steps of its transactions; see :mod:`loopkit.stores.memory`."""

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from operator import attrgetter
from typing import Any

import attrs

from loopkit.clock import SystemClock, truncate
from loopkit.core import ids as naming
from loopkit.core import machine, run_actions, strict_json
from loopkit.core.attempts import read_evaluation
from loopkit.core.ids import Ids
from loopkit.core.journal import Artifact, ArtifactType, JournalNews, NewArtifact, NewEvent, Next, RunEvent
from loopkit.core.labels.label_change import LabelChange
from loopkit.core.lease import STALLED_AFTER, Claimant, Lease, LeaseState
from loopkit.core.ledger.calls import StoredCall
from loopkit.core.panel.verdict import Verdict
from loopkit.core.policy import Definition
from loopkit.core.run import NewRun, Run, RunStatus, is_stalled
from loopkit.errors import KeyReused, RunNotClaimable, RunNotFound
from loopkit.storage import Held, RunnerInfo
from loopkit.stores import text_cuts
from loopkit.system_ids import SystemIds

__all__ = ["MemoryRows", "VerdictKey", "as_stored"]

VerdictKey = tuple[int, str, str, int, str]
"""Attempt, kind, name, sample and maker of a verdict."""


class MemoryRows:
    """Runs, journals and artifacts in memory, with the steps of a transaction. Every step is called under the lock."""

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
        """Heartbeat interval of the last holder, by run id."""
        self._events: dict[str, list[RunEvent]] = {}
        self._artifacts: dict[str, list[Artifact]] = {}
        self._calls: dict[str, dict[str, StoredCall]] = {}
        """Model calls in order, by run id and their own."""
        self._verdicts: dict[str, dict[VerdictKey, Verdict]] = {}
        self._keys: dict[str, tuple[str, str]] = {}
        """Fingerprint of the request and run id, by idempotency key."""
        self._runners: dict[str, RunnerInfo] = {}
        self._event_ids = 0
        self._artifact_ids = 0

    def _time(self) -> datetime:
        return truncate(self._now().astimezone(UTC))

    def _with_stall(self, run: Run) -> Run:
        if run.status is not RunStatus.RUNNING:
            return run
        return attrs.evolve(run, stalled=is_stalled(run, now=self._time(), stalled_after=self.stalled_after))

    def _all_runs(self) -> list[Run]:
        return [self._with_stall(run) for run in self._runs.values()]

    def _get(self, run_id: str) -> Run:
        if run_id not in self._runs:
            raise RunNotFound(run_id)
        return self._with_stall(self._runs[run_id])

    def _update(self, run: Run, **fields: Any) -> Run:
        run = attrs.evolve(run, stalled=False, **fields)
        self._runs[run.id] = run
        return run

    def _is_claimable(self, run: Run) -> bool:
        return run.stalled or (run.status is RunStatus.QUEUED and run.claimed_at is None)

    def _refuse_reused_keys(self, new: Iterable[NewRun]) -> None:
        seen = {key: fingerprint for key, (fingerprint, _) in self._keys.items()}
        for request in new:
            key = request.idempotency_key
            if key is not None and seen.setdefault(key, naming.fingerprint(request)) != naming.fingerprint(request):
                raise KeyReused(key)

    def _queue(self, new: NewRun) -> Run:
        if new.idempotency_key is not None and new.idempotency_key in self._keys:
            return self._get(self._keys[new.idempotency_key][1])
        now = self._time()
        run = Run(
            id=naming.run_id(self._ids.run_number()),
            agent_name=new.agent_name,
            cycle_id=new.cycle_id if new.cycle_id is not None else self._next_cycle_id(now.date()),
            status=RunStatus.QUEUED,
            max_attempts=new.max_attempts,
            pass_threshold=new.pass_threshold,
            inputs=as_stored(new.inputs),
            created_at=now,
            retry_of=new.retry_of,
            policy=as_stored(new.policy),
            title=new.title,
            tags=tuple(sorted(set(new.tags))),
        )
        self._runs[run.id], self._events[run.id], self._artifacts[run.id] = run, [], []
        self._calls[run.id], self._verdicts[run.id] = {}, {}
        if new.idempotency_key is not None:
            self._keys[new.idempotency_key] = (naming.fingerprint(new), run.id)
        self._append_events(run, [machine.queued_event(new)], now)
        return run

    def _next_cycle_id(self, day: date) -> str:
        highest = max((naming.cycle_number(run.cycle_id, day) for run in self._runs.values()), default=0)
        return naming.cycle_id(day, highest + 1)

    def _end_cancelled(self) -> None:
        now = self._time()
        for run in self._all_runs():
            if run.cancel_requested_at is not None and (run.status is RunStatus.QUEUED or run.stalled):
                end = run_actions.decide_cancel(run).end
                assert end is not None
                self._append_events(self._enter(run, end, now), end.events, now)

    def _claim_one(self, run: Run, claimant: Claimant, definition: str | None) -> Held:
        if not self._is_claimable(run):
            raise RunNotClaimable(run.id, run_actions.claim_refusal(run))
        if run.cancel_requested_at is not None:
            self._end_cancelled()
            raise RunNotClaimable(run.id, run_actions.claim_refusal(run, ended_now=RunStatus.CANCELLED))
        held = self._claim([run], claimant, {run.agent_name: definition})
        if not held:
            raise RunNotClaimable(run.id, run_actions.claim_refusal(run, ended_now=RunStatus.FAILED))
        return held[0]

    def _claim(self, runs: Iterable[Run], claimant: Claimant, definitions: Mapping[str, str | None]) -> list[Held]:
        now, nonce, held = self._time(), self._ids.nonce(), []
        for number, run in enumerate(runs, 1):
            claimed_by = f"{claimant.name}:{nonce[:8]}.{number}"
            if run.policy is None and (policy := Definition.policy_in(definitions[run.agent_name])) is not None:
                run = attrs.evolve(run, policy=policy)
            decision = machine.decide_claim(run, self._artifacts_of(run.id), claimed_by=claimed_by)
            lost = run.lost_leases + 1 if run.status is RunStatus.RUNNING else run.lost_leases
            if decision.status.ended:
                ended = self._enter(self._update(run, lost_leases=lost), decision, now)
                self._append_events(ended, decision.events, now)
                continue
            claimed = self._update(
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
            claimed = self._enter(claimed, decision, now)
            self._append_events(claimed, decision.events, now)
            held.append(self._as_held(claimed, run, claimant))
        return held

    def _as_held(self, claimed: Run, before: Run, claimant: Claimant) -> Held:
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
            artifacts=tuple(self._artifacts_of(claimed.id)),
            taken_over=taken_over,
            previous_heartbeat=previous,
        )

    def _enter(self, run: Run, to: Next, now: datetime) -> Run:
        """Update the run to the state that was decided, with the times that belong to it."""
        fields: dict[str, Any] = {"status": to.status, "current_stage": to.stage, "current_attempt": to.attempt}
        if to.status.ended:
            fields |= {"completed_at": now, "lease_id": None, "error_message": to.error_message}
            fields["end_reason"] = to.reason
        elif to.status is RunStatus.QUEUED:
            fields |= dict.fromkeys(("lease_id", "claimed_at", "claimed_by", "heartbeat_at"))
        return self._update(run, **fields)

    def _append_events(self, run: Run, events: Iterable[NewEvent], now: datetime) -> None:
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
                    metadata=None if event.metadata is None else as_stored(event.metadata),
                    created_at=now,
                )
            )

    def _stored_result(self, run_id: str, new: NewArtifact) -> Artifact | None:
        """Return the artifact that is stored for the same stage of the same attempt."""
        key = (new.attempt, new.artifact_type)
        return next((a for a in self._artifacts[run_id] if (a.attempt, a.artifact_type) == key), None)

    def _add_artifact(self, run_id: str, new: NewArtifact, now: datetime) -> None:
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

    def _artifacts_of(self, run_id: str) -> list[Artifact]:
        return sorted(self._artifacts[run_id], key=lambda a: (a.attempt, a.artifact_type is ArtifactType.EVALUATION))

    def _scores(self, run_id: str) -> list[tuple[int, float]]:
        evaluations = [a for a in self._artifacts_of(run_id) if a.artifact_type is ArtifactType.EVALUATION]
        return [(a.attempt, read_evaluation(a).score) for a in evaluations]

    def _label(self, run_id: str, change: LabelChange) -> Run:
        with self._lock:
            run = self._get(run_id)
            labels = change.applied(run)
            return self._with_stall(self._update(run, title=labels.title, tags=labels.tags))

    def _read_news(self, after: Mapping[str, int], limit: int, max_chars: int | None) -> JournalNews:
        with self._lock:
            events = [e for run_id, last in after.items() for e in self._events.get(run_id, ()) if e.id > last]
            return JournalNews(
                events=[text_cuts.cut_event(e, max_chars) for e in sorted(events, key=attrgetter("id"))[:limit]],
                ended={run_id for run_id in after if run_id in self._runs and self._runs[run_id].ended},
                missing=after.keys() - self._runs.keys(),
                is_complete=len(events) <= limit,
            )

    def _lease_states(self, leases: Iterable[Lease]) -> list[LeaseState]:
        states = []
        for lease in leases:
            run = self._runs.get(lease.run_id)
            held = run is not None and self._holds(lease, run)
            requested = held and run is not None and run.cancel_requested_at is not None
            states.append(LeaseState(run_id=lease.run_id, held=held, cancel_requested=requested))
        return states

    def _holds(self, lease: Lease, run: Run) -> bool:
        return run.status is RunStatus.RUNNING and (run.lease_id, run.claimed_by, run.fencing_token) == (
            lease.lease_id,
            lease.claimed_by,
            lease.fencing_token,
        )


def as_stored(value: Any) -> Any:
    """Return a JSON value as a database returns it: a copy, read from its text."""
    return strict_json.loads_or_text(strict_json.dumps(value))
