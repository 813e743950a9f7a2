"""Stores with one flaw each, to show that the suite finds it. Each is the store in memory with one thing wrong."""

import contextlib
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

import attrs

from loopkit.core import ids as naming
from loopkit.core import run_actions
from loopkit.core.journal import Artifact, ArtifactType, Change, NewArtifact, NewEvent, Next, RunEvent
from loopkit.core.lease import Claimant, Lease, LeaseState
from loopkit.core.run import NewRun, Run, RunStatus
from loopkit.errors import LeaseLost, RunEnded, RunNotFound
from loopkit.storage import Held, Order, RunPage, RunQuery
from loopkit.stores import cursors
from loopkit.stores.memory import MemoryStore

FLAWS: Final[dict[type[MemoryStore], tuple[str, tuple[Any, ...]]]] = {}
"""Each broken store, the case that fails on it, and the case's arguments besides the store and its clock."""


def fails(case: str, *arguments: Any) -> Callable[[type[MemoryStore]], type[MemoryStore]]:
    """Register a broken store with the case of the suite that it fails."""

    def remember(store: type[MemoryStore]) -> type[MemoryStore]:
        FLAWS[store] = (case, arguments)
        return store

    return remember


@fails("test_a_key_with_another_request_queues_nothing", {"max_attempts": 9})
class HalfABatch(MemoryStore):
    """Queues the runs of a refused batch that came before the bad one."""

    async def submit(self, new: Sequence[NewRun]) -> list[Run]:
        return [(await super(HalfABatch, self).submit([one]))[0] for one in new]


@fails("test_the_same_key_gives_the_same_run")
class ForgetsKeys(MemoryStore):
    """Makes a second run when a client sends its request again."""

    def _queue(self, new: NewRun) -> Run:
        self._keys.clear()
        return super()._queue(new)


@fails("test_the_next_cycle_id_follows_the_highest", "999", "1000")
class ComparesCycleIdsAsText(MemoryStore):
    """Takes ``…-999`` for higher than ``…-1041``."""

    def _next_cycle_id(self, day: date) -> str:
        highest = max((run.cycle_id for run in self._runs.values()), default="")
        return naming.cycle_id(day, naming.cycle_number(highest, day) + 1)


@fails("test_the_next_cycle_id_follows_the_highest", "007", "008")
class CountsOnlyItsOwnCycleIds(MemoryStore):
    """Ignores the ids that callers and other programs chose."""

    _given = 0

    def _next_cycle_id(self, day: date) -> str:
        self._given += 1
        return naming.cycle_id(day, self._given)


@fails("test_inputs_come_back_as_they_were", {"one": 1.0, "whole": 2**53 + 1})
class RoundsNumbers(MemoryStore):
    """Keeps every number as a float."""

    def _queue(self, new: NewRun) -> Run:
        rounded = {k: float(v) if isinstance(v, int) else v for k, v in new.inputs.items()}
        return super()._queue(attrs.evolve(new, inputs=rounded))


@fails("test_the_oldest_comes_first")
class NewestFirst(MemoryStore):
    """Works like a stack: old runs starve."""

    def _claim(self, runs: Iterable[Run], claimant: Claimant, definitions: Mapping[str, str | None]) -> list[Held]:
        return super()._claim(list(runs)[::-1], claimant, definitions)


@fails("test_of_many_claimers_of_one_run_one_wins")
class LooksThenClaims(MemoryStore):
    """Reads that a run is free in one transaction and claims it in another."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._both_looked = threading.Barrier(2, timeout=5)

    async def claim_run(self, claimant: Claimant, run_id: str, *, definition: str | None = None) -> Held:
        seen = await self.get_run(run_id)
        if seen.status is RunStatus.QUEUED and not self._both_looked.broken:
            with contextlib.suppress(threading.BrokenBarrierError):
                self._both_looked.wait()
            with self._lock:
                return self._claim([seen], claimant, {seen.agent_name: definition})[0]
        return await super().claim_run(claimant, run_id, definition=definition)


@fails("test_a_stalled_run_is_taken_over")
class NeverTakesOver(MemoryStore):
    """Leaves a dead runner's run running for ever."""

    def _is_claimable(self, run: Run) -> bool:
        return run.status is RunStatus.QUEUED


@fails("test_a_held_run_is_nobody_elses")
class TakesOverTooEarly(MemoryStore):
    """Counts a holder as lost at the limit instead of after it."""

    def _is_claimable(self, run: Run) -> bool:
        late = run.status is RunStatus.RUNNING and self._time() - run.last_seen_at >= self.stalled_after
        return late or super()._is_claimable(run)


@fails("test_runs_of_unknown_agents_stay_queued")
class EndsUnknownAgents(MemoryStore):
    """Discards runs whose agent the runner does not know."""

    async def claim(self, claimant: Claimant, agents: Mapping[str, str], *, limit: int = 1) -> list[Held]:
        for run in self._all_runs():
            if run.agent_name not in agents:
                del self._runs[run.id]
        return await super().claim(claimant, agents, limit=limit)


@fails("test_the_third_loss_in_a_row_ends_a_run")
class NoPoisonLimit(MemoryStore):
    """Lets a run that makes its runners crash be claimed again and again."""

    def _update(self, run: Run, **fields: Any) -> Run:
        return super()._update(run, **{**fields, "lost_leases": 0})


@fails("test_a_finished_stage_starts_the_count_again")
class CountsLossesForEver(MemoryStore):
    """Ends a run that loses a runner now and then, although it makes progress."""

    async def record(self, lease: Lease, change: Change) -> Run:
        return await super().record(lease, attrs.evolve(change, finishes_stage=False))


@fails("test_a_release_is_no_loss")
class CountsReleases(MemoryStore):
    """Counts a release as a lost runner."""

    async def record(self, lease: Lease, change: Change) -> Run:
        run = await super().record(lease, change)
        if run.status is RunStatus.QUEUED:
            run = self._update(run, lost_leases=run.lost_leases + 1)
        return run


@fails("test_a_takeover_goes_on_after_the_last_finished_stage")
class ForgetsArtifacts(MemoryStore):
    """Starts a run again from its beginning after a crash."""

    def _claim(self, runs: Iterable[Run], claimant: Claimant, definitions: Mapping[str, str | None]) -> list[Held]:
        kept, self._artifacts = self._artifacts, {run_id: [] for run_id in self._artifacts}
        try:
            return super()._claim(runs, claimant, definitions)
        finally:
            self._artifacts = kept


class _Unfenced(MemoryStore):
    """Compares less of a lease than there is."""

    compared: tuple[str, ...] = ()

    def _holds(self, lease: Lease, run: Run) -> bool:
        same = all(getattr(lease, part) == getattr(run, part) for part in self.compared)
        return run.status is RunStatus.RUNNING and same


@fails("test_each_part_of_a_lease_is_compared", 0)
class FencesWithoutToken(_Unfenced):
    """Accepts a write with an older token."""

    compared = ("lease_id", "claimed_by")


@fails("test_each_part_of_a_lease_is_compared", 1)
class FencesWithoutLeaseId(_Unfenced):
    """Accepts a write with a token that was issued twice, as after a restore from a backup."""

    compared = ("fencing_token", "claimed_by")


@fails("test_each_part_of_a_lease_is_compared", 2)
class FencesWithoutHolder(_Unfenced):
    """Accepts a write to a run that another program has claimed meanwhile."""

    compared = ("fencing_token", "lease_id")


@fails("test_a_lost_lease_writes_nothing", "passed")
class FencesWithoutStatus(MemoryStore):
    """Accepts a write to a run that has ended."""

    def _holds(self, lease: Lease, run: Run) -> bool:
        return (run.claimed_by, run.fencing_token) == (lease.claimed_by, lease.fencing_token)


@fails("test_a_lost_lease_writes_nothing", "taken_over")
class UnfencedHeartbeat(MemoryStore):
    """Lets a runner that lost its run renew the lease of its successor."""

    async def heartbeat(self, leases: Sequence[Lease]) -> list[LeaseState]:
        for lease in leases:
            if lease.run_id in self._runs:
                self._update(self._runs[lease.run_id], heartbeat_at=self._time())
        return await super().heartbeat(leases)


@fails("test_a_lost_lease_writes_nothing", "taken_over")
class SwallowsRefusals(MemoryStore):
    """Returns the run for a write that it refused."""

    async def record(self, lease: Lease, change: Change) -> Run:
        try:
            return await super().record(lease, change)
        except LeaseLost:
            return await self.get_run(lease.run_id)


@fails("test_heartbeats_answer_each_lease_in_order")
class OneLostLeaseSpoilsAll(MemoryStore):
    """Renews no lease when one of them is lost."""

    async def heartbeat(self, leases: Sequence[Lease]) -> list[LeaseState]:
        states = await self.watch(leases)
        return await super().heartbeat(leases) if all(state.held for state in states) else states


@fails("test_a_heartbeat_in_the_future_is_no_sign_of_life")
class KeepsFutureHeartbeats(MemoryStore):
    """Renews a lease only forwards, so that a clock that was set back makes every holder look dead."""

    async def heartbeat(self, leases: Sequence[Lease]) -> list[LeaseState]:
        before = {lease.run_id: self._runs[lease.run_id].heartbeat_at for lease in leases if lease.run_id in self._runs}
        states = await super().heartbeat(leases)
        for state in states:
            heartbeat_at = before.get(state.run_id)
            if state.held and heartbeat_at is not None:
                self._update(self._runs[state.run_id], heartbeat_at=max(heartbeat_at, self._time()))
        return states


@fails("test_watch_writes_nothing")
class WatchRenews(MemoryStore):
    """Renews leases when it should only check them."""

    async def watch(self, leases: Sequence[Lease]) -> list[LeaseState]:
        return await self.heartbeat(leases)


@fails("test_a_boundary_renews_the_lease")
class BoundariesDoNotRenew(MemoryStore):
    """Does not renew the lease when a result is recorded."""

    async def record(self, lease: Lease, change: Change) -> Run:
        before = await self.get_run(lease.run_id)
        run = await super().record(lease, change)
        return self._with_stall(self._update(run, heartbeat_at=before.heartbeat_at))


@fails("test_used_up_attempts_fail_a_run_with_its_best")
class KeepsTheLastScore(MemoryStore):
    """Shows the score of the last attempt instead of the best."""

    async def record(self, lease: Lease, change: Change) -> Run:
        if change.artifact is not None and change.artifact.score is not None:
            change = attrs.evolve(change, final_score=change.artifact.score, best_attempt=change.artifact.attempt)
        return await super().record(lease, change)


@fails("test_an_error_ends_a_run_and_is_no_score")
class ScoresErrors(MemoryStore):
    """Stores a failed evaluation as a score of 0."""

    async def record(self, lease: Lease, change: Change) -> Run:
        run = await self.get_run(lease.run_id)
        if change.then.error_message is not None:
            zero = NewArtifact(
                attempt=run.current_attempt,
                artifact_type=ArtifactType.EVALUATION,
                filename="attempt.eval.json",
                content='{"score":0}',
                is_json=True,
                score=0.0,
            )
            change = attrs.evolve(change, artifact=zero)
        return await super().record(lease, change)


@fails("test_the_same_result_is_written_once")
class WritesTwice(MemoryStore):
    """Stores a result again when its caller got no answer."""

    def _stored_result(self, run_id: str, new: NewArtifact) -> Artifact | None:
        return None


@fails("test_the_journal_of_a_loop")
class TellsTheEndFirst(MemoryStore):
    """Writes the event of the next stage before that of the finished one."""

    async def record(self, lease: Lease, change: Change) -> Run:
        turned = attrs.evolve(change.then, events=change.events)
        return await super().record(lease, attrs.evolve(change, events=change.then.events, then=turned))


@fails("test_an_output_is_kept_exactly", "line\r\nline\rline\n")
class TranslatesLineEnds(MemoryStore):
    """Normalizes the line ends of text."""

    def _add_artifact(self, run_id: str, new: NewArtifact, now: datetime) -> None:
        super()._add_artifact(run_id, attrs.evolve(new, content="\n".join(new.content.splitlines())), now)


@fails("test_a_released_run_waits_as_before")
class ReleaseKeepsTheClaim(MemoryStore):
    """Leaves claimed_at on a released run, so that no runner can claim it."""

    def _enter(self, run: Run, to: Next, now: datetime) -> Run:
        gone = super()._enter(run, to, now)
        return self._update(gone, claimed_at=run.claimed_at) if to.status is RunStatus.QUEUED else gone


@fails("test_an_ended_run_keeps_its_holder_and_drops_its_lease")
class EndForgetsTheHolder(MemoryStore):
    """Clears the holder of a run when it ends."""

    def _enter(self, run: Run, to: Next, now: datetime) -> Run:
        gone = super()._enter(run, to, now)
        return self._update(gone, claimed_by=None, claimed_at=None) if to.status.ended else gone


@fails("test_a_request_wins_at_every_boundary", "passed")
class CancelLostAtTheEnd(MemoryStore):
    """Checks for a request between stages only, so one before the end is lost."""

    async def record(self, lease: Lease, change: Change) -> Run:
        return await super().record(
            lease, attrs.evolve(change, cancelled=change.then) if change.then.stage is None else change
        )


@fails("test_no_stage_begins_after_a_request")
class CancelSeenOnlyAtTheEnd(MemoryStore):
    """Continues with the next stage although a cancel was requested."""

    async def record(self, lease: Lease, change: Change) -> Run:
        deaf = attrs.evolve(change, cancelled=change.then)
        return await super().record(lease, deaf if change.then.stage else change)


@fails("test_a_stalled_run_is_cancelled_at_once")
class AsksTheDead(MemoryStore):
    """Waits for a dead runner to see the request."""

    def _with_stall(self, run: Run) -> Run:
        return attrs.evolve(super()._with_stall(run), stalled=False)


@fails("test_passed_and_failed_runs_refuse")
class CancelsEndedRuns(MemoryStore):
    """Turns a finished run into a cancelled one."""

    async def request_cancel(self, run_id: str, *, actor: str | None = None) -> Run:
        try:
            return await super().request_cancel(run_id, actor=actor)
        except RunEnded:
            return self._update(self._runs[run_id], status=RunStatus.CANCELLED)


@fails("test_asking_again_changes_nothing")
class AsksTwice(MemoryStore):
    """Writes every request anew."""

    async def request_cancel(self, run_id: str, *, actor: str | None = None) -> Run:
        run = await self.get_run(run_id)
        if run.status is RunStatus.RUNNING:
            self._update(run, cancel_requested_at=None)
        return await super().request_cancel(run_id, actor=actor)


@fails("test_a_claim_ends_stalled_runs_with_a_cancel_request")
class CancelsOnlyKnownAgents(MemoryStore):
    """Leaves a stalled run whose cancel was requested, because no runner knows its agent."""

    def _end_cancelled(self) -> None:
        return None


@fails("test_an_ended_run_is_made_anew")
class RetryReopens(MemoryStore):
    """Puts the ended run back into the queue instead of making a new one."""

    async def retry(self, run_id: str, *, actor: str | None = None, idempotency_key: str | None = None) -> Run:
        run_actions.decide_retry(await self.get_run(run_id))
        return self._update(self._runs[run_id], status=RunStatus.QUEUED, claimed_at=None, completed_at=None)


@fails("test_pages_give_every_run_once", Order.CREATED)
class CursorWithoutId(MemoryStore):
    """Loses runs that were made in the same millisecond as the last of a page."""

    async def list_runs(self, query: RunQuery) -> RunPage:
        page = await super().list_runs(query)
        if page.next_cursor is None:
            return page
        key, _ = cursors.read_cursor(page.next_cursor, query.order)
        return attrs.evolve(page, next_cursor=cursors.make_cursor(query.order, key, ""))


@fails("test_an_unknown_run_is_an_error")
class NothingIsUnknown(MemoryStore):
    """Returns no artifacts for a run that is not stored."""

    async def list_artifacts(
        self, run_id: str, *, only: Collection[int] | None = None, start: int = 0, max_chars: int | None = None
    ) -> list[Artifact]:
        try:
            return await super().list_artifacts(run_id, only=only, start=start, max_chars=max_chars)
        except RunNotFound:
            return []


@fails("test_artifacts_are_told_of_and_picked_out")
class PicksOutOfAnyRun(MemoryStore):
    """Returns the artifacts with the ids, of any run."""

    async def list_artifacts(
        self, run_id: str, *, only: Collection[int] | None = None, start: int = 0, max_chars: int | None = None
    ) -> list[Artifact]:
        if only is None or max_chars is not None:
            return await super().list_artifacts(run_id, only=only, start=start, max_chars=max_chars)
        return [artifact for kept in self._artifacts.values() for artifact in kept if artifact.id in only]


@fails("test_a_run_is_read_with_the_beginnings_of_its_texts")
class ReadsWholeRuns(MemoryStore):
    """Returns runs with all of their texts, whatever the caller can hold."""

    async def get_run(self, run_id: str, *, max_chars: int | None = None) -> Run:
        return await super().get_run(run_id)


@fails("test_an_artifact_is_read_in_parts")
class ReadsFromTheBeginning(MemoryStore):
    """Returns the beginning of an artifact in place of every part."""

    async def list_artifacts(
        self, run_id: str, *, only: Collection[int] | None = None, start: int = 0, max_chars: int | None = None
    ) -> list[Artifact]:
        return await super().list_artifacts(run_id, only=only, max_chars=max_chars)


@fails("test_the_journal_of_a_loop")
class ReusesEventIds(MemoryStore):
    """Numbers the events of each write from one."""

    def _append_events(self, run: Run, events: Iterable[NewEvent], now: datetime) -> None:
        self._event_ids = 0
        super()._append_events(run, events, now)


@fails("test_only_ended_runs_go")
class PrunesTheLiving(MemoryStore):
    """Deletes by age alone."""

    async def prune(self, older_than: timedelta, *, limit: int = 500) -> list[str]:
        old = [run.id for run in self._all_runs() if self._time() - run.created_at > older_than]
        for run_id in old:
            del self._runs[run_id]
        return old


@fails("test_old_ended_runs_go_whole")
class LeavesOrphans(MemoryStore):
    """Deletes the run and leaves its journal."""

    async def prune(self, older_than: timedelta, *, limit: int = 500) -> list[str]:
        journal = dict(self._events)
        gone = await super().prune(older_than, limit=limit)
        self._events = journal
        return gone

    async def list_events(
        self,
        run_id: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 500,
        max_chars: int | None = None,
    ) -> list[RunEvent]:
        return self._events[run_id] if run_id in self._events else await super().list_events(run_id)
